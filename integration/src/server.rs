//! A `cella up` of our own, as a process, for tests and measurements.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cli::client::Access;
use serde_json::Value;

const READY_MAX_MS: u64 = 90_000;
const STOP_MAX_MS: u64 = 60_000;
const LOOK_EVERY_MS: u64 = 10;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `cella` executable.
    pub cella: PathBuf,
    /// Layout of stand-in images.
    pub images: PathBuf,
    /// Data folder; made anew (and removed at the end) when `None`.
    pub data: Option<PathBuf>,
    /// Tenants to create.
    pub tenants: Vec<String>,
    /// Further arguments of `cella up`.
    pub arguments: Vec<String>,
    /// Where everything durable is.
    pub store: Store,
}

/// What a server keeps everything in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// SQLite, everything in one process.
    Embedded,
    /// Spanner's emulator; servers are processes.
    Emulator,
}

impl Store {
    /// As the developer wishes: the variable `CELLA_E2E_STORE` is `embedded` or `spanner-emulator`.
    ///
    /// # Panics
    /// When it is something else.
    pub fn wished() -> Self {
        #[allow(clippy::disallowed_methods, reason = "a developer's setting, read here only")]
        match std::env::var("CELLA_E2E_STORE").as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("spanner-emulator") => Self::Emulator,
            Ok(other) => {
                panic!("CELLA_E2E_STORE is {other:?}, which is neither embedded nor spanner-emulator")
            }
        }
    }
}

impl Options {
    /// The usual: two tenants, a data folder of its own, the store that the developer wishes.
    pub fn new(cella: PathBuf, images: PathBuf) -> Self {
        Self {
            cella,
            images,
            data: None,
            tenants: vec!["acme".into(), "globex".into()],
            arguments: Vec::new(),
            store: Store::wished(),
        }
    }
}

/// A running server.
pub struct Server {
    child: Option<Child>,
    data: PathBuf,
    keep: bool,
    options: Options,
    access: BTreeMap<String, Access>,
    emulator: Vec<u32>,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready in time; with what it said.
    pub fn start(options: &Options) -> Result<Self> {
        let (data, keep) = match &options.data {
            Some(data) => (data.clone(), true),
            None => (tempfile::Builder::new().prefix("cella-test.").tempdir()?.keep(), false),
        };
        let mut server = Self {
            child: None,
            data,
            keep,
            options: options.clone(),
            access: BTreeMap::new(),
            emulator: Vec::new(),
        };
        server.launch()?;
        Ok(server)
    }

    /// Starts the process again on the same data, after [`Server::kill`] or [`Server::stop`].
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn launch(&mut self) -> Result<()> {
        let ready = self.data.join("ready.json");
        let _ = fs::remove_file(&ready);
        fs::create_dir_all(&self.data)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.data.join("server.log"))?;
        let mut command = Command::new(&self.options.cella);
        command.arg("up").arg("--data").arg(&self.data).arg("--images").arg(&self.options.images);
        command.args(["--port", "0"]);
        for tenant in &self.options.tenants {
            command.args(["--tenant", tenant]);
        }
        if self.options.store == Store::Emulator {
            command.args(["--store", "spanner-emulator"]);
        }
        command.args(&self.options.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child =
            command.spawn().with_context(|| format!("cannot run {}", self.options.cella.display()))?;
        for _ in 0..READY_MAX_MS / LOOK_EVERY_MS {
            if let Ok(text) = fs::read_to_string(&ready) {
                let told = serde_json::from_str(&text)?;
                self.access = access(&told)?;
                let pids = told["emulator"].as_array().into_iter().flatten();
                self.emulator = pids.filter_map(|pid| u32::try_from(pid.as_u64()?).ok()).collect();
                self.child = Some(child);
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!("the server ended ({status}) before it was ready:\n{}", self.log_tail());
            }
            sleep(Duration::from_millis(LOOK_EVERY_MS));
        }
        let _ = child.kill();
        let _ = child.wait();
        bail!("the server was not ready in time:\n{}", self.log_tail())
    }

    /// The last lines that the server printed.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.data.join("server.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Everything that the server printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.join("server.log")).unwrap_or_default()
    }

    /// How to reach the gateway as a tenant.
    ///
    /// # Panics
    /// When the tenant was not among the options.
    pub fn access(&self, tenant: &str) -> &Access {
        &self.access[tenant]
    }

    /// Path of a tenant's kubeconfig.
    pub fn kubeconfig(&self, tenant: &str) -> PathBuf {
        self.data.join(format!("kubeconfig-{tenant}.yaml"))
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Id of the server process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Process ids of the emulator, the one that holds the data first.
    pub fn emulator(&self) -> &[u32] {
        &self.emulator
    }

    /// Kills the server with SIGKILL.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the server to end, and waits for it.
    ///
    /// # Errors
    /// When it does not end in time, or ends badly.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        crate::images::run_command(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
        for _ in 0..STOP_MAX_MS / LOOK_EVERY_MS {
            if let Some(status) = child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}:\n{}", self.log_tail());
                return Ok(());
            }
            sleep(Duration::from_millis(LOOK_EVERY_MS));
        }
        child.kill()?;
        child.wait()?;
        bail!("the server did not end when asked:\n{}", self.log_tail())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !self.keep && !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.data);
        }
    }
}

fn access(ready: &Value) -> Result<BTreeMap<String, Access>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("ready.json is not as expected");
    let (address, authority_pem) = (text(&ready["address"])?, text(&ready["authority_pem"])?);
    let tenants = ready["tenants"].as_object().context("ready.json names no tenants")?;
    tenants
        .iter()
        .map(|(name, token)| {
            let (address, authority_pem) = (address.clone(), authority_pem.clone());
            Ok((name.clone(), Access { address, authority_pem, token: text(token)? }))
        })
        .collect()
}
