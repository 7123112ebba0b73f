//! An agent as a process: its settings by standard input, its life, its exit code.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, BufRead};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use base::host::Host;
use base::telemetry::{self, Telemetry};
use serde::{Deserialize, Serialize};

use crate::engine::Outcome;
use crate::image::{Cache, Sources};
use crate::oci::{Oci, Settings};
use crate::session::Session;
use crate::sweep;

/// Name of the entrypoint binary beside the executable.
const ENTRYPOINT: &str = "entrypoint";

/// What an agent must know when it starts. It comes by standard input, never in arguments or the environment: it
/// holds a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Config {
    /// Address of the cell, as [`base::host::Net`] takes it.
    pub cell: String,
    /// The machine's id.
    pub machine: String,
    /// Shown to the cell with every request.
    pub token: String,
    /// Folder of this machine alone: logs and disks. It is removed at the end.
    pub data: PathBuf,
    /// Where images come from. An empty `cache` means the folder `images` beside the folder of `data`.
    #[serde(default)]
    pub images: Sources,
    /// The static program that runs steps inside containers; the one beside the executable when absent.
    #[serde(default)]
    pub entrypoint: Option<PathBuf>,
    /// An external OCI runtime (runc, crun) instead of the built-in one.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// Which lines to print on standard error, as `tracing` filters.
    #[serde(default = "warnings")]
    pub log: String,
    /// Program that is the supervisor when its first argument says so; this very executable when absent.
    #[serde(default)]
    pub supervisor: Option<PathBuf>,
    /// Addresses of names, for every pod's list of hosts.
    #[serde(default)]
    pub hosts: BTreeMap<String, IpAddr>,
}

fn warnings() -> String {
    "warn".into()
}

/// Why an agent cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no entrypoint binary.
    #[error(
        "there is no entrypoint binary at {0}: build it (`cargo x entrypoint`) or name it in the settings"
    )]
    NoEntrypoint(PathBuf),
}

/// Lives the life of an agent, until its pod has ended and is reported, or `leave` completes. Must be called in a
/// program that calls [`crate::supervisor_main`] first, inside a tokio runtime.
///
/// # Errors
/// [`RunError`] before anything has begun.
pub async fn run(config: Config, host: Host, leave: impl Future<Output = ()>) -> Result<Outcome, RunError> {
    let folder = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::Folder { path, source }
    };
    let entrypoint = entrypoint(&config)?;
    let mut sources = config.images.clone();
    if sources.cache.as_os_str().is_empty() {
        let around = config.data.parent().and_then(Path::parent).unwrap_or(Path::new("/var/lib/cella"));
        sources.cache = around.join("images");
    }
    let cache = Cache::open(sources.clone(), host.clone()).map_err(folder(&sources.cache))?;
    let _living = sweep::Living::claim(&config.data).map_err(folder(&config.data))?;
    let settings = Settings {
        machine: config.machine.clone(),
        data: config.data.clone(),
        entrypoint,
        program: config.supervisor.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
        runtime: config.runtime.clone(),
        hosts: config.hosts.clone(),
    };
    let runtime = Oci::open(settings, cache, host.clone()).map_err(folder(&config.data))?;
    let session = Session::new(host, config.cell, config.machine, config.token);
    Ok(session.live(Arc::new(runtime), leave).await)
}

fn entrypoint(config: &Config) -> Result<PathBuf, RunError> {
    let beside = || {
        let executable = std::env::current_exe().unwrap_or_default();
        executable.parent().unwrap_or(Path::new("/")).join(ENTRYPOINT)
    };
    let path = config.entrypoint.clone().unwrap_or_else(beside);
    if path.is_file() { Ok(path) } else { Err(RunError::NoEntrypoint(path)) }
}

/// The whole of an agent process: settings as one JSON line on standard input, which stays open for as long as
/// the agent shall live.
pub fn main() -> ExitCode {
    let mut line = String::new();
    if let Err(error) = io::stdin().lock().read_line(&mut line) {
        eprintln!("agent: no settings: {error}");
        return ExitCode::FAILURE;
    }
    let config: Config = match serde_json::from_str(&line) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("agent: its settings are not valid: {error}");
            return ExitCode::FAILURE;
        }
    };
    // On standard error, which is that of whoever started this agent. Without it an agent works as well.
    let settings = Telemetry { service: "agent", filter: config.log.clone(), json: false, otlp: None };
    let _telemetry = telemetry::start(&settings).inspect_err(|error| eprintln!("agent: {error}")).ok();
    // One thread: an agent waits nearly always.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let (host, _jobs) = base::real::host();
            run(config, host, input_ended()).await
        }),
        Err(error) => {
            eprintln!("agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(outcome) => {
            tracing::info!(?outcome, "the agent leaves");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
            eprintln!("agent: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

/// Completes when whoever started this process is gone, or wants it to leave: standard input has ended.
pub async fn input_ended() {
    let (say, ended) = tokio::sync::oneshot::channel::<()>();
    // A thread, because reading from a pipe may block for ever; it ends with the process.
    std::thread::spawn(move || {
        let _open = say;
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    });
    let _ = ended.await;
}
