//! What an agent and the supervisor of its pod say to each other: JSON datagrams over a `SEQPACKET` socket pair,
//! file descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest datagram. A container's OCI spec does not count: it travels in a file descriptor.
const MESSAGE_MAX: usize = 64 << 10;
/// File descriptors in one message, at most.
const DESCRIPTORS_MAX: usize = 3;

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Always first.
    Setup(Setup),
    /// A tmpfs at `path`, which is made.
    Tmpfs {
        /// Where, absolute.
        path: PathBuf,
        /// Size in bytes; half of the memory when absent.
        size: Option<u64>,
        /// Group of what is made in it.
        group: Option<u32>,
    },
    /// Creates a container. Comes with the OCI spec (a memory file), stdout and stderr.
    Create(Box<Create>),
    /// Starts a created container.
    Start {
        /// Which.
        id: String,
    },
    /// Signals the first process of a container.
    Kill {
        /// Which.
        id: String,
        /// Number of the signal.
        signal: i32,
    },
    /// The pod ends at this moment, unless a later one comes before.
    Lease {
        /// µs of CLOCK_BOOTTIME, which counts suspend.
        until_us: u64,
    },
    /// Asks whether it is there; answered by [`Event::Alive`].
    Ping,
    /// Runs a command in a running container, for a probe.
    Exec {
        /// Which container.
        id: String,
        /// Tells the answers apart.
        probe: u64,
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// How the pod's namespaces are set up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Host name of the pod.
    pub hostname: String,
    /// Folder over which the pod's own tmpfs is mounted: bundles, runtime state, secrets.
    pub run: PathBuf,
    /// Program of an external OCI runtime; libcontainer when absent.
    pub runtime: Option<PathBuf>,
}

/// One container to be created.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// Its id: the name of its folders and of its control group.
    pub id: String,
    /// Folder of the unpacked layers.
    pub layers: PathBuf,
    /// Names of its layers below that, the top one first.
    pub lower: Vec<String>,
    /// Folder for what it changes; `upper` and `work` are made in it.
    pub disk: PathBuf,
    /// Folders to make before the start.
    pub folders: Vec<Folder>,
    /// Parts of volumes that are mounted: made when absent, and refused when a symbolic link leads elsewhere.
    pub parts: Vec<Folder>,
    /// Who it runs as.
    pub user: User,
    /// Folder of its memory control group, below which the number of OOM kills is read.
    pub memory_group: PathBuf,
}

/// A folder to be made inside a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Folder {
    /// The folder it is in: a volume's source; the root file system when absent.
    pub base: Option<PathBuf>,
    /// Path below that.
    pub path: String,
    /// Permission bits of the folders that are made.
    pub mode: u32,
}

/// Who a container runs as, still by name where the image says so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct User {
    /// `USER` of the image.
    pub image: Option<String>,
    /// `runAsUser`.
    pub uid: Option<i64>,
    /// `runAsGroup`.
    pub gid: Option<i64>,
    /// Further groups: `supplementalGroups`, `fsGroup`.
    pub groups: Vec<i64>,
    /// `runAsNonRoot`.
    pub non_root: bool,
}

/// What it is a matter of when a container does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The container asks for something that cannot be.
    Config,
    /// Its program cannot be run.
    Program,
    /// A process that was to make the container was killed: neither is to blame.
    Machine,
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// Sent by the first stage: the supervisor's process id in the agent's namespace.
    Spawned {
        /// The process id.
        pid: i32,
    },
    /// Namespaces and the pod's tmpfs are there.
    Ready,
    /// The pod itself cannot be set up.
    Broken {
        /// Why.
        text: String,
    },
    /// Waits to be started.
    Created {
        /// Which.
        id: String,
    },
    /// Its program runs.
    Started {
        /// Which.
        id: String,
        /// When, µs since 1970.
        at_us: i64,
    },
    /// It could not be created or started; it does not run.
    Failed {
        /// Which.
        id: String,
        /// Why, for the user.
        text: String,
        /// What it is a matter of.
        fault: Fault,
    },
    /// It has ended.
    Exited {
        /// Which.
        id: String,
        /// Exit code; 128 + signal when killed.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
        /// The kernel has killed something in it for want of memory.
        oom: bool,
        /// When, µs since 1970.
        at_us: i64,
    },
    /// The answer to [`Request::Ping`].
    Alive,
    /// A probe's command has ended.
    Probed {
        /// Which probe.
        probe: u64,
        /// Exit code, 255 when it could not run.
        code: i32,
    },
}

/// Sends one message.
///
/// # Errors
/// When the other side is gone, or the message is too long.
pub fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, descriptors: &[RawFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_MAX {
        return Err(io::Error::other("a message to or from the supervisor is too long"));
    }
    let control = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() { &control[..0] } else { &control[..] };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message; `None` when the other side is gone.
///
/// # Errors
/// When what came is no message.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let (length, descriptors) = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            // A peer that died with unread messages resets the connection.
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(received) = control {
                        // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                        #[allow(unsafe_code)]
                        descriptors
                            .extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                break (message.bytes, descriptors);
            }
        }
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..length])?, descriptors)))
}
