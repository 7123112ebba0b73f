//! A wide PipelineRun: many tasks that do nothing, so that all its time is overhead.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Bench, taskrun};
use crate::commands::Clock;
use crate::server::Options;

const WIDE: usize = 20;
const DEEP: usize = 10;
const PATIENCE_S: u32 = 280;

/// 200 one-step tasks: 20 chains of 10 side by side. Nothing may be warned of in any log meanwhile.
pub async fn run(options: &Options) -> Result<String> {
    let mut bench = Bench::new(options).await?;
    bench.create("taskruns", &taskrun("warm", 1, &["true"])).await?;
    bench.done("taskruns", "warm").await?;
    let task = |chain: usize, link: usize| {
        let after: Vec<String> =
            link.checked_sub(1).map(|before| format!("t-{chain}-{before}")).into_iter().collect();
        let steps = json!([{"name": "s", "image": "busybox", "command": ["true"]}]);
        json!({"name": format!("t-{chain}-{link}"), "runAfter": after, "taskSpec": {"steps": steps}})
    };
    let tasks: Vec<Value> =
        (0..WIDE).flat_map(|chain| (0..DEEP).map(move |link| task(chain, link))).collect();
    let run = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "wide"},
        "spec": {"pipelineSpec": {"tasks": tasks}},
    });
    let began = Clock::now();
    bench.create("pipelineruns", &run).await?;
    let ended = bench.done_within("pipelineruns", "wide", PATIENCE_S).await?;
    let seconds = began.elapsed().as_secs_f64();
    let children = ended["status"]["childReferences"].as_array().map_or(0, Vec::len);
    ensure!(children == WIDE * DEEP, "{children} of {} tasks were run", WIDE * DEEP);
    bench.server.stop()?;
    // Server and agents write to one log, and nothing below a warning.
    let log = bench.server.log();
    let bad: Vec<&str> = log.lines().filter(|line| is_complaint(line)).collect();
    ensure!(bad.is_empty(), "{} lines of the log are warnings or errors:\n{}", bad.len(), bad.join("\n"));
    let each = seconds * 1000.0 / children as f64;
    Ok(format!("tasks={children} seconds={seconds:.1} overhead_ms_per_task={each:.1} complaints=0"))
}

fn is_complaint(line: &str) -> bool {
    ["WARN", "ERROR", "panicked", "error:", "agent:", "entrypoint:"].iter().any(|word| line.contains(word))
}
