//! Google's emulator as a child process, for tests, drills and `--store spanner-emulator`.
//!
//! Two programs: `gateway_main` (REST) starts `emulator_main` (gRPC), and would leave it behind. So both are started
//! below a shell that reads from a pipe of ours: when we let go of the pipe, also by dying, the shell kills them, the
//! emulator first.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::host::Host;

use crate::settings::{BadSettings, EmulatorAddress, Settings};

/// Names the folder of `gateway_main` and `emulator_main`.
pub const FOLDER: &str = "CELLA_SPANNER_EMULATOR";
/// Time to come up.
const UP_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Starts the gateway and says its process id; kills both when standard input ends.
const GUARD: &str = r#"
"$1/gateway_main" -hostname 127.0.0.1 -grpc_port "$2" -http_port "$3" -grpc_binary "$1/emulator_main" </dev/null >/dev/null 2>&1 &
gateway=$!
echo $gateway
while read -r _; do :; done
for child in $(cat /proc/$gateway/task/*/children 2>/dev/null); do kill -9 "$child" 2>/dev/null; done
kill -9 $gateway 2>/dev/null
wait
"#;

/// Why there is no emulator.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// Its programs are nowhere.
    #[error(
        "Google's Spanner emulator is not on this machine ({0}); install the Cloud SDK's component cloud-spanner-emulator, or name the folder of gateway_main and emulator_main in {FOLDER}"
    )]
    Missing(String),
    /// It does not start.
    #[error("the Spanner emulator does not start: {0}")]
    Start(#[from] std::io::Error),
    /// It does not come up.
    #[error("the Spanner emulator does not come up within {} s", UP_MAX.as_secs())]
    Late,
}

/// A running emulator; dropped, it is gone.
pub struct Emulator {
    /// Where it listens.
    pub address: EmulatorAddress,
    gateway: u32,
    guard: Child,
}

/// Finds the folder of the emulator's programs: as named by the environment, else beside the `gcloud` on the path.
///
/// # Errors
/// Says where it was looked for.
pub fn find() -> Result<PathBuf, EmulatorError> {
    #[allow(clippy::disallowed_methods, reason = "a developer's setting, read here only")]
    let named = std::env::var(FOLDER).ok();
    if let Some(named) = named {
        let folder = PathBuf::from(named);
        let missing = || EmulatorError::Missing(format!("{FOLDER} names {}", folder.display()));
        return is_complete(&folder).then_some(folder.clone()).ok_or_else(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let gcloud = std::env::split_paths(&path).map(|dir| dir.join("gcloud")).find(|file| file.exists());
    let gcloud = gcloud.and_then(|file| file.canonicalize().ok());
    let gcloud = gcloud.ok_or_else(|| EmulatorError::Missing("there is no gcloud on the path".into()))?;
    let folder = gcloud.parent().map(|bin| bin.join("cloud_spanner_emulator")).unwrap_or_default();
    let missing = || EmulatorError::Missing(format!("gcloud is there, {} is not", folder.display()));
    is_complete(&folder).then_some(folder.clone()).ok_or_else(missing)
}

fn is_complete(folder: &Path) -> bool {
    ["gateway_main", "emulator_main"].iter().all(|name| folder.join(name).is_file())
}

/// Starts an emulator on free ports.
///
/// # Errors
/// [`EmulatorError`] says what to do about it.
pub async fn start(host: &Host) -> Result<Emulator, EmulatorError> {
    let folder = find()?;
    let (grpc, rest) = free_ports()?;
    let mut guard = Command::new("/bin/sh")
        .arg("-c")
        .arg(GUARD)
        .arg("guard")
        .arg(&folder)
        .args([grpc.to_string(), rest.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = guard.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let gateway = line.trim().parse().map_err(|_| std::io::Error::other("its process id is not known"))?;
    let at = |port| format!("127.0.0.1:{port}");
    let emulator = Emulator { address: EmulatorAddress { grpc: at(grpc), rest: at(rest) }, gateway, guard };
    let is_up = async {
        while [grpc, rest].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            host.clock.sleep(LOOK_AGAIN).await;
        }
    };
    host.within(UP_MAX, is_up).await.map_err(|_| EmulatorError::Late)?;
    Ok(emulator)
}

fn free_ports() -> std::io::Result<(u16, u16)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

impl Emulator {
    /// Settings of a database in it. An emulator holds 100 databases per instance.
    ///
    /// # Errors
    /// When a name cannot stand in a URL.
    pub fn database(&self, instance: &str, database: &str) -> Result<Settings, BadSettings> {
        Settings::parse(&format!("spanner://projects/cella/instances/{instance}/databases/{database}"))?
            .in_emulator(&self.address.grpc, Some(&self.address.rest))
    }

    /// Process ids of its two programs, the one that holds the data first: for stopping it and letting it go on.
    pub fn processes(&self) -> Vec<u32> {
        let threads =
            std::fs::read_dir(format!("/proc/{}/task", self.gateway)).into_iter().flatten().flatten();
        let children = threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
        let children: Vec<_> = children.flat_map(|text| numbers(&text)).collect();
        children.into_iter().chain([self.gateway]).collect()
    }
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
