//! Control groups: where ours are, and removing them. Everything of a machine is below
//! `<own group>/cella/<machine>`, so that no limit around us is escaped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
/// Name of the group that holds the machines' groups.
const OURS: &str = "cella";
/// A group that was just left is busy for some milliseconds.
const REMOVE_TRIES: u32 = 100;

/// Which layout this host has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One hierarchy.
    V2,
    /// A hierarchy per controller, perhaps with an empty second version beside them.
    V1,
    /// None that can be used.
    Absent,
}

/// The control groups of one machine.
#[derive(Clone, Debug)]
pub struct Groups {
    /// Path inside each hierarchy: `<own memory group>/cella/<machine>`.
    path: PathBuf,
    hierarchies: Vec<PathBuf>,
    layout: Layout,
}

/// What the host has.
pub fn layout() -> Layout {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        Layout::V2
    } else if Path::new(ROOT).join("memory/cgroup.procs").exists() {
        Layout::V1
    } else {
        Layout::Absent
    }
}

impl Groups {
    /// The groups of `machine`. Nothing is made.
    pub fn of(machine: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let layout = layout();
        let hierarchies = match layout {
            Layout::V2 => vec![PathBuf::from(ROOT)],
            Layout::V1 => folders(Path::new(ROOT)),
            Layout::Absent => Vec::new(),
        };
        Self { path: own_group(&own, layout).join(OURS).join(machine), hierarchies, layout }
    }

    /// Whether limits can be set.
    pub fn usable(&self) -> bool {
        self.layout != Layout::Absent
    }

    /// `linux.cgroupsPath` of a container.
    pub fn of_container(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    /// Folder in which the memory counters of a container are.
    pub fn memory_of(&self, id: &str) -> PathBuf {
        let hierarchy = match self.layout {
            Layout::V2 => PathBuf::from(ROOT),
            Layout::V1 | Layout::Absent => Path::new(ROOT).join("memory"),
        };
        below(&hierarchy, &self.of_container(id))
    }

    /// Makes the machine's own group everywhere: then nobody's clean-up takes the parents away.
    pub fn make(&self) {
        for hierarchy in &self.hierarchies {
            // Where it cannot be made, the runtime says so when a container needs it.
            drop(fs::create_dir_all(below(hierarchy, &self.path)));
        }
    }

    /// Removes everything of this machine, and parents that nobody uses.
    ///
    /// # Errors
    /// When a process is still in one of them.
    pub fn remove(&self, pause: &dyn Fn()) -> io::Result<()> {
        let mut outcome = Ok(());
        for hierarchy in &self.hierarchies {
            let group = below(hierarchy, &self.path);
            for round in 0.. {
                match remove_tree(&group) {
                    Ok(()) => break,
                    Err(_) if round < REMOVE_TRIES => pause(),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            // Those in use refuse; in other hierarchies than memory's, the path above exists because of us.
            let mut parent = group.parent();
            while let Some(dir) = parent.filter(|dir| *dir != hierarchy.as_path()) {
                if fs::remove_dir(dir).is_err() {
                    break;
                }
                parent = dir.parent();
            }
        }
        outcome
    }

    /// Names of machines that have groups here.
    pub fn machines() -> BTreeSet<String> {
        let this = Self::of("none");
        let mut names = BTreeSet::new();
        for hierarchy in &this.hierarchies {
            let parent = this.path.parent().map(|p| below(hierarchy, p)).unwrap_or_default();
            names.extend(folders(&parent).iter().filter_map(|p| p.file_name()?.to_str().map(str::to_owned)));
        }
        names
    }
}

/// The group of this process: the memory controller's, which is the one with limits around us.
fn own_group(text: &str, layout: Layout) -> PathBuf {
    let mut lines = text.lines().map(|l| l.splitn(3, ':').collect::<Vec<_>>()).filter(|f| f.len() == 3);
    let found = match layout {
        Layout::V2 | Layout::Absent => lines.find(|f| f[0] == "0"),
        Layout::V1 => lines.find(|f| f[1].split(',').any(|c| c == "memory")),
    };
    PathBuf::from(found.map_or("/", |f| f[2]))
}

fn below(hierarchy: &Path, path: &Path) -> PathBuf {
    hierarchy.join(path.strip_prefix("/").unwrap_or(path))
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    folders.map(|e| e.path()).collect()
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for child in folders(group) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
