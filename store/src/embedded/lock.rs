//! One process owns a store's folder at a time; another one is told which.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "the data folder {folder} is in use by process {pid}; stop that one first, or choose another folder"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who has it, as it wrote itself.
        pid: String,
    },
    /// It cannot be written.
    #[error("the data folder {folder} cannot be used: {error}")]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Held as long as the store is open; the kernel lets go of it when the process dies.
pub struct Lock(#[allow(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self, LockError> {
        let unusable = |error| LockError::Unusable { folder: folder.to_owned(), error };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join("lock"));
        let mut file = open.map_err(unusable)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(LockError::InUse { folder: folder.to_owned(), pid: pid.trim().to_owned() });
        }
        // Only for people to read: that it is held is what counts.
        let _ = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Ok(Self(file))
    }
}
