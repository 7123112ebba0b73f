//! The agent's end of a supervisor: starts it, sends requests, receives events, and knows when it is gone.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use super::supervisor;
use super::wire::{self, Event, Request, Setup};

/// A supervisor that runs. Dropping it ends the pod.
pub struct Link {
    socket: Socket,
    /// Process id of the supervisor.
    pub pid: i32,
    /// The root folder as the supervisor sees it, with the pod's tmpfs.
    root: OwnedFd,
}

/// The agent's end of the socket pair.
struct Socket(Arc<OwnedFd>);

impl Drop for Socket {
    fn drop(&mut self) {
        // The supervisor reads EOF and exits; the kernel does the rest. Already gone is fine. What it says is
        // still read: its process id may be on its way.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Write);
    }
}

/// What a supervisor says; ends when it is gone.
pub type Events = mpsc::UnboundedReceiver<Event>;

impl Link {
    /// Starts a supervisor and waits until the pod's namespaces are there. `program` is executed with the
    /// argument `supervisor`. `ended` is called when no process of the pod is left, also when this future is
    /// dropped before it completes.
    ///
    /// # Errors
    /// When it says why the pod cannot be set up. [`io::ErrorKind::BrokenPipe`]: it has ended before it could.
    pub async fn start(
        program: PathBuf,
        setup: Setup,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<(Self, Events)> {
        let ended = Ended(Some(ended));
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let socket = Socket(Arc::new(ours));
        let (say, mut events) = mpsc::unbounded_channel();
        let reader = socket.0.clone();
        // A thread of its own that lives as long as the supervisor: PDEATHSIG counts threads, not processes.
        let attend = move || {
            let _ended = ended;
            attend(&program, theirs, &reader, say);
        };
        std::thread::Builder::new().name("supervisor".into()).spawn(attend)?;
        wire::send(socket.0.as_fd(), &Request::Setup(setup), &[])?;
        let (mut pid, mut ready) = (None, false);
        while pid.is_none() || !ready {
            // The supervisor's first word may overtake that of the first stage.
            match events.recv().await {
                Some(Event::Spawned { pid: spawned }) => pid = Some(spawned),
                Some(Event::Ready) => ready = true,
                Some(Event::Broken { text }) => return Err(io::Error::other(text)),
                Some(other) => return Err(io::Error::other(format!("unexpected {other:?}"))),
                None => return Err(ended_at_once("it has said nothing")),
            }
        }
        let pid = pid.unwrap_or_default();
        // Opened now: libcontainer makes the supervisor non-dumpable, which closes this door to weaker agents.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(format!("/proc/{pid}/root").as_str(), flags, Mode::empty());
        let root = root.map_err(|error| ended_at_once(&error.to_string()))?;
        Ok((Self { socket, pid, root }, events))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn ask(&self, request: &Request, descriptors: &[RawFd]) -> io::Result<()> {
        wire::send(self.socket.0.as_fd(), request, descriptors)
    }

    /// Where this process reaches a path of the pod's mount namespace.
    pub fn reach(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn ended_at_once(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, format!("the supervisor has ended at once: {how}"))
}

/// Calls when it is dropped, however that comes.
struct Ended<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Ended<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// The life of one supervisor, on a thread of its own.
fn attend(program: &Path, theirs: OwnedFd, socket: &OwnedFd, say: mpsc::UnboundedSender<Event>) {
    let mut command = Command::new(program);
    command.arg(supervisor::ARGUMENT).env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let spawned = command.spawn();
    // Its copy of the other end would keep the socket open.
    drop(command);
    let mut first_stage = match spawned {
        Ok(child) => child,
        Err(error) => {
            drop(say.send(Event::Broken { text: format!("cannot execute {}: {error}", program.display()) }));
            return;
        }
    };
    if !first_stage.wait().is_ok_and(|status| status.success()) {
        // It may have been killed after it had started a supervisor and before it said whom: that one reads the end
        // of the socket and goes, and nobody waits for its number.
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
    }
    let mut pid = None;
    while let Ok(Some((event, _))) = wire::receive::<Event>(socket.as_fd()) {
        if let Event::Spawned { pid: spawned } = &event {
            pid = Some(*spawned);
        }
        // Somebody who does not listen any more still wants everything to end.
        let _ = say.send(event);
    }
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
    // It has said its last word; that all its processes have ended may take longer.
    drop(say);
    if let Some(pid) = pid {
        // Without an exit signal it is a child that only __WALL finds.
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::__WALL));
    }
}

/// Bytes as an open file in memory, to be passed on.
///
/// # Errors
/// As `memfd_create(2)` and `write(2)`.
pub fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"cella", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
