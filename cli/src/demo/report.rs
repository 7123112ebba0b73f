//! What the demo says of a run: where it was placed and why, its timings, its results, or why it failed.

use std::collections::VecDeque;
use std::io::Write;

use anyhow::Result;
use http::Method;
use serde_json::Value;

use super::{Act, Screen};
use crate::client::Client;
use crate::demo::follow::succeeded;

const LAST_LINES: usize = 10;

/// Says where a run was placed and why.
pub fn placed(act: &Act, run: &Value, screen: &Screen) {
    let note = |key: &str| run["metadata"]["annotations"][key].as_str().unwrap_or("?").to_owned();
    let name = run["metadata"]["name"].as_str().unwrap_or("?");
    let asked = act.regions.as_deref().map_or_else(|| "anywhere".to_owned(), |r| format!("{r} only"));
    screen.line(&format!(
        "[{}] {name}: asked for {asked}; placed in {} (cell {})",
        act.tenant,
        note("cella.dev/region"),
        note("cella.dev/cell"),
    ));
    screen.line(&format!("[{}] {name}: why: {}", act.tenant, note("cella.dev/placement-explanation")));
}

/// Says how a run ended; true when it succeeded.
pub async fn ended(act: &Act, client: &Client, run: &Value, screen: &Screen) -> Result<bool> {
    let (tenant, name) = (&act.tenant, run["metadata"]["name"].as_str().unwrap_or("?"));
    let condition = succeeded(run);
    let (reason, message) =
        (condition["reason"].as_str().unwrap_or("?"), condition["message"].as_str().unwrap_or(""));
    screen.line(&format!("[{tenant}] {name}: {reason}: {message}"));
    let taskruns = taskruns_of(client, run).await?;
    for taskrun in &taskruns {
        timings(tenant, taskrun, screen);
    }
    for result in run["status"]["results"].as_array().into_iter().flatten() {
        let value = result["value"].as_str().map_or_else(|| result["value"].to_string(), str::to_owned);
        screen
            .line(&format!("[{tenant}] {name}: result {} = {value}", result["name"].as_str().unwrap_or("?")));
    }
    let good = condition["status"] == "True";
    if !good {
        for taskrun in &taskruns {
            failure(act, client, taskrun, screen).await?;
        }
    }
    Ok(good)
}

async fn taskruns_of(client: &Client, run: &Value) -> Result<Vec<Value>> {
    if run["kind"] == "TaskRun" {
        return Ok(vec![run.clone()]);
    }
    let mut out = Vec::new();
    let namespace = run["metadata"]["namespace"].as_str().unwrap_or("default");
    for child in run["status"]["childReferences"].as_array().into_iter().flatten() {
        if let Some(name) = child["name"].as_str().filter(|_| child["kind"] == "TaskRun") {
            let path = format!("/apis/tekton.dev/v1/namespaces/{namespace}/taskruns/{name}");
            out.push(client.json(Method::GET, &path, None).await?);
        }
    }
    Ok(out)
}

/// The annotation holds instants in µs since 1970; shown are the moment at which a machine was wanted (UTC), and the
/// distances from it.
fn timings(tenant: &str, taskrun: &Value, screen: &Screen) {
    let text = taskrun["metadata"]["annotations"]["cella.dev/timings"].as_str().unwrap_or("{}");
    let instants: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(start) = instants["queued"].as_i64() else { return };
    let (ms, seconds) = (start / 1000 % 1000, start / 1_000_000 % 86_400);
    let queued = format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let shown = ["placed", "booted", "pulled", "gate", "first_step", "done"].iter().filter_map(|phase| {
        let at = instants[phase].as_i64()?;
        Some(format!("{phase} +{:.1} ms", (at - start) as f64 / 1000.0))
    });
    let name = taskrun["metadata"]["name"].as_str().unwrap_or("?");
    screen.line(&format!(
        "[{tenant}] {name}: timings: queued {queued}, {}",
        shown.collect::<Vec<_>>().join(", ")
    ));
}

async fn failure(act: &Act, client: &Client, taskrun: &Value, screen: &Screen) -> Result<()> {
    let tenant = &act.tenant;
    let (name, pod) = (taskrun["metadata"]["name"].as_str().unwrap_or("?"), &taskrun["status"]["podName"]);
    let namespace = taskrun["metadata"]["namespace"].as_str().unwrap_or("default");
    let steps = taskrun["status"]["steps"].as_array();
    let failed = steps
        .and_then(|all| all.iter().find(|s| s["terminated"]["exitCode"].as_i64().is_some_and(|c| c != 0)));
    let Some(step) = failed else { return Ok(()) };
    let container = step["container"].as_str().unwrap_or("?");
    screen.line(&format!(
        "[{tenant}] {name}: step {:?} exited with code {}",
        step["name"].as_str().unwrap_or("?"),
        step["terminated"]["exitCode"],
    ));
    if let Some(pod) = pod.as_str() {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log");
        // Kept in a file: the installation that has it ends with the demo.
        let prefix = format!("cella-{pod}-{container}-");
        let mut file = tempfile::Builder::new().prefix(&prefix).suffix(".log").tempfile()?;
        let mut last = VecDeque::new();
        let mut lines = client.lines(&format!("{path}?container={container}")).await?;
        while let Some(mut line) = lines.next().await? {
            line.push(b'\n');
            file.write_all(&line)?;
            last.push_back(line);
            if last.len() > LAST_LINES {
                last.pop_front();
            }
        }
        for line in last {
            screen.line(&format!("[{tenant}] {name}:   | {}", String::from_utf8_lossy(&line).trim_end()));
        }
        let (_, kept) = file.keep()?;
        screen.line(&format!("[{tenant}] {name}: the whole log: less {}", kept.display()));
    }
    Ok(())
}
