//! Creating one container: root file system, user, folders, bundle, and then the low-level runtime.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::{Value, json};

use super::super::low_level::LowLevel;
use super::super::{inside, users};
use crate::oci::wire::{Create, Fault, Folder};

/// How often, and how far apart, it is looked whether a process has ended by being killed.
const KILLED_LOOKS: usize = 50;
const KILLED_PAUSE: Duration = Duration::from_millis(1);

/// Why there is no container.
pub struct Failure {
    /// For the user.
    pub text: String,
    /// Whose it is.
    pub fault: Fault,
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure { text: format!("{what}: {error}"), fault: Fault::Program }
}

/// Creates the container, and gives the id of its first process. `descriptors` are the OCI spec, stdout and stderr;
/// from `errors` can be read what goes wrong in processes of the runtime.
pub fn container(
    low_level: &LowLevel,
    run: &Path,
    create: &Create,
    descriptors: Vec<OwnedFd>,
    errors: &OwnedFd,
) -> Result<i32, Failure> {
    let [spec, out, err] = <[OwnedFd; 3]>::try_from(descriptors)
        .map_err(|_| Failure { text: "a request without its descriptors".into(), fault: Fault::Program })?;
    let mut spec = read_spec(spec).map_err(failed("the container's specification"))?;
    let bundle = run.join("bundles").join(&create.id);
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(&rootfs).map_err(failed("cannot make the container's folder"))?;
    overlay(create, &rootfs, &bundle).map_err(failed("cannot mount the root file system"))?;
    let root = inside::root(&rootfs).map_err(failed("cannot open the root file system"))?;
    let ids = users::resolve(&root, &create.user).map_err(|text| Failure { text, fault: Fault::Config })?;
    for folder in &create.folders {
        make(&root, folder).map_err(failed(&format!("cannot make {:?}", folder.path)))?;
    }
    for part in &create.parts {
        let base = part.base.as_deref().unwrap_or(Path::new("/"));
        inside::part(base, &part.path, part.mode)
            .map_err(failed(&format!("cannot use subPath {:?}", part.path)))?;
    }
    spec["process"]["user"] =
        json!({"uid": ids.uid, "gid": ids.gid, "umask": 0o022, "additionalGids": ids.groups});
    if let Some(env) = spec["process"]["env"].as_array_mut()
        && !env.iter().filter_map(Value::as_str).any(|e| e.starts_with("HOME="))
    {
        env.push(json!(format!("HOME={}", ids.home)));
    }
    let bytes = serde_json::to_vec(&spec).map_err(|e| failed("the container's specification")(e.into()))?;
    fs::write(bundle.join("config.json"), bytes).map_err(failed("cannot write the bundle"))?;
    // With a limit it may be the kernel that has killed it, for want of memory: then that is what the user is told.
    let limited = !spec["linux"]["resources"]["memory"]["limit"].is_null();
    low_level.create(&create.id, &bundle, out, err, errors).map_err(|text| {
        let fault = if !limited && child_was_killed() { Fault::Machine } else { Fault::Program };
        Failure { text, fault }
    })
}

/// A process that the low-level runtime has started for a container was killed. The runtime notices that by the end of a
/// pipe, which comes a moment before the process can be waited for.
fn child_was_killed() -> bool {
    for _ in 0..KILLED_LOOKS {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => return true,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(KILLED_PAUSE),
            Err(nix::errno::Errno::ECHILD) => return false,
            Ok(_) | Err(_) => {}
        }
    }
    false
}

fn read_spec(spec: OwnedFd) -> io::Result<Value> {
    let mut bytes = Vec::new();
    fs::File::from(spec).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Mounts the layers. Their names are relative to their folder, because all options must fit into one page.
fn overlay(create: &Create, rootfs: &Path, bundle: &Path) -> io::Result<()> {
    let empty = bundle.join("empty");
    let lower = if create.lower.is_empty() {
        fs::create_dir_all(&empty)?;
        empty.display().to_string()
    } else {
        create.lower.join(":")
    };
    nix::unistd::chdir(&create.layers)?;
    let mounted = overlay_at(&lower, &create.disk, rootfs).or_else(|_| {
        // A folder on an overlay (a container without a volume) cannot be an upper layer; tmpfs can.
        overlay_at(&lower, &bundle.join("disk"), rootfs)
    });
    nix::unistd::chdir("/")?;
    mounted
}

fn overlay_at(lower: &str, disk: &Path, rootfs: &Path) -> io::Result<()> {
    let (upper, work) = (disk.join("upper"), disk.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
    Ok(mount(Some("overlay"), rootfs, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))?)
}

fn make(root: &OwnedFd, folder: &Folder) -> io::Result<()> {
    match &folder.base {
        None => inside::make_folders(root.as_fd(), &folder.path, folder.mode),
        Some(base) => inside::make_folders(inside::root(base)?.as_fd(), &folder.path, folder.mode),
    }
}
