//! Where the content of claims is kept, and how it comes to a machine. On this host: folders. The decision record about
//! volumes says what the same seam means where machines have disks.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use store::records::volume::Volume;

/// A volume that a machine can mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attached {
    /// A folder of this host, with the file that says who may still attach it.
    Folder {
        /// The content.
        path: PathBuf,
        /// See [`protocol::order::Held::fence`].
        fence: PathBuf,
    },
}

/// Keeps volumes. Everything is idempotent by uid and generation; the rows come first, so that a volume is only ever
/// attached for holders that the store knows.
pub trait VolumeProvider: Send + Sync {
    /// Makes a volume ready for its newest holder, and refuses it to every generation below its floor.
    ///
    /// # Errors
    /// What the host or the cloud said.
    fn attach(&self, volume: &Volume) -> io::Result<Attached>;
    /// Removes a volume whose claim is gone and that nobody holds; one that was never made is removed already.
    ///
    /// # Errors
    /// As [`VolumeProvider::attach`].
    fn delete(&self, uid: &str) -> io::Result<()>;
}

/// Volumes that are folders of this host, shared by all machines on it.
#[derive(Clone, Debug)]
pub struct Folders {
    data: PathBuf,
}

impl Folders {
    /// Volumes below `data`.
    pub fn new(data: &Path) -> Self {
        Self { data: data.join("volumes") }
    }

    fn paths(&self, uid: &str) -> io::Result<(PathBuf, PathBuf)> {
        // Uids come from rows, and still must not lead elsewhere.
        if uid.is_empty() || !uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(io::Error::other(format!("{uid:?} is no uid")));
        }
        Ok((self.data.join(uid), self.data.join(format!("{uid}.fence"))))
    }
}

impl VolumeProvider for Folders {
    fn attach(&self, volume: &Volume) -> io::Result<Attached> {
        let (path, fence) = self.paths(&volume.uid)?;
        if !path.exists() {
            fs::create_dir_all(&path)?;
            // Any user of a container may write there.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        }
        let floor = fs::read_to_string(&fence).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        // A replica with an older view must not open what a newer one has closed.
        if volume.floor > floor || !fence.exists() {
            let fresh = self.data.join(format!("{}.{}.fresh", volume.uid, volume.generation));
            fs::write(&fresh, volume.floor.max(floor).to_string())?;
            fs::rename(fresh, &fence)?;
        }
        Ok(Attached::Folder { path, fence })
    }

    fn delete(&self, uid: &str) -> io::Result<()> {
        let (path, fence) = self.paths(uid)?;
        let gone = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        gone(fs::remove_dir_all(path))?;
        gone(fs::remove_file(fence))
    }
}

#[cfg(test)]
mod tests;
