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

    /// Raises a fence to the volume's floor. One at a time, of all replicas on this host: one with an older view must not
    /// open what a newer one has closed.
    fn raise(&self, volume: &Volume, fence: &Path) -> io::Result<()> {
        let lock = fs::File::create(self.data.join("fences.lock"))?;
        lock.lock()?;
        if floor(fence)?.is_none_or(|floor| volume.floor > floor) {
            let fresh = fence.with_extension("fresh");
            fs::write(&fresh, volume.floor.to_string())?;
            fs::rename(fresh, fence)?;
        }
        // Closing it lets the next one in, also when this process is killed.
        drop(lock);
        Ok(())
    }

    fn paths(&self, uid: &str) -> io::Result<(PathBuf, PathBuf)> {
        // Uids come from rows, and still must not lead elsewhere.
        if uid.is_empty() || !uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(io::Error::other(format!("{uid:?} is no uid")));
        }
        Ok((self.data.join(uid), self.data.join(format!("{uid}.fence"))))
    }
}

/// The lowest generation that a fence lets in; none where there is no fence yet. What cannot be read is no such: to write
/// it anew could open what is closed.
fn floor(fence: &Path) -> io::Result<Option<u64>> {
    let damaged = |why: &dyn std::fmt::Display| {
        io::Error::other(format!("its fence {} cannot be read: {why}", fence.display()))
    };
    match fs::read_to_string(fence) {
        Ok(text) => text.trim().parse().map(Some).map_err(|why| damaged(&why)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(&error)),
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
        if floor(&fence)?.is_none_or(|floor| volume.floor > floor) {
            self.raise(volume, &fence)?;
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
