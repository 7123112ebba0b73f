//! What every test needs: an image, folders, and a look at what is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use agent::Config;
use agent::image::Sources;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Program that is agent and supervisor.
pub const AGENT: &str = env!("CARGO_BIN_EXE_agent");

/// Folders of this test process: a layout with an image, and an image cache.
pub struct Shared {
    pub dir: PathBuf,
}

/// The one of this process. Those of processes that are gone are removed.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(all).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().into_string().unwrap_or_default();
            let pid = name.strip_prefix("pods-").and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        let dir = all.join(format!("pods-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        busybox(&dir.join("layout"));
        Shared { dir }
    })
}

pub fn sources() -> Sources {
    let dir = &shared().dir;
    let layout = dir.join("layout").display().to_string();
    Sources { cache: dir.join("images"), mirrors: BTreeMap::from([("*".into(), layout)]), offline: true }
}

/// Settings of a machine with this name.
pub fn config(machine: &str, cell: &str) -> Config {
    Config {
        cell: cell.into(),
        machine: machine.into(),
        token: "token".into(),
        data: shared().dir.join("machines").join(machine),
        images: sources(),
        entrypoint: Some(PathBuf::from("/bin/busybox")),
        runtime: None,
        hosts: Default::default(),
        log: "warn".into(),
        supervisor: Some(PathBuf::from(AGENT)),
    }
}

/// A name that no other test uses at the same time.
pub fn machine(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// An image of Debian's static busybox in two layers: the second one hides a file and brings a trap.
fn busybox(layout: &Path) {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let root = layout.join("root");
    for folder in ["bin", "etc", "tmp", "var"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("Debian's busybox-static");
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|n| *n != "busybox") {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\nwheel:x:10:app\n").unwrap();
    fs::write(root.join("hidden"), "from below").unwrap();
    fs::write(root.join("bin/bad"), "#!/no/such/interpreter\n").unwrap();
    fs::write(root.join("bin/text"), "echo not a program\n").unwrap();
    for script in ["bin/bad", "bin/text"] {
        fs::set_permissions(root.join(script), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut lower = tar::Builder::new(Vec::new());
    lower.follow_symlinks(false);
    lower.append_dir_all(".", &root).unwrap();
    let mut upper = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    upper.append_data(&mut header.clone(), ".wh.hidden", &[][..]).unwrap();
    // A mount target that leads out of the root file system, if somebody follows it.
    header.set_entry_type(tar::EntryType::Symlink);
    upper.append_link(&mut header, "trap", "/../../../etc").unwrap();
    let layers = [lower.into_inner().unwrap(), upper.into_inner().unwrap()];
    let blob = |bytes: &[u8], kind: &str| -> Value {
        let name = digest(bytes);
        fs::write(layout.join("blobs/sha256").join(&name[7..]), bytes).unwrap();
        json!({"mediaType": kind, "digest": name, "size": bytes.len()})
    };
    let layers: Vec<Value> =
        layers.iter().map(|l| blob(l, "application/vnd.oci.image.layer.v1.tar")).collect();
    let config = json!({"os": "linux", "config": {"Env": ["FROM_IMAGE=yes"], "Cmd": ["sh"], "User": ""}});
    let config = blob(&serde_json::to_vec(&config).unwrap(), "application/vnd.oci.image.config.v1+json");
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest =
        blob(&serde_json::to_vec(&manifest).unwrap(), "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": "docker.io/library/busybox:latest",
        "dev.cella.stands-in-for": "docker.io/library/busybox",
    });
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())
        .unwrap();
    fs::remove_dir_all(root).unwrap();
}

/// Everything of `machine` that is on this host: processes, control groups, mounts, folders.
pub fn traces(machine: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let name = entry.file_name().into_string().unwrap_or_default();
        if name.parse::<u32>().is_err() {
            continue;
        }
        let environ = fs::read_to_string(entry.path().join("mounts")).unwrap_or_default();
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if environ.contains(&format!("machines/{machine}/")) || cgroup.contains(&format!("cella/{machine}/"))
        {
            let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("process {name} {}", command.replace('\0', " ")));
        }
    }
    walk(Path::new("/sys/fs/cgroup"), &mut |path| {
        if path.ends_with(Path::new("cella").join(machine)) {
            found.push(format!("control group {}", path.display()));
        }
    });
    let data = shared().dir.join("machines").join(machine);
    if data.exists() {
        found.push(format!("folder {}", data.display()));
    }
    found
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            visit(&entry.path());
            walk(&entry.path(), visit);
        }
    }
}

/// Waits for a predicate, for at most ten seconds.
#[allow(clippy::disallowed_methods, reason = "tests look at the real world in real time")]
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(value) = look() {
            return value;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}
