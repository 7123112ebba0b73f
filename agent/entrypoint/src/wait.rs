//! Waiting for files: by inotify on their folders, and a look once a second in case an event is missed.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// A second look, should inotify be unavailable or an event be lost.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Events of several folders.
pub struct Watch {
    fd: Option<OwnedFd>,
    marks: Vec<i32>,
}

impl Watch {
    /// Watches the folders of `files`.
    pub fn on<'a>(files: impl IntoIterator<Item = &'a str>) -> Self {
        // SAFETY: the call has no preconditions; a negative answer is an error.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        if fd < 0 {
            return Self { fd: None, marks: Vec::new() };
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mask =
            libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_CLOSE_WRITE | libc::IN_MODIFY | libc::IN_DELETE;
        let mut marks = Vec::new();
        for file in files {
            let folder = Path::new(file).parent().unwrap_or(Path::new("/"));
            if let Ok(folder) = CString::new(folder.to_string_lossy().as_bytes()) {
                // SAFETY: the descriptor is open and the path is a NUL-terminated string that outlives the call.
                marks.push(unsafe { libc::inotify_add_watch(fd.as_raw_fd(), folder.as_ptr(), mask) });
            }
        }
        Self { fd: Some(fd), marks }
    }

    /// The descriptor to poll, if there is one.
    pub fn fd(&self) -> i32 {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Forgets the events that have come.
    pub fn drain(&self) {
        let mut buffer = [0_u8; 4096];
        if let Some(fd) = &self.fd {
            // SAFETY: the descriptor is open and the buffer is as long as we say.
            while unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
        }
    }

    /// Waits for an event, or for `time`.
    pub fn wait(&self, time: Duration) {
        let mut poll = libc::pollfd { fd: self.fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, millis) };
        self.drain();
    }
}

impl Drop for Watch {
    /// Takes the watches away and leaves the descriptor open until the process ends: closing it waits for a grace
    /// period of the kernel (8 to 20 ms measured), which would stand between one step and the next. By the time of
    /// the end the kernel has cleaned up after watches that were taken away.
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        let fd = fd.into_raw_fd();
        for mark in &self.marks {
            // SAFETY: the descriptor is open; a mark that is no longer one is refused and nothing more.
            unsafe { libc::inotify_rm_watch(fd, *mark) };
        }
    }
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is our turn.
    Go,
    /// An earlier step failed.
    Skip,
}

/// Waits until `file` is there (with content, if asked), or its `.err`.
pub fn turn(file: &str, content: bool, ignore_errors: bool) -> Turn {
    let failed = format!("{file}.err");
    let watch = Watch::on([file]);
    loop {
        // Look first, wait then: an event before the watch was set is not missed.
        if fs::metadata(file).is_ok_and(|m| !content || m.len() > 0) {
            return Turn::Go;
        }
        if fs::metadata(&failed).is_ok() {
            return if ignore_errors { Turn::Go } else { Turn::Skip };
        }
        watch.wait(LOOK_EVERY);
    }
}
