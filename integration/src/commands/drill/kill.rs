//! `cargo x drill kill`: gateways, cells, agents and supervisors are killed with -9 at random while a stream of runs
//! goes. No step of a Try begins twice, no accepted run is lost, nothing is left behind, and every run ends for a
//! reason that the loss policy allows: it succeeded, or its machine was lost after it had begun.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::stage::{
    End, PIPELINERUNS, REGIONS, Stage, TASKRUNS, end, journal_claim, noting_task, signal, taskrun,
};
use crate::commands::Clock;

/// Runs that go at one time.
const GOING: usize = 12;
/// Every so manieth run is a PipelineRun whose task may be tried twice.
const PIPELINE_EVERY: usize = 4;
/// Pause between two kills, ms.
const PAUSE_MS: std::ops::Range<u64> = 200..700;
/// Time for the last runs to end.
const END_MAX: Duration = Duration::from_secs(180);

/// What is killed, and how often in ten.
const VICTIMS: [(&str, u32); 4] = [("gateway", 2), ("cell", 3), ("agent", 3), ("supervisor", 2)];

/// Plays the drill.
///
/// # Errors
/// When it cannot be played.
pub async fn run(kills: usize) -> Result<bool> {
    let stage = Stage::open(&[]).await?;
    let seed = u64::try_from(stage.host.id() & u128::from(u64::MAX)).unwrap_or(0);
    eprintln!("drill kill: seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let began = Clock::now();
    let mut killed: BTreeMap<&str, usize> = VICTIMS.iter().map(|(name, _)| (*name, 0)).collect();
    let mut submitted = 0;
    while killed.values().sum::<usize>() < kills {
        submitted += refill(&stage, submitted).await?;
        stage.host.clock.sleep(Duration::from_millis(rng.random_range(PAUSE_MS))).await;
        let kind = draw(&mut rng);
        let victims = victims(&stage, kind);
        if victims.is_empty() {
            continue;
        }
        if signal("-9", victims[rng.random_range(0..victims.len())])? {
            *killed.entry(kind).or_default() += 1;
            let all = killed.values().sum::<usize>();
            if all.is_multiple_of(20) {
                eprintln!("drill kill: {all} of {kills} killed, {submitted} runs submitted");
            }
        }
    }
    let taskruns = stage.all_ended(TASKRUNS, END_MAX).await;
    let pipelineruns = stage.all_ended(PIPELINERUNS, END_MAX).await;
    let (taskruns, pipelineruns) = match (taskruns, pipelineruns) {
        (Ok(taskruns), Ok(pipelineruns)) => (taskruns, pipelineruns),
        (Err(error), _) | (_, Err(error)) => {
            println!("FAILED  every accepted run ends: {error:#}");
            println!("{}", stage.server.log_tail());
            stage.close()?;
            return Ok(false);
        }
    };
    let journal = stage.journal();
    let mut faults = judge(&taskruns, &journal);
    if let Some((name, _)) = taskruns.iter().find(|(_, run)| matches!(end(run), End::Failed(_))) {
        println!("{}", stage.why(name, TASKRUNS.rsplit('/').next()).await);
    }
    let with_supervisors = taskruns.values().filter(|run| matches!(end(run), End::Killed(_))).count();
    if with_supervisors > killed["supervisor"] {
        faults.push(format!(
            "{with_supervisors} runs had steps killed, by {} supervisors",
            killed["supervisor"]
        ));
    }
    let missing = (0..submitted).filter(|n| {
        let (name, pipeline) = name(*n);
        !if pipeline { &pipelineruns } else { &taskruns }.contains_key(&name)
    });
    let missing = missing.count();
    faults.extend((missing > 0).then(|| format!("{missing} accepted runs are not there any more")));
    for (name, run) in &pipelineruns {
        if let End::Failed(why) = end(run)
            && !why.contains("Failed: 1")
        {
            faults.push(format!("{name} ended by {why}"));
        }
    }
    let left = stage.close()?;
    faults.extend(left.iter().map(|left| format!("left behind: {left}")));
    faults.iter().for_each(|fault| println!("FAILED  {fault}"));
    let of = |wanted: fn(&End) -> bool| taskruns.values().map(end).filter(wanted).count();
    let twice = journal.values().filter(|times| **times > 1).count();
    let kinds: Vec<String> = killed.iter().map(|(name, n)| format!("{name}s={n}")).collect();
    println!(
        "kill: kills={} {} runs={submitted} tries={} succeeded={} machine_lost={} killed_with_pod={with_supervisors} other={} steps_begun={} twice={twice} missing={missing} leaked={} seed={seed} seconds={:.0}",
        killed.values().sum::<usize>(),
        kinds.join(" "),
        taskruns.len(),
        of(|end| *end == End::Succeeded),
        of(|end| matches!(end, End::Lost(_))),
        of(|end| matches!(end, End::Failed(_))),
        journal.len(),
        left.len(),
        began.elapsed().as_secs_f64(),
    );
    Ok(faults.is_empty())
}

fn draw(rng: &mut SmallRng) -> &'static str {
    let mut rest = rng.random_range(0..VICTIMS.iter().map(|(_, weight)| weight).sum());
    for (name, weight) in VICTIMS {
        if rest < weight {
            return name;
        }
        rest -= weight;
    }
    VICTIMS[0].0
}

fn victims(stage: &Stage, kind: &str) -> Vec<u32> {
    match kind {
        "agent" | "supervisor" => stage.below(kind),
        _ => {
            let gateway = kind == "gateway";
            let servers = stage.servers().into_iter();
            servers.filter(|(name, _)| name.starts_with("gateway") == gateway).map(|(_, pid)| pid).collect()
        }
    }
}

fn name(n: usize) -> (String, bool) {
    (format!("k-{n}"), n % PIPELINE_EVERY == PIPELINE_EVERY - 1)
}

/// Submits runs until enough of them go; how many.
async fn refill(stage: &Stage, submitted: usize) -> Result<usize> {
    let going = |runs: &BTreeMap<String, Value>| runs.values().filter(|run| end(run) == End::Going).count();
    let going = going(&stage.runs(TASKRUNS).await?);
    let fresh = GOING.saturating_sub(going);
    for n in submitted..submitted + fresh {
        let region = REGIONS[n % REGIONS.len()];
        let task = noting_task(&[("a", "echo one; sleep 0.5"), ("b", "echo two; sleep 0.5")]);
        let (name, pipeline) = name(n);
        if pipeline {
            stage.create(PIPELINERUNS, &pipelinerun(&name, region, &task)).await?;
        } else {
            stage.create(TASKRUNS, &taskrun(&name, region, "strict", &task)).await?;
        }
    }
    Ok(fresh)
}

fn pipelinerun(name: &str, region: &str, task: &Value) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": name, "annotations": {"cella.dev/regions": region, "cella.dev/placement": "strict"}},
        "spec": {
            "pipelineSpec": {
                "workspaces": [{"name": "out"}],
                "tasks": [{
                    "name": "t", "retries": 1, "taskSpec": task,
                    "workspaces": [{"name": "out", "workspace": "out"}],
                }],
            },
            "workspaces": [{"name": "out", "persistentVolumeClaim": {"claimName": journal_claim(region)}}],
        },
    })
}

/// What is wrong with how the TaskRuns have ended.
fn judge(taskruns: &BTreeMap<String, Value>, journal: &BTreeMap<String, usize>) -> Vec<String> {
    let twice = journal.iter().filter(|(_, times)| **times > 1);
    let mut faults: Vec<String> =
        twice.map(|(line, times)| format!("{line} has begun {times} times")).collect();
    for (name, run) in taskruns {
        let retry = run["status"]["retriesStatus"].as_array().map_or(0, Vec::len);
        let begun = |step: &str| journal.get(&format!("{name}/{retry} {step}")).copied().unwrap_or(0);
        match end(run) {
            End::Succeeded if begun("a") == 1 && begun("b") == 1 => {}
            End::Succeeded => faults.push(format!("{name} succeeded, and its steps have not all begun")),
            // After the gate a lost machine fails the Try; before it, only after several machines. A supervisor takes
            // its pod's steps along; that they are no more than supervisors is counted below.
            End::Lost(_) | End::Killed(_) => {}
            End::Failed(why) => faults.push(format!("{name} ended by {why}")),
            End::Going => faults.push(format!("{name} has not ended")),
        }
    }
    faults
}
