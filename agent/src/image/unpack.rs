//! Unpacking one layer into a folder that overlayfs can use.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// First bytes of compressed streams.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Unpacks the archive `blob` into the folder `target`, on a thread whose root that folder becomes: whatever names
/// and links the archive holds, nothing outside is reached.
///
/// # Errors
/// When it is no archive, or the disk is full.
pub fn layer(blob: &Path, target: &Path) -> io::Result<()> {
    let file = File::open(blob)?;
    let target = target.to_owned();
    let work = std::thread::Builder::new().name("unpack".into()).spawn(move || {
        // Root and working directory are this thread's own from here on.
        unshare(CloneFlags::CLONE_FS)?;
        nix::unistd::chroot(&target)?;
        nix::unistd::chdir("/")?;
        nix::sys::stat::umask(Mode::empty());
        entries(decompressed(file)?)
    })?;
    work.join().unwrap_or_else(|_| Err(io::Error::other("unpacking has failed")))
}

fn decompressed(file: File) -> io::Result<Box<dyn Read>> {
    let mut buffered = BufReader::with_capacity(1 << 20, file);
    let start = io::BufRead::fill_buf(&mut buffered)?;
    if start.starts_with(&GZIP) {
        Ok(Box::new(MultiGzDecoder::new(buffered)))
    } else if start.starts_with(&ZSTD) {
        Err(io::Error::other("layers compressed with zstd are not supported"))
    } else {
        Ok(Box::new(buffered))
    }
}

fn entries(reader: Box<dyn Read>) -> io::Result<()> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(false);
    archive.set_overwrite(true);
    // Times and modes of folders last: files are still put into them.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path()?);
        let Some(name) = path.file_name().map(|n| n.as_bytes().to_owned()) else { continue };
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        if name == OPAQUE {
            std::fs::create_dir_all(&parent)?;
            opaque(&parent)?;
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            std::fs::create_dir_all(&parent)?;
            let hidden = parent.join(std::ffi::OsStr::from_bytes(hidden));
            mknod(&hidden, SFlag::S_IFCHR, Mode::empty(), 0)?;
        } else if entry.header().entry_type().is_dir() {
            folders.push((path, entry.header().clone()));
            std::fs::create_dir_all(&folders[folders.len() - 1].0)?;
        } else {
            std::fs::create_dir_all(&parent)?;
            one(&mut entry, &path)?;
        }
    }
    for (path, header) in folders.iter().rev() {
        finish_folder(path, header)?;
    }
    Ok(())
}

fn one<R: Read>(entry: &mut tar::Entry<'_, R>, path: &Path) -> io::Result<()> {
    let kind = entry.header().entry_type();
    if kind.is_hard_link() {
        let target = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
        drop(std::fs::remove_file(path));
        return std::fs::hard_link(clean(&target), path);
    }
    if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
        return special(entry.header(), path);
    }
    entry.unpack(path).map(drop)
}

fn special(header: &tar::Header, path: &Path) -> io::Result<()> {
    let kind = match header.entry_type() {
        tar::EntryType::Char => SFlag::S_IFCHR,
        tar::EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    let number = |n: Option<u32>| u64::from(n.unwrap_or(0));
    let device = nix::sys::stat::makedev(number(header.device_major()?), number(header.device_minor()?));
    drop(std::fs::remove_file(path));
    mknod(path, kind, Mode::from_bits_truncate(header.mode()?), device)?;
    chown(path, header)
}

fn finish_folder(path: &Path, header: &tar::Header) -> io::Result<()> {
    chown(path, header)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(header.mode()?))
}

fn chown(path: &Path, header: &tar::Header) -> io::Result<()> {
    let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
    std::os::unix::fs::lchown(path, Some(id(header.uid()?)?), Some(id(header.gid()?)?))
}

fn opaque(path: &Path) -> io::Result<()> {
    let name = c"trusted.overlay.opaque";
    let file = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both strings end in zero and live through the call; the value is one byte long.
    #[allow(unsafe_code)]
    let done = unsafe { libc::setxattr(file.as_ptr(), name.as_ptr(), c"y".as_ptr().cast(), 1, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The path below the root, without anything that leads upwards.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}
