//! Opening and making things inside a folder whose content is not ours: symbolic links are resolved as if the
//! folder were `/`, so that an image or an earlier run cannot point us elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, fchmod, mkdirat};

/// Opens a folder of ours as a root.
///
/// # Errors
/// As `open(2)`.
pub fn root(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// Opens `path` for reading.
///
/// # Errors
/// As `openat2(2)`.
pub fn open_file(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path, how)?)
}

/// Makes the folder `path` with all its parents. Those that are there stay as they are.
///
/// # Errors
/// When something on the way is no folder.
pub fn make_folders(root: BorrowedFd<'_>, path: &str, mode: u32) -> io::Result<()> {
    let mut at: Option<OwnedFd> = None;
    let mut so_far = String::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part == ".." {
            return Err(io::Error::other(format!("{path:?} goes upwards")));
        }
        so_far = format!("{so_far}/{part}");
        let folder = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let next = match open(root, &so_far, folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = at.as_ref().map_or(root, |fd| fd.as_fd());
                make_one(parent, part, mode)?;
                open(root, &so_far, folder)?
            }
            opened => opened?,
        };
        at = Some(next);
    }
    Ok(())
}

fn make_one(parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
    match mkdirat(parent, name, Mode::from_bits_truncate(mode)) {
        Ok(()) => {
            // The umask does not count.
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let made = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
            Ok(fchmod(made.as_fd(), Mode::from_bits_truncate(mode))?)
        }
        Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that `path` below `base` can be bind-mounted by its name: it is there, or is made as a folder, and
/// no symbolic link is on the way.
///
/// # Errors
/// When one is.
pub fn part(base: &std::path::Path, path: &str, mode: u32) -> io::Result<()> {
    let base = root(base)?;
    let look = || {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(base.as_fd(), path, how).map(drop)
    };
    match look() {
        Err(nix::errno::Errno::ENOENT) => {
            make_folders(base.as_fd(), path, mode)?;
            Ok(look()?)
        }
        looked => Ok(looked?),
    }
}
