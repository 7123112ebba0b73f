//! What this host offers to an agent, and what to do about what is missing.

use std::path::Path;

use nix::sched::{CloneFlags, unshare};

use crate::oci::cgroup::{self, Layout};
use crate::oci::network;

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What: `root`, `cgroups`, `namespaces`, `overlay`, `network`, `seccomp`.
    pub name: &'static str,
    /// Whether it is there.
    pub good: bool,
    /// Without it no pod runs.
    pub needed: bool,
    /// What was found.
    pub found: String,
    /// What to do when it is not good; empty otherwise.
    pub remedy: String,
}

/// Looks at everything. `data` is the folder in which machines will live.
pub fn doctor(data: &Path) -> Vec<Check> {
    vec![root(), cgroups(), namespaces(), overlay(data), nat()]
}

fn check(name: &'static str, needed: bool, found: Result<String, String>, remedy: &str) -> Check {
    match found {
        Ok(found) => Check { name, good: true, needed, found, remedy: String::new() },
        Err(found) => Check { name, good: false, needed, found, remedy: remedy.to_owned() },
    }
}

fn root() -> Check {
    let found = match nix::unistd::geteuid().as_raw() {
        0 => Ok("running as root".to_owned()),
        uid => Err(format!("running as user {uid}")),
    };
    check("root", true, found, "start cella as root: containers of other users are not supported yet")
}

fn cgroups() -> Check {
    let found = match cgroup::layout() {
        Layout::V2 => Ok("version 2".to_owned()),
        Layout::V1 => Ok("version 1 (perhaps with an empty version 2 beside it)".to_owned()),
        Layout::Absent => Err("no usable hierarchy at /sys/fs/cgroup".to_owned()),
    };
    check("cgroups", false, found, "mount control groups: without them no memory or CPU limit holds")
}

/// Tried on a thread of its own, which the namespaces die with.
fn namespaces() -> Check {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let tried = std::thread::spawn(move || unshare(all)).join();
    let found = match tried {
        Ok(Ok(())) => Ok("mount, network, ipc and host name".to_owned()),
        Ok(Err(error)) => Err(format!("cannot be made: {}", error.desc())),
        Err(_) => Err("cannot be tried".to_owned()),
    };
    check(
        "namespaces",
        true,
        found,
        "run on a host, or in a container with CAP_SYS_ADMIN (docker run --privileged)",
    )
}

fn overlay(data: &Path) -> Check {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = known.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    let found = if has {
        Ok(format!("overlayfs, with files in {}", data.display()))
    } else {
        Err("the kernel has no overlayfs".to_owned())
    };
    check("overlay", true, found, "load it with `modprobe overlay`")
}

fn nat() -> Check {
    let found = match network::available() {
        Ok(()) => Ok("steps reach the network by address translation".to_owned()),
        Err(why) => Err(why.to_owned()),
    };
    check("network", false, found, "install nftables or iptables: without it steps have only their loopback")
}

#[cfg(test)]
mod tests;
