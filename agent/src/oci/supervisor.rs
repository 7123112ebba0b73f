//! PID 1 of a pod: owns all namespaces of the pod, creates its containers, reaps everything, tells the agent.
//!
//! A process of its own, single-threaded, started by re-executing the agent's program with `supervisor` as its
//! first argument and one end of a socket pair as standard input. When the other end closes it exits, and the
//! kernel kills and unmounts all that is left of the pod: killing an agent at any moment leaves nothing running.
//!
//! ```text
//! agent --spawn--> first stage --clone3(NEWPID|NEWNS|NEWNET|NEWIPC|NEWUTS, CLONE_PARENT)--> supervisor
//!                  sends the supervisor's pid, exits        Setup -> Ready -> Create* -> Start* -> ... EOF
//! ```

mod errors;
mod executor;
pub mod inside;
mod loopback;
mod low_level;
mod pod;
pub mod users;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;

use super::wire::{self, Event};

/// First argument of a supervisor.
pub const ARGUMENT: &str = "supervisor";

/// Lowest number of the socket in the supervisor, out of the way of standard streams.
const SOCKET_FROM: i32 = 10;

/// Does the work of a supervisor when this process was started as one; `None` when it was not. Must be the first
/// thing in `main`: before any thread, runtime or subscriber.
pub fn main() -> Option<ExitCode> {
    if std::env::args_os().nth(1).is_none_or(|word| word != ARGUMENT) {
        return None;
    }
    let outcome = socket().and_then(first_stage);
    if let Err(error) = &outcome {
        eprintln!("the supervisor cannot start: {error}");
    }
    Some(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the socket away from standard input.
fn socket() -> io::Result<OwnedFd> {
    let number = fcntl(io::stdin().as_fd(), FcntlArg::F_DUPFD_CLOEXEC(SOCKET_FROM))?;
    // SAFETY: the kernel has just made this descriptor for us.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR, Mode::empty())?;
    nix::unistd::dup2_stdin(&null)?;
    // What a supervisor prints is of interest to nobody but a person at a terminal: standard error stays.
    nix::unistd::dup2_stdout(File::from(null))?;
    Ok(socket)
}

/// Makes the namespaces with the supervisor in them. The first stage returns; the supervisor never does.
fn first_stage(socket: OwnedFd) -> io::Result<()> {
    let namespaces =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    // CLONE_PARENT makes the supervisor the agent's own child; it forbids an exit signal.
    let flags = u64::try_from(libc::CLONE_PARENT | namespaces).map_err(io::Error::other)?;
    // SAFETY: all-zero is a valid value of this plain structure.
    #[allow(unsafe_code)]
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    // SAFETY: without a stack of its own and without CLONE_VM this is a fork; the process is single-threaded,
    // so that the child may go on as if nothing had happened.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match pid {
        0 => pod::supervise(socket),
        1.. => {
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            wire::send(socket.as_fd(), &Event::Spawned { pid }, &[])
        }
        _ => Err(io::Error::last_os_error()),
    }
}
