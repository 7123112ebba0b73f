//! Finding out which agents of this host are dead, and removing what they left: their folders, and the empty
//! control groups that are the only thing in the kernel that outlives a killed agent.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::oci::cgroup::Groups;
use crate::oci::network;

/// File that an agent holds locked for as long as it lives.
const LOCK: &str = "agent.lock";

/// Held by a living agent: the kernel lets go of it when the agent dies.
pub struct Living {
    _lock: Flock<File>,
}

impl Living {
    /// Claims the folder of a machine.
    ///
    /// # Errors
    /// When another agent lives in it.
    pub fn claim(data: &Path) -> io::Result<Self> {
        loop {
            fs::create_dir_all(data)?;
            let path = data.join(LOCK);
            let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
                // Somebody sweeps it at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
            // A lock on a file that was removed in between keeps nobody out.
            let there = fs::metadata(&path).map(|m| m.ino());
            if there.is_ok_and(|ino| lock.metadata().is_ok_and(|m| m.ino() == ino)) {
                return Ok(Self { _lock: lock });
            }
        }
    }
}

/// Removes what dead agents have left: `machines` is the folder that holds one folder per machine. Living agents
/// are not touched. Gives the names of the machines that were swept.
///
/// # Errors
/// When the folder cannot be read.
pub fn sweep(machines: &Path) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    let entries = match fs::read_dir(machines) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() || Living::claim(&entry.path()).is_err() {
            continue;
        }
        let pause = || std::thread::sleep(Duration::from_millis(2));
        if let Err(error) = Groups::of(&name).remove(&pause) {
            tracing::warn!(machine = name, %error, "a control group is left");
        }
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(machine = name, %error, "a machine's folder is left");
        }
        swept.push(name);
    }
    network::sweep();
    Ok(swept)
}
