//! `cella demo`: two tenants, one run pinned to a region and one that runs anywhere, with live logs.

mod follow;
mod report;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use base::host::{Host, Mono};
use http::Method;
use serde_json::{Value, json};

use crate::client::{Access, Client, Refused};
use crate::documents;

/// The example that runs when no file is named.
pub const EXAMPLE: &str = include_str!("../../docs/examples/fan-out.yaml");

/// One tenant's part of the demo.
pub struct Act {
    /// Tenant, for the prefix of its lines.
    pub tenant: String,
    /// How to reach the gateway as this tenant.
    pub access: Access,
    /// Regions the runs are pinned to; `None`: anywhere.
    pub regions: Option<String>,
}

/// Prints whole lines from several tasks.
#[derive(Clone)]
pub struct Screen {
    host: Host,
    began: Mono,
    /// A line of a log has been printed.
    logged: Arc<Mutex<bool>>,
}

impl Screen {
    /// A screen of a demo that began at `began`.
    pub fn new(host: &Host, began: Mono) -> Self {
        Self { host: host.clone(), began, logged: Arc::default() }
    }

    /// Prints one line on standard output.
    pub fn line(&self, text: &str) {
        let _turn = self.logged.lock();
        println!("{text}");
    }

    /// Prints a line of a log; of the first one also when it came.
    pub fn log(&self, text: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{text}");
        if !std::mem::replace(&mut *logged, true) {
            let since = self.host.clock.mono().since(self.began);
            println!("first log line {:.2} s after the start of the demo", since.as_secs_f64());
        }
    }
}

/// Reads the files; the built-in example when there are none.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read(files: &[PathBuf]) -> Result<Vec<Value>> {
    if files.is_empty() {
        return documents::parse(EXAMPLE);
    }
    let mut out = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        out.extend(documents::parse(&text).with_context(|| format!("cannot use {}", file.display()))?);
    }
    Ok(out)
}

/// Plays one tenant's part: submits everything, follows each run to its end. True when all runs succeeded.
///
/// # Errors
/// When something is refused, or the gateway goes away.
pub async fn play(act: &Act, objects: &[Value], host: &Host, screen: &Screen) -> Result<bool> {
    let client = Client::connect(&act.access, host).await?;
    let mut all_succeeded = true;
    for object in objects.iter().filter(|o| !documents::is_run(o)) {
        submit(&client, object.clone()).await.with_context(|| format!("tenant {}", act.tenant))?;
    }
    let mut runs = Vec::new();
    for object in objects.iter().filter(|o| documents::is_run(o)) {
        let mut object = object.clone();
        if let Some(regions) = &act.regions {
            let annotations = &mut object["metadata"]["annotations"];
            if annotations.is_null() {
                *annotations = json!({});
            }
            annotations["cella.dev/regions"] = json!(regions);
            annotations["cella.dev/placement"] = json!("strict");
        }
        let run = submit(&client, object).await.with_context(|| format!("tenant {}", act.tenant))?;
        report::placed(act, &run, screen);
        runs.push(run);
    }
    for run in runs {
        let end = follow::to_its_end(act, &client, &run, host, screen).await?;
        all_succeeded &= report::ended(act, &client, &end, screen).await?;
    }
    Ok(all_succeeded)
}

async fn submit(client: &Client, mut object: Value) -> Result<Value> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let path = documents::collection(&object, &namespace)?;
    match client.json(Method::POST, &path, Some(&object)).await {
        Err(error) if error.downcast_ref::<Refused>().is_some_and(|r| r.code == 409) => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let path = format!("{path}/{name}");
            let there = client.json(Method::GET, &path, None).await?;
            object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
            client.json(Method::PUT, &path, Some(&object)).await
        }
        other => other,
    }
    .with_context(|| {
        let name = object["metadata"]["name"].as_str().or(object["metadata"]["generateName"].as_str());
        format!(
            "{} {:?} was not accepted",
            object["kind"].as_str().unwrap_or("object"),
            name.unwrap_or_default()
        )
    })
}
