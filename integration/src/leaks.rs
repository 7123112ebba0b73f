//! What a run may leave behind on a host, counted before and after: processes, mounts, control groups, network
//! devices and namespaces.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Everything on this host that could be ours.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traces {
    /// `pid command` of processes that run our executable or live in a pod.
    pub processes: BTreeSet<String>,
    /// Mount points.
    pub mounts: BTreeSet<String>,
    /// Control groups, all hierarchies.
    pub cgroups: BTreeSet<String>,
    /// Network devices.
    pub devices: BTreeSet<String>,
    /// Network namespaces that some process is in.
    pub namespaces: BTreeSet<String>,
}

impl Traces {
    /// Looks around.
    pub fn now() -> Self {
        let mut traces = Self::default();
        for pid in numbers("/proc") {
            let of = |name: &str| fs::read_link(format!("/proc/{pid}/{name}"));
            if let Ok(exe) = of("exe") {
                let name = exe.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let ours = name.trim_end_matches(" (deleted)");
                let contained = match (of("ns/pid"), fs::read_link("/proc/self/ns/pid")) {
                    (Ok(theirs), Ok(own)) => theirs != own,
                    _ => false,
                };
                if ours == "cella" || ours == "entrypoint" || contained {
                    traces.processes.insert(format!("{pid} {}", exe.display()));
                }
            }
            if let Ok(namespace) = of("ns/net") {
                traces.namespaces.insert(namespace.display().to_string());
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        traces.mounts = mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(str::to_owned).collect();
        folders(Path::new("/sys/fs/cgroup"), &mut traces.cgroups);
        let devices = fs::read_dir("/sys/class/net").into_iter().flatten().filter_map(Result::ok);
        traces.devices = devices.map(|d| d.file_name().to_string_lossy().into_owned()).collect();
        traces
    }

    /// What is here now and was not there `before`, a line each.
    pub fn since(&self, before: &Self) -> Vec<String> {
        let mut out = Vec::new();
        for (what, now, then) in [
            ("process", &self.processes, &before.processes),
            ("mount", &self.mounts, &before.mounts),
            ("control group", &self.cgroups, &before.cgroups),
            ("network device", &self.devices, &before.devices),
            ("network namespace", &self.namespaces, &before.namespaces),
        ] {
            out.extend(now.difference(then).map(|name| format!("{what}: {name}")));
        }
        out
    }
}

/// Waits up to two seconds for everything since `before` to be gone; what is left is returned. (The kernel
/// removes network devices and control groups a moment after their last user.)
pub fn left_since(before: &Traces) -> Vec<String> {
    for _ in 0..100 {
        if Traces::now().since(before).is_empty() {
            return Vec::new();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Traces::now().since(before)
}

fn numbers(dir: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|e| e.file_name().to_str().and_then(|n| n.parse().ok()))
}

fn folders(dir: &Path, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            out.insert(entry.path().display().to_string());
            folders(&entry.path(), out);
        }
    }
}
