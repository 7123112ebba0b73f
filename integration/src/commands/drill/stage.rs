//! What all drills need: an installation of processes, runs that note each of their starts in a file outside their
//! pods, and a client that goes on when gateways die.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base::host::Host;
use cli::client::{Client, Refused};
use http::Method;
use serde_json::{Value, json};
use store::cell::machines::{MACHINE_LOST, MACHINES_EXHAUSTED};

use crate::commands::Tools;
use crate::leaks::{self, Traces};
use crate::server::{Options, Server, Store};

/// Where TaskRuns are.
pub const TASKRUNS: &str = "/apis/tekton.dev/v1/namespaces/default/taskruns";
/// Where PipelineRuns are.
pub const PIPELINERUNS: &str = "/apis/tekton.dev/v1/namespaces/default/pipelineruns";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
/// How long one request is tried, whoever dies meanwhile.
const ASK_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Regions of the installation. Each has a claim of its own for its journal: a claim is its cell's.
pub const REGIONS: [&str; 2] = ["us-central1", "europe-west1"];

/// An installation to be mistreated.
pub struct Stage {
    /// The world.
    pub host: Host,
    /// The installation.
    pub server: Server,
    before: Traces,
}

/// How a run has ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// It has not.
    Going,
    /// Well.
    Succeeded,
    /// Its machine was lost, and the run says so.
    Lost(String),
    /// A step was killed: with its pod's supervisor, or as a child of it, if nobody else has done it.
    Killed(String),
    /// In another way.
    Failed(String),
}

impl Stage {
    /// Starts an installation; `arguments` are further ones of `cella up`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn open(arguments: &[&str]) -> Result<Self> {
        let tools = Tools::with(Store::Emulator)?;
        let before = Traces::now();
        let (host, _jobs) = base::real::host();
        let mut options = Options::new(tools.cella, tools.images);
        options.store = Store::Emulator;
        options.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let server = Server::start(&options)?;
        let stage = Self { host, server, before };
        for region in REGIONS {
            let claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": journal_claim(region)},
                "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}},
            });
            stage.create(CLAIMS, &claim).await?;
        }
        Ok(stage)
    }

    /// Asks whichever gateway answers, until one does.
    ///
    /// # Errors
    /// When none answers in time, or one refuses for good.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let began = self.host.clock.mono();
        loop {
            let error = match self.ask_once(method.clone(), path, body).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let refused = error.downcast_ref::<Refused>().map(|refused| refused.code);
            if refused.is_some_and(|code| code < 500 && code != 429) {
                return Err(error);
            }
            if self.host.clock.mono().since(began) > ASK_MAX {
                let log = self.server.log_tail();
                return Err(error.context(format!("{method} {path} gets no answer; the servers say:\n{log}")));
            }
            self.host.clock.sleep(PAUSE).await;
        }
    }

    /// Asks one gateway once.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn ask_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let work = async {
            let client = Client::connect(self.server.access("acme"), &self.host).await?;
            client.json(method, path, body).await
        };
        self.host.within(ANSWER_MAX, work).await.context("no answer in time")?
    }

    /// Creates an object; that it exists is the answer to a question whose first answer was lost.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<()> {
        match self.ask(Method::POST, path, Some(object)).await {
            Ok(_) => Ok(()),
            Err(error) if error.downcast_ref::<Refused>().is_some_and(|r| r.code == 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All runs below `path`, by name.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub async fn runs(&self, path: &str) -> Result<BTreeMap<String, Value>> {
        let list = self.ask(Method::GET, path, None).await?;
        let items = list["items"].as_array().into_iter().flatten();
        let named = items.filter_map(|run| Some((run["metadata"]["name"].as_str()?.to_owned(), run.clone())));
        Ok(named.collect())
    }

    /// One run.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub async fn run(&self, path: &str, name: &str) -> Result<Value> {
        self.ask(Method::GET, &format!("{path}/{name}"), None).await
    }

    /// Waits until `holds`, and says how long it took.
    ///
    /// # Errors
    /// When it never does.
    pub async fn until<F>(&self, what: &str, time: Duration, mut holds: impl FnMut() -> F) -> Result<Duration>
    where
        F: Future<Output = Result<bool>>,
    {
        let began = self.host.clock.mono();
        loop {
            if holds().await? {
                return Ok(self.host.clock.mono().since(began));
            }
            if self.host.clock.mono().since(began) > time {
                bail!("not within {} s: {what}", time.as_secs());
            }
            self.host.clock.sleep(PAUSE).await;
        }
    }

    /// Waits until all runs have ended.
    ///
    /// # Errors
    /// When some never do; they are named.
    pub async fn all_ended(&self, path: &str, time: Duration) -> Result<BTreeMap<String, Value>> {
        let began = self.host.clock.mono();
        loop {
            let runs = self.runs(path).await?;
            let going: Vec<&String> =
                runs.iter().filter(|(_, run)| end(run) == End::Going).map(|(name, _)| name).collect();
            if going.is_empty() {
                return Ok(runs);
            }
            if self.host.clock.mono().since(began) > time {
                let (count, first) = (going.len(), going[0]);
                let kind = path.rsplit('/').next();
                bail!(
                    "{count} runs have not ended; {first} is one of them:\n{}",
                    self.why(first, kind).await
                );
            }
            self.host.clock.sleep(PAUSE * 5).await;
        }
    }

    /// The story of a run, in words and as it is stored.
    pub async fn why(&self, name: &str, kind: Option<&str>) -> String {
        let story = cli::why::story(self.server.access("acme"), &self.host, "default", name, kind).await;
        match story.and_then(|story| Ok(format!("{}\n{story:#}", cli::why::tell(&story)?))) {
            Ok(told) => told,
            Err(error) => format!("its story cannot be had: {error:#}"),
        }
    }

    /// Lines that runs have written outside their pods, and how often each.
    pub fn journal(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        let mut folders = vec![self.server.data().join("volumes")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name() == "journal" {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    text.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
                } else if entry.path().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        lines
    }

    /// Process ids of the servers, by name.
    pub fn servers(&self) -> BTreeMap<String, u32> {
        let text = std::fs::read(self.server.data().join("processes.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Agents and supervisors (`word`) below the installation.
    pub fn below(&self, word: &str) -> Vec<u32> {
        self.server.pid().map(|root| below(root, word)).unwrap_or_default()
    }

    /// Ends the installation; what it has left behind.
    ///
    /// # Errors
    /// When it does not end.
    pub fn close(mut self) -> Result<Vec<String>> {
        let emulator = self.server.emulator().to_vec();
        self.server.stop()?;
        drop(self.server);
        let mut left = leaks::left_since(&self.before);
        let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        // Killed processes are gone when somebody has taken note of their end.
        for _ in 0..100 {
            if !emulator.iter().any(is_there) {
                break;
            }
            std::thread::sleep(PAUSE / 2);
        }
        left.extend(
            emulator.into_iter().filter(is_there).map(|pid| format!("process: {pid} of the emulator")),
        );
        Ok(left)
    }
}

/// Name of a region's claim.
pub fn journal_claim(region: &str) -> String {
    format!("journal-{region}")
}

/// The specification of a task whose steps note that they begin: `RUN/RETRY STEP`.
pub fn noting_task(steps: &[(&str, &str)]) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(name, then)| {
            let note = format!(
                "echo \"$(context.taskRun.name)/$(context.task.retry-count) {name}\" >> $(workspaces.out.path)/journal"
            );
            json!({"name": name, "image": "busybox", "script": format!("#!/bin/sh\nset -e\n{note}\n{then}\n")})
        })
        .collect();
    json!({"workspaces": [{"name": "out"}], "steps": steps})
}

/// A TaskRun of that task in a region.
pub fn taskrun(name: &str, region: &str, mode: &str, task: &Value) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "annotations": {"cella.dev/regions": region, "cella.dev/placement": mode}},
        "spec": {
            "taskSpec": task,
            "workspaces": [{"name": "out", "persistentVolumeClaim": {"claimName": journal_claim(region)}}],
        },
    })
}

/// How a run stands.
pub fn end(run: &Value) -> End {
    let conditions = run["status"]["conditions"].as_array().into_iter().flatten();
    let Some(condition) = conditions.into_iter().find(|c| c["type"] == "Succeeded") else {
        return End::Going;
    };
    let reason = condition["reason"].as_str().unwrap_or("");
    let message = format!("{reason}: {}", condition["message"].as_str().unwrap_or(""));
    // A pod that died with its supervisor has one of these: its steps were killed, or nobody is left to tell of them.
    // What is killed on the point of being started cannot be started, as with containerd.
    let killed = ["code 137", "code 128: StartError", "build failed for unspecified reasons"];
    let killed = killed.iter().any(|sign| message.contains(sign));
    match condition["status"].as_str() {
        Some("True") => End::Succeeded,
        Some("False") if matches!(reason, MACHINE_LOST | MACHINES_EXHAUSTED) => End::Lost(message),
        Some("False") if killed => End::Killed(message),
        Some("False") => End::Failed(message),
        _ => End::Going,
    }
}

/// Sends a signal to a process that this drill has started, if it is still there.
///
/// # Errors
/// When signals cannot be sent at all.
pub fn signal(signal: &str, pid: u32) -> Result<bool> {
    ensure!(pid > 1, "no process is {pid}");
    let sent =
        Command::new("kill").args([signal, &pid.to_string()]).stderr(std::process::Stdio::null()).status();
    Ok(sent.context("cannot run kill")?.success())
}

/// Processes below `root` whose arguments have `word`.
pub fn below(root: u32, word: &str) -> Vec<u32> {
    let (mut family, mut found, mut parents) = (vec![root], Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.push((pid, parent.unwrap_or(0)));
    }
    while let Some(parent) = family.pop() {
        for (pid, _) in parents.iter().filter(|(_, p)| *p == parent) {
            family.push(*pid);
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.split(|b| *b == 0).any(|part| part == word.as_bytes()) {
                found.push(*pid);
            }
        }
    }
    found.sort_unstable();
    found
}
