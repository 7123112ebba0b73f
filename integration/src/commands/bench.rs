//! `cargo x bench NAME`: measurements of the whole system, each beside the disk's own speed.

mod creates;
mod latency;
mod load;
mod pipeline;
mod place;
pub mod raw;
mod standing;
mod wide;

use anyhow::{Context, Result, bail};
use base::host::Host;
use cli::client::Client;
use serde_json::{Value, json};

use crate::commands::Tools;
use crate::server::{Options, Server};

/// Runs a measurement and prints its line.
pub fn run(name: &str, store: Option<&str>) -> Result<bool> {
    if name == "place" {
        println!("{name}: {}", place::run()?);
        return Ok(true);
    }
    if name == "pipeline" {
        return pipeline::run();
    }
    let tools = Tools::ready()?;
    let mut options = Options::new(tools.cella.clone(), tools.images.clone());
    options.arguments.extend(
        store
            .into_iter()
            .flat_map(|store| ["--one-process".to_owned(), "--store".to_owned(), store.to_owned()]),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let sync = cli::doctor::disk_sync_ms(50).context("the disk cannot be measured")?;
    let figures = runtime.block_on(async {
        match name {
            "start" => latency::start(&options).await,
            "steps" => latency::steps(&options).await,
            "chain" => latency::chain(&options).await,
            "burst" => latency::burst(&options).await,
            "creates" => creates::run(&options).await,
            "idle" => standing::idle(&options).await,
            "history" => standing::history(&options).await,
            "wide" => wide::run(&options).await,
            other => bail!(
                "there is no measurement {other:?}; there are start, steps, chain, burst, creates, idle, history, wide, place, pipeline"
            ),
        }
    })?;
    println!("{name}: {figures} fdatasync_p50_ms={sync:.2}");
    Ok(true)
}

/// A server and a connection to it.
pub struct Bench {
    pub server: Server,
    pub host: Host,
    pub client: Client,
}

impl Bench {
    pub async fn new(options: &Options) -> Result<Self> {
        let server = Server::start(options)?;
        let (host, _jobs) = base::real::host();
        let client = Client::connect(server.access("acme"), &host).await?;
        Ok(Self { server, host, client })
    }

    pub fn now_us(&self) -> i64 {
        self.host.clock.utc().0
    }

    /// Creates a run and returns it as it was stored.
    pub async fn create(&self, plural: &str, run: &Value) -> Result<Value> {
        let path = format!("/apis/tekton.dev/v1/namespaces/default/{plural}");
        self.client.json(http::Method::POST, &path, Some(run)).await
    }

    /// Waits for a run to end; fails when it failed.
    pub async fn done(&self, plural: &str, name: &str) -> Result<Value> {
        self.done_within(plural, name, 120).await
    }

    /// As [`Bench::done`], within so many seconds.
    pub async fn done_within(&self, plural: &str, name: &str, seconds: u32) -> Result<Value> {
        let path = format!(
            "/apis/tekton.dev/v1/namespaces/default/{plural}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds={seconds}"
        );
        let mut lines = self.client.lines(&path).await?;
        while let Some(line) = lines.next().await? {
            let event: Value = serde_json::from_slice(&line)?;
            let condition = &event["object"]["status"]["conditions"][0];
            match condition["status"].as_str() {
                Some("True") => return Ok(event["object"].clone()),
                Some("False") => bail!("{name} failed: {condition}"),
                _ => {}
            }
        }
        bail!("{name} did not end in time")
    }
}

/// A TaskRun whose steps each run `script`.
pub(crate) fn taskrun(name: &str, steps: usize, command: &[&str]) -> Value {
    let steps: Vec<_> = (0..steps)
        .map(|n| json!({"name": format!("s{n}"), "image": "busybox", "command": command}))
        .collect();
    json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name}, "spec": {"taskSpec": {"steps": steps}}})
}

/// The value below which `share` of them lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}
