//! Follows a run: its TaskRuns as they appear, and every step's log as it is written.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use base::host::Host;
use serde_json::Value;

use super::{Act, Screen};
use crate::client::Client;

/// Whether the run's condition is final.
pub fn is_done(run: &Value) -> bool {
    matches!(succeeded(run)["status"].as_str(), Some("True" | "False"))
}

/// The condition `Succeeded`.
pub fn succeeded(run: &Value) -> &Value {
    let conditions = run["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|c| c["type"] == "Succeeded")).unwrap_or(&Value::Null)
}

/// Follows `run` until it is done and all its logs are printed; returns its last state.
///
/// # Errors
/// When the gateway goes away.
pub async fn to_its_end(
    act: &Act,
    client: &Client,
    run: &Value,
    host: &Host,
    screen: &Screen,
) -> Result<Value> {
    let namespace = run["metadata"]["namespace"].as_str().unwrap_or("default");
    let name = run["metadata"]["name"].as_str().context("a run has a name")?;
    let pipeline = run["kind"] == "PipelineRun";
    let taskruns = if pipeline {
        format!("labelSelector=tekton.dev%2FpipelineRun%3D{name}")
    } else {
        format!("fieldSelector=metadata.name%3D{name}")
    };
    let taskruns = format!("/apis/tekton.dev/v1/namespaces/{namespace}/taskruns?watch=true&{taskruns}");
    let plural = if pipeline { "pipelineruns" } else { "taskruns" };
    let own = format!(
        "/apis/tekton.dev/v1/namespaces/{namespace}/{plural}?watch=true&fieldSelector=metadata.name%3D{name}"
    );

    let logs = Logs { open: Arc::default(), closed: Arc::new(tokio::sync::Notify::new()) };
    let (follower, printing) = (client.clone(), (act.tenant.clone(), screen.clone()));
    let (watched, watching, jobs) = (logs.clone(), taskruns, host.clone());
    host.spawn("demo-taskruns", async move {
        if let Err(error) = taskruns_appear(follower, &watching, &printing, &watched, &jobs).await {
            printing.1.line(&format!("[{}] cannot follow the TaskRuns: {error:#}", printing.0));
        }
    });

    let mut events = client.lines(&own).await?;
    while let Some(line) = events.next().await? {
        let event: Value = serde_json::from_slice(&line)?;
        if is_done(&event["object"]) {
            logs.all_printed().await;
            return Ok(event["object"].clone());
        }
        anyhow::ensure!(event["type"] != "DELETED", "{name} was deleted");
    }
    anyhow::bail!("the watch of {name} ended before the run did")
}

#[derive(Clone)]
struct Logs {
    open: Arc<Mutex<usize>>,
    closed: Arc<tokio::sync::Notify>,
}

impl Logs {
    fn add(&self, change: isize) {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *open = open.saturating_add_signed(change);
        self.closed.notify_waiters();
    }

    async fn all_printed(&self) {
        loop {
            let closed = self.closed.notified();
            if *self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == 0 {
                return;
            }
            closed.await;
        }
    }
}

async fn taskruns_appear(
    client: Client,
    path: &str,
    printing: &(String, Screen),
    logs: &Logs,
    host: &Host,
) -> Result<()> {
    let mut pods = BTreeSet::new();
    let mut events = client.lines(path).await?;
    while let Some(line) = events.next().await? {
        let event: Value = serde_json::from_slice(&line)?;
        let run = &event["object"];
        let Some(pod) = run["status"]["podName"].as_str().filter(|p| !p.is_empty()) else { continue };
        if !pods.insert(pod.to_owned()) {
            continue;
        }
        let namespace = run["metadata"]["namespace"].as_str().unwrap_or("default");
        let task = run["metadata"]["labels"]["tekton.dev/pipelineTask"].as_str();
        let task = task.or(run["metadata"]["name"].as_str()).unwrap_or("?").to_owned();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        let (client, printing, done) = (client.clone(), printing.clone(), logs.clone());
        logs.add(1);
        host.spawn("demo-logs", async move {
            if let Err(error) = print_pod(&client, &path, &task, &printing).await {
                printing.1.line(&format!("[{}] {task}: cannot read the log: {error:#}", printing.0));
            }
            done.add(-1);
        });
    }
    Ok(())
}

async fn print_pod(
    client: &Client,
    path: &str,
    task: &str,
    (tenant, screen): &(String, Screen),
) -> Result<()> {
    let pod = client.json(http::Method::GET, path, None).await?;
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        let Some(name) = container["name"].as_str() else { continue };
        let Some(step) = name.strip_prefix("step-") else { continue };
        let mut lines = client.lines(&format!("{path}/log?container={name}&follow=true")).await?;
        while let Some(line) = lines.next().await? {
            screen.log(&format!("[{tenant} {task}/{step}] {}", String::from_utf8_lossy(&line)));
        }
    }
    Ok(())
}
