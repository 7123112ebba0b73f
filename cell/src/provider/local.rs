//! Machines on this host: one agent process each, started by re-executing the `cella` command. The settings with
//! the machine's token go through the agent's standard input, which stays open: when it ends, this process is
//! gone or wants the machine to end, and the agent cleans up and leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::host::{BoxFuture, Host};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;

use super::{MachineProvider, MachineSpec, MachineState, ProviderError};

/// How long an agent may take to clean up before it is killed.
const LEAVE_TIME: Duration = Duration::from_secs(10);
/// Whoever waits for the end of a process looks so often whether somebody else has heard of it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The file in a machine's folder that a living agent holds locked.
const AGENT_LOCK: &str = "agent.lock";
/// How often, and at what distance, a machine of an earlier server is looked at before that is called a failure.
const OUTLIVED_LOOKS: usize = 50;
const OUTLIVED_PAUSE: Duration = Duration::from_millis(200);

/// How agents are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments: `["agent"]`.
    pub arguments: Vec<String>,
    /// Address at which agents reach the cell, as [`base::host::Net`] takes it.
    pub cell: String,
    /// Folder of all machines of this cell; each gets one named by its id.
    pub data: PathBuf,
    /// Further members of the agent's settings (mirrors, runtime), passed on as they are.
    pub agent: Value,
}

/// Machines on this host.
pub struct Local {
    host: Host,
    settings: Settings,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    machines: Mutex<BTreeMap<String, Process>>,
    changed: Notify,
}

struct Process {
    state: MachineState,
    /// Dropping it tells the agent to leave.
    stdin: Option<ChildStdin>,
    kill: Arc<Notify>,
    gone: Arc<Notify>,
}

impl Local {
    /// A provider without machines. Must be used inside a tokio runtime.
    pub fn new(host: Host, settings: Settings) -> Arc<Self> {
        Arc::new(Self { host, settings, shared: Arc::default() })
    }

    /// Tells all agents to leave and waits until they have; the late ones are killed. For the end of the process:
    /// when it ends without this, agents notice by themselves.
    pub async fn leave(&self) {
        let ids: Vec<String> = self.shared.machines().keys().cloned().collect();
        // All at once, then one after another: their times to clean up overlap.
        for id in &ids {
            if let Some(process) = self.shared.machines().get_mut(id) {
                process.stdin = None;
            }
        }
        for id in &ids {
            drop(self.delete(id).await);
        }
    }

    /// A machine of an earlier life of this server: its agent leaves when it notices, and holds its lock until then.
    /// Ends when that has come true.
    async fn outlived(&self, id: &str) -> Result<(), ProviderError> {
        let failed = |what: String| ProviderError::Failed(format!("machine {id}: {what}"));
        let lock = self.settings.data.join(id).join(AGENT_LOCK);
        for _ in 0..OUTLIVED_LOOKS {
            match std::fs::File::open(&lock) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(failed(error.to_string())),
                Ok(file) if file.try_lock().is_ok() => {
                    drop(file);
                    // Its supervisor dies with it, a moment later.
                    self.host.clock.sleep(OUTLIVED_PAUSE).await;
                    return Ok(());
                }
                Ok(_) => self.host.clock.sleep(OUTLIVED_PAUSE).await,
            }
        }
        Err(failed("its agent of an earlier server still lives".into()))
    }

    async fn start(&self, spec: &MachineSpec) -> Result<(), ProviderError> {
        let mut agent = self.settings.agent.clone();
        if !agent.is_object() {
            agent = json!({});
        }
        agent["cell"] = json!(self.settings.cell);
        agent["machine"] = json!(spec.id);
        agent["token"] = json!(spec.token);
        agent["data"] = json!(self.settings.data.join(&spec.id));
        let mut line = agent.to_string();
        line.push('\n');
        let mut command = Command::new(&self.settings.program);
        command.args(&self.settings.arguments).stdin(Stdio::piped()).stdout(Stdio::null());
        // Ctrl-C in the terminal is for the server: it ends its machines in order.
        command.process_group(0);
        let mut child =
            command.spawn().map_err(|e| ProviderError::Failed(format!("cannot start an agent: {e}")))?;
        let Some(mut stdin) = child.stdin.take() else {
            return Err(ProviderError::Failed("an agent has no standard input".into()));
        };
        let written = stdin.write_all(line.as_bytes()).await;
        let kill = Arc::new(Notify::new());
        let process = Process {
            state: MachineState::Running,
            stdin: Some(stdin),
            kill: kill.clone(),
            gone: Arc::new(Notify::new()),
        };
        self.shared.machines().insert(spec.id.clone(), process);
        let (shared, id) = (self.shared.clone(), spec.id.clone());
        self.host.spawn("machine", async move { shared.watch(id, child, kill).await });
        written.map_err(|e| ProviderError::Failed(format!("cannot speak to an agent: {e}")))
    }
}

impl Shared {
    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(&self, id: String, mut child: Child, kill: Arc<Notify>) {
        let ended = match base::host::race(child.wait(), kill.notified()).await {
            base::host::Either::Left(ended) => ended,
            base::host::Either::Right(()) => {
                drop(child.start_kill());
                child.wait().await
            }
        };
        let why = match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if let Some(process) = self.machines().get_mut(&id) {
            process.state = MachineState::Exited(format!("its agent ended with {why}"));
            process.stdin = None;
            process.gone.notify_one();
        }
        self.changed.notify_one();
    }
}

impl Local {
    /// Completes when the process of a machine has ended. Several replicas may wait for that at once, of whom a
    /// notice reaches one.
    async fn ended(&self, id: &str) {
        loop {
            let runs = |process: &&Process| matches!(process.state, MachineState::Running);
            let Some(gone) = self.shared.machines().get(id).filter(runs).map(|p| p.gone.clone()) else {
                return;
            };
            // Too late is no error: then one looks.
            let _ = self.host.within(LOOK_AGAIN, gone.notified()).await;
        }
    }
}

impl MachineProvider for Local {
    fn create(&self, spec: MachineSpec) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            if self.shared.machines().contains_key(&spec.id) {
                return Ok(());
            }
            self.start(&spec).await
        })
    }

    fn delete(&self, id: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let id = id.to_owned();
        Box::pin(async move {
            let waits = self.shared.machines().get_mut(&id).map(|process| {
                process.stdin = None;
                (process.state.clone(), process.kill.clone())
            });
            if waits.is_none() {
                return self.outlived(&id).await;
            }
            if let Some((MachineState::Running, kill)) = waits
                && self.host.within(LEAVE_TIME, self.ended(&id)).await.is_err()
            {
                tracing::warn!(machine = %id, "an agent does not leave; it is killed");
                kill.notify_one();
                self.ended(&id).await;
            }
            self.shared.machines().remove(&id);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<BTreeMap<String, MachineState>, ProviderError>> {
        Box::pin(async move {
            Ok(self.shared.machines().iter().map(|(id, p)| (id.clone(), p.state.clone())).collect())
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.changed.notified())
    }
}
