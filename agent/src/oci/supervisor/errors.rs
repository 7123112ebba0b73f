//! libcontainer tells the cause of a failure only in tracing events of the processes that it forks. This
//! subscriber writes them into a pipe that was made before the fork, so that the user can be told.

use std::fmt::Write;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The pipe's write end; -1 when nobody listens. One container is made at a time.
static PIPE: AtomicI32 = AtomicI32::new(-1);

struct ToPipe;

/// Installs the subscriber in this process.
pub fn install() {
    // A second one cannot be: the supervisor is a fresh process.
    drop(tracing::subscriber::set_global_default(ToPipe));
}

/// A pipe for the errors of one container: read end and write end.
///
/// # Errors
/// As `pipe2(2)`.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// From here on errors go to this pipe.
pub fn direct_to(fd: i32) {
    PIPE.store(fd, Ordering::Relaxed);
}

/// Writes a line into the pipe. Safe in a forked child.
pub fn write(text: &str) {
    let fd = PIPE.load(Ordering::Relaxed);
    if fd >= 0 {
        // SAFETY: the descriptor stays open for as long as it is stored in `PIPE`.
        #[allow(unsafe_code)]
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let _ = nix::unistd::write(fd, format!("{text}\n").as_bytes());
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for ToPipe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        write(&text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
