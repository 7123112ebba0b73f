//! The OCI runtime specification of one container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};
use serde_json::{Value, json};

use super::quantity;
use super::volumes::Volumes;
use super::wire::User;
use crate::image::ImageConfig;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a container may do unless its Pod says otherwise: what every container runtime grants.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Period of CPU quotas, µs.
const CPU_PERIOD: i64 = 100_000;
/// Processes in one container: a fork bomb must not take the host with it.
const PROCESSES_MAX: i64 = 8192;
/// Where a container leaves its termination message unless it says otherwise.
pub const TERMINATION_PATH: &str = "/dev/termination-log";

/// What a container's specification is made of.
pub struct Parts<'a> {
    /// The Pod.
    pub pod: &'a PodSpec,
    /// The container.
    pub container: &'a Container,
    /// Its image.
    pub image: &'a ImageConfig,
    /// Variables from Secrets.
    pub secrets: Option<&'a BTreeMap<String, String>>,
    /// The Pod's volumes.
    pub volumes: &'a Volumes,
    /// Folder with the Pod's `hosts`, `hostname` and `resolv.conf`.
    pub etc: &'a Path,
    /// `/dev/shm` of the Pod.
    pub shm: &'a Path,
    /// File for the termination message.
    pub termination: &'a Path,
    /// `linux.cgroupsPath`; none where no limit can be set.
    pub cgroup: Option<PathBuf>,
    /// Capabilities that this host can give.
    pub grantable: &'a [String],
}

/// The specification, without user and home, which only the image's files tell.
///
/// # Errors
/// A text for the user: what the Pod asks and cannot have.
pub fn of(parts: &Parts<'_>) -> Result<Value, String> {
    let security = parts.container.security_context.clone().unwrap_or_default();
    let privileged = security.privileged == Some(true);
    let args = args(parts);
    if args.is_empty() {
        return Err("no command specified".into());
    }
    let capabilities = capabilities(&security, parts.grantable);
    let mut process = json!({
        "terminal": false,
        "args": args,
        "env": env(parts),
        "cwd": working_dir(parts),
        "noNewPrivileges": security.allow_privilege_escalation == Some(false) && !privileged,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
    });
    process["user"] = json!({"uid": 0, "gid": 0});
    let mut linux = json!({
        "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "cgroup"}],
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "resources": resources(parts.container, privileged),
    });
    if privileged {
        linux["maskedPaths"] = json!([]);
        linux["readonlyPaths"] = json!([]);
    }
    if let Some(cgroup) = &parts.cgroup {
        linux["cgroupsPath"] = json!(cgroup);
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": security.read_only_root_filesystem == Some(true)},
        "process": process,
        "mounts": mounts(parts, privileged)?,
        "linux": linux,
    }))
}

/// Program and arguments, by Kubernetes' rules of precedence.
fn args(parts: &Parts<'_>) -> Vec<String> {
    let command = parts.container.command.clone().unwrap_or_default();
    let args = parts.container.args.clone().unwrap_or_default();
    let words = match (command.is_empty(), args.is_empty()) {
        (false, _) => [command, args].concat(),
        (true, false) => [parts.image.entrypoint.clone(), args].concat(),
        (true, true) => [parts.image.entrypoint.clone(), parts.image.cmd.clone()].concat(),
    };
    words.iter().map(|word| expand(word, parts.secrets)).collect()
}

/// References to secret variables, which only this machine may resolve.
fn expand(text: &str, secrets: Option<&BTreeMap<String, String>>) -> String {
    let mut out = text.to_owned();
    for (name, value) in secrets.into_iter().flatten() {
        let reference = format!("$({name})");
        if out.contains(&reference) {
            out = out.replace(&reference, value);
        }
    }
    out
}

fn env(parts: &Parts<'_>) -> Vec<String> {
    let mut env: Vec<String> = Vec::new();
    let mut set = |name: &str, value: &str| {
        let prefix = format!("{name}=");
        env.retain(|e| !e.starts_with(&prefix));
        env.push(format!("{prefix}{value}"));
    };
    for variable in std::iter::once(PATH).chain(parts.image.env.iter().map(String::as_str)) {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(name, value);
    }
    if let Some(hostname) = &parts.pod.hostname {
        set("HOSTNAME", hostname);
    }
    for variable in parts.container.env.iter().flatten() {
        set(&variable.name, &expand(variable.value.as_deref().unwrap_or(""), parts.secrets));
    }
    for (name, value) in parts.secrets.into_iter().flatten() {
        set(name, value);
    }
    env
}

/// The container's working directory, absolute.
pub fn working_dir(parts: &Parts<'_>) -> String {
    let dir = parts.container.working_dir.as_deref().filter(|d| !d.is_empty());
    let dir = dir.or(parts.image.working_dir.as_deref()).unwrap_or("/");
    if dir.starts_with('/') { dir.to_owned() } else { format!("/{dir}") }
}

/// Who the container runs as.
pub fn user(pod: &PodSpec, container: &Container, image: &ImageConfig) -> User {
    let of_pod = pod.security_context.clone().unwrap_or_default();
    let of_container = container.security_context.clone().unwrap_or_default();
    let mut groups = of_pod.supplemental_groups.unwrap_or_default();
    groups.extend(of_pod.fs_group);
    User {
        image: image.user.clone(),
        uid: of_container.run_as_user.or(of_pod.run_as_user),
        gid: of_container.run_as_group.or(of_pod.run_as_group),
        groups,
        non_root: of_container.run_as_non_root.or(of_pod.run_as_non_root) == Some(true),
    }
}

/// The container's capabilities: the usual ones with what the Pod adds and drops, within what this host has.
fn capabilities(security: &SecurityContext, grantable: &[String]) -> Vec<String> {
    if security.privileged == Some(true) {
        return grantable.to_vec();
    }
    let full = |name: &String| {
        let name = name.to_uppercase();
        if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    let list = |names: Option<&Vec<String>>| names.into_iter().flatten().map(full).collect::<Vec<_>>();
    let wanted = security.capabilities.as_ref();
    let (add, drop) = (list(wanted.and_then(|c| c.add.as_ref())), list(wanted.and_then(|c| c.drop.as_ref())));
    let all = "CAP_ALL".to_owned();
    let has = |name: &String| {
        let added = add.contains(name) || add.contains(&all);
        let usual = CAPABILITIES.contains(&name.as_str()) && !drop.contains(&all);
        (added && !drop.contains(name)) || (usual && !drop.contains(name))
    };
    grantable.iter().filter(|name| has(name)).cloned().collect()
}

fn resources(container: &Container, privileged: bool) -> Value {
    let named = |all: Option<&BTreeMap<String, _>>, name: &str| all.and_then(|all| all.get(name).cloned());
    let wanted = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (wanted.limits.as_ref(), wanted.requests.as_ref());
    let mut cpu = json!({});
    let limit = named(limits, "cpu").and_then(|q| quantity::milli(&q));
    if let Some(milli) = limit.filter(|m| *m > 0) {
        cpu["quota"] = json!((milli * CPU_PERIOD / 1000).max(1000));
        cpu["period"] = json!(CPU_PERIOD);
    }
    let request = named(requests, "cpu").and_then(|q| quantity::milli(&q)).or(limit);
    // Without a request the kernel's default stays: Kubernetes' minimum would be next to nothing on a host that
    // does other work as well.
    if let Some(milli) = request {
        cpu["shares"] = json!((milli * 1024 / 1000).clamp(2, 262_144));
    }
    let mut resources = json!({"cpu": cpu, "pids": {"limit": PROCESSES_MAX}});
    if let Some(bytes) = named(limits, "memory").and_then(|q| quantity::units(&q)).filter(|b| *b > 0) {
        resources["memory"] = json!({"limit": bytes});
    }
    resources["devices"] = json!([{"allow": privileged, "access": "rwm"}]);
    resources
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn bind(destination: &str, source: &Path, read_only: bool) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", access]})
}

fn mounts(parts: &Parts<'_>, privileged: bool) -> Result<Vec<Value>, String> {
    let access = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ];
    let read_only_root = parts.container.security_context.as_ref().and_then(|s| s.read_only_root_filesystem);
    let mut ours = vec![
        bind("/dev/shm", parts.shm, false),
        bind(termination_path(parts.container), parts.termination, false),
    ];
    for file in ["hosts", "hostname", "resolv.conf"] {
        ours.push(bind(&format!("/etc/{file}"), &parts.etc.join(file), read_only_root == Some(true)));
    }
    for wanted in parts.container.volume_mounts.iter().flatten() {
        let volume =
            parts.volumes.get(&wanted.name).ok_or_else(|| format!("there is no volume {:?}", wanted.name))?;
        let source = match wanted.sub_path.as_deref().filter(|p| !p.is_empty()) {
            Some(path) => volume.path.join(path.trim_start_matches('/')),
            None => volume.path.clone(),
        };
        let read_only = wanted.read_only == Some(true) || volume.read_only;
        // The container's own mount on one of our places wins.
        ours.retain(|m| m["destination"] != wanted.mount_path.as_str());
        ours.push(bind(&wanted.mount_path, &source, read_only));
    }
    // What lies inside another mount comes after it.
    ours.sort_by_key(|m| {
        m["destination"].as_str().map_or(0, |d| d.trim_end_matches('/').matches('/').count())
    });
    mounts.extend(ours);
    Ok(mounts)
}

/// Where the container leaves its termination message.
pub fn termination_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(TERMINATION_PATH)
}

/// The capabilities that this process may pass on.
pub fn grantable() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|l| l.strip_prefix("CapPrm:")).map(str::trim);
    let held = held.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let names = NAMES.iter().enumerate().filter(|(bit, _)| held & (1 << bit) != 0);
    names.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// All capabilities, by their number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests;
