//! The volumes of a pod, made on this host before its containers.
//!
//! Ordinary empty folders are on disk. Whatever may be secret, and what is small, is on the pod's own tmpfs,
//! which only the pod's mount namespace shows; the agent reaches it through the supervisor's root.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::order::{File, Held, Order, Volume};

use super::link::Link;
use super::wire::Request;

/// Name of the program in an [`Volume::Entrypoint`].
const ENTRYPOINT: &str = "entrypoint";

/// A volume that is there.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its folder, as the pod's mount namespace names it.
    pub path: PathBuf,
    /// Never writable.
    pub read_only: bool,
}

/// All volumes of a pod, by name.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    made: BTreeMap<String, Made>,
    /// Folders with annotations: folder as this process reaches it, file name -> annotation.
    downward: Vec<(PathBuf, BTreeMap<String, String>)>,
}

/// Where volumes are made.
pub struct Places<'a> {
    /// Folder on disk.
    pub disk: PathBuf,
    /// Folder on the pod's tmpfs.
    pub memory: PathBuf,
    /// The entrypoint binary on this host.
    pub entrypoint: &'a Path,
}

impl Volumes {
    /// Makes all volumes of `order`.
    ///
    /// # Errors
    /// Names the volume.
    pub fn make(order: &Order, places: &Places<'_>, link: &Link) -> io::Result<Self> {
        let security = order.pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
        let group = security.and_then(|s| s.fs_group).and_then(|g| u32::try_from(g).ok());
        let mut volumes = Self::default();
        for (name, volume) in &order.volumes {
            let made = volumes.one(name, volume, group, places, link);
            let made =
                made.map_err(|error| io::Error::new(error.kind(), format!("volume {name:?}: {error}")))?;
            volumes.made.insert(name.clone(), made);
        }
        let annotations = order.pod.metadata.annotations.clone().unwrap_or_default();
        volumes.annotate(&annotations)?;
        Ok(volumes)
    }

    /// The volume of this name.
    pub fn get(&self, name: &str) -> Option<&Made> {
        self.made.get(name)
    }

    fn one(
        &mut self,
        name: &str,
        volume: &Volume,
        group: Option<u32>,
        places: &Places<'_>,
        link: &Link,
    ) -> io::Result<Made> {
        if !plain(Path::new(name)) || name.contains('/') {
            return Err(io::Error::other("its name is no file name"));
        }
        let (disk, memory) = (places.disk.join(name), places.memory.join(name));
        let reached = link.reach(&memory);
        let made = |path: PathBuf, read_only: bool| Ok(Made { path, read_only });
        match volume {
            Volume::Empty { memory: true, limit } => {
                link.ask(&Request::Tmpfs { path: memory.clone(), size: *limit, group }, &[])?;
                made(memory, false)
            }
            Volume::Empty { memory: false, limit: _ } => {
                folder(&disk, group)?;
                made(disk, false)
            }
            Volume::Files { files, secret: _ } => {
                folder(&reached, group)?;
                for file in files {
                    write(&reached, file, group)?;
                }
                made(memory, false)
            }
            Volume::Entrypoint => {
                fs::create_dir_all(&disk)?;
                let target = disk.join(ENTRYPOINT);
                // Another file system, or one without hard links: a copy is as good.
                if fs::hard_link(places.entrypoint, &target).is_err() {
                    fs::copy(places.entrypoint, &target)?;
                    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
                }
                made(disk, true)
            }
            Volume::Links { links } => {
                fs::create_dir_all(&disk)?;
                for (name, target) in links {
                    if !plain(Path::new(name)) {
                        return Err(io::Error::other(format!("{name:?} is no file name")));
                    }
                    symlink(target, disk.join(name))?;
                }
                made(disk, false)
            }
            Volume::Downward { items } => {
                folder(&reached, None)?;
                fs::set_permissions(&reached, fs::Permissions::from_mode(0o755))?;
                self.downward.push((reached, items.clone()));
                made(memory, true)
            }
            Volume::Dir { path, read_only, held } => {
                if let Some(held) = held {
                    fence(held)?;
                }
                fs::create_dir_all(path)?;
                made(PathBuf::from(path), *read_only)
            }
        }
    }

    /// Writes annotations into the files that show them; an absent one is an empty file.
    ///
    /// # Errors
    /// As writing files.
    pub fn annotate(&self, annotations: &BTreeMap<String, String>) -> io::Result<()> {
        for (folder, items) in &self.downward {
            for (name, annotation) in items {
                if !plain(Path::new(name)) {
                    continue;
                }
                let value = annotations.get(annotation).map_or("", String::as_str);
                let path = folder.join(name);
                if fs::read_to_string(&path).is_ok_and(|have| have == value) {
                    continue;
                }
                // By rename: whoever waits for content must not see half of it.
                let fresh = folder.join(format!(".{}", name.replace('/', "_")));
                fs::write(&fresh, value)?;
                fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
                fs::rename(&fresh, &path)?;
            }
        }
        Ok(())
    }
}

/// Lets nobody attach a volume that has been handed on meanwhile.
fn fence(held: &Held) -> io::Result<()> {
    let floor = match fs::read_to_string(&held.fence) {
        Ok(text) => text.trim().parse::<u64>().map_err(io::Error::other)?,
        Err(error) => return Err(io::Error::new(error.kind(), format!("its fence cannot be read: {error}"))),
    };
    if held.generation < floor {
        return Err(io::Error::other(format!(
            "it has been handed on: this machine has generation {}, and {floor} is the lowest that may attach",
            held.generation
        )));
    }
    Ok(())
}

/// A path that goes neither up nor elsewhere.
fn plain(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn folder(path: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let mode = match group {
        Some(_) => {
            std::os::unix::fs::chown(path, None, group)?;
            0o2777
        }
        None => 0o777,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn write(folder: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let relative = Path::new(&file.path);
    if !plain(relative) {
        return Err(io::Error::other(format!("{:?} is no path inside a volume", file.path)));
    }
    let path = folder.join(relative);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let content = STANDARD.decode(&file.content).map_err(io::Error::other)?;
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    out.write_all(&content)?;
    let mut mode = file.mode & 0o7777;
    if group.is_some() {
        std::os::unix::fs::chown(&path, None, group)?;
        mode |= 0o440;
    }
    out.set_permissions(fs::Permissions::from_mode(mode))
}
