//! `cargo x drill region`: europe-west1 is cut off (its cell's processes are stopped). Runs that are not pinned there
//! and have not started are placed elsewhere within ten seconds; pinned ones say what they wait for; when the region
//! is back, everything ends and new runs go there again.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use store::cell::WAITING;

use super::stage::{End, Stage, TASKRUNS, end, noting_task, signal, taskrun};
use crate::commands::Clock;

const CUT: &str = "europe-west1";
const OTHER: &str = "us-central1";
/// Machines of each cell: few, so that runs wait for one.
const MACHINES: usize = 2;
/// Runs of each sort that are submitted; of the free ones, those count that have not started when the region goes.
const RUNS: usize = 6;
/// At least so many of them.
const UNSTARTED_MIN: usize = 2;
/// The promise.
const MOVED_MAX: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(180);
/// How long the region is away at least.
const AWAY: Duration = Duration::from_secs(20);

/// Plays the drill.
///
/// # Errors
/// When it cannot be played.
pub async fn run() -> Result<bool> {
    let stage = Stage::open(&["--machines", &MACHINES.to_string()]).await?;
    let mut faults = Vec::new();
    // Some that run there and fill it; and others that are placed there as long as it does not say that it is full.
    let long = noting_task(&[("a", "echo going; sleep 45")]);
    for n in 0..MACHINES {
        stage.create(TASKRUNS, &taskrun(&format!("started-{n}"), CUT, "strict", &long)).await?;
    }
    for n in 0..RUNS {
        stage.create(TASKRUNS, &free(&format!("free-{n}"))).await?;
    }
    stage
        .until("the region is full", PATIENCE, || async {
            let journal = stage.journal();
            Ok((0..MACHINES).all(|n| journal.contains_key(&format!("started-{n}/0 a"))))
        })
        .await?;
    let short = noting_task(&[("a", "echo short")]);
    for n in 0..RUNS {
        stage.create(TASKRUNS, &taskrun(&format!("pinned-{n}"), CUT, "strict", &short)).await?;
    }
    // The region's machines are all taken: what is placed there and has not ended has not started.
    let there = stage.runs(TASKRUNS).await?;
    let free = there.iter().filter(|(name, run)| name.starts_with("free-") && cell(run) == CUT);
    let unstarted: Vec<String> =
        free.filter(|(_, run)| end(run) == End::Going).map(|(name, _)| name.clone()).collect();
    faults.extend((unstarted.len() < UNSTARTED_MIN).then(|| {
        format!("only {} free runs had not started in the region before it was cut off", unstarted.len())
    }));
    let still_there = |runs: &std::collections::BTreeMap<String, Value>| {
        unstarted.iter().filter(|name| cell(&runs[*name]) == CUT).count()
    };
    let cut: Vec<u32> =
        stage.servers().into_iter().filter(|(name, _)| name.starts_with(CUT)).map(|(_, pid)| pid).collect();
    for pid in &cut {
        signal("-STOP", *pid)?;
    }
    let away = Clock::now();
    let moved = stage
        .until("free runs are placed elsewhere", PATIENCE, || async {
            Ok(still_there(&stage.runs(TASKRUNS).await?) == 0)
        })
        .await;
    let moved_s = match &moved {
        Ok(time) => {
            faults.extend(
                (*time > MOVED_MAX)
                    .then(|| format!("free runs were placed elsewhere after {} s", time.as_secs())),
            );
            time.as_secs_f64()
        }
        Err(error) => {
            faults.push(format!("{error:#}"));
            f64::NAN
        }
    };
    let said = stage
        .until("pinned runs say what they wait for", PATIENCE, || async {
            let runs = stage.runs(TASKRUNS).await?;
            let mut pinned = runs.iter().filter(|(name, _)| name.starts_with("pinned-"));
            Ok(pinned.all(|(_, run)| cell(run) == CUT && waits_for(run).is_some()))
        })
        .await;
    let waits = match said {
        Ok(_) => waits_for(&stage.run(TASKRUNS, "pinned-0").await?).unwrap_or_default(),
        Err(error) => {
            faults.push(format!("{error:#}"));
            String::new()
        }
    };
    eprintln!("drill region: a pinned run waits for {waits:?}");
    let ended_away = stage
        .until("free runs end while the region is away", PATIENCE, || async {
            let runs = stage.runs(TASKRUNS).await?;
            let mut free = runs.iter().filter(|(name, _)| name.starts_with("free-"));
            Ok(free.all(|(_, run)| end(run) == End::Succeeded))
        })
        .await;
    faults.extend(ended_away.err().map(|error| format!("{error:#}")));
    if let Some(left) = AWAY.checked_sub(away.elapsed()) {
        stage.host.clock.sleep(left).await;
    }
    for pid in &cut {
        signal("-CONT", *pid)?;
    }
    let back = Clock::now();
    stage.create(TASKRUNS, &taskrun("after", CUT, "strict", &short)).await?;
    let runs = stage.all_ended(TASKRUNS, END_MAX).await;
    let converged_s = back.elapsed().as_secs_f64();
    let (mut started, mut pinned) = (Vec::new(), 0);
    match &runs {
        Ok(runs) => {
            for (name, run) in runs {
                match (name.split('-').next(), end(run)) {
                    (Some("started"), End::Succeeded) => started.push("succeeded"),
                    (Some("started"), End::Lost(_)) => started.push("machine lost"),
                    (Some("pinned"), End::Succeeded) => pinned += 1,
                    (Some("free" | "after"), End::Succeeded) => {}
                    (_, end) => faults.push(format!("{name} ended by {end:?}")),
                }
            }
            faults.extend(
                (cell(&runs["after"]) != CUT).then(|| "a new run does not go there again".to_owned()),
            );
        }
        Err(error) => faults.push(format!("{error:#}")),
    }
    let twice = stage.journal().values().filter(|times| **times > 1).count();
    faults.extend((twice > 0).then(|| format!("{twice} steps have begun twice")));
    let left = stage.close()?;
    faults.extend(left.iter().map(|left| format!("left behind: {left}")));
    faults.iter().for_each(|fault| println!("FAILED  {fault}"));
    println!(
        "region: unstarted={} moved_s={moved_s:.1} pinned={pinned}/{RUNS} started={started:?} twice={twice} leaked={} converged_s={converged_s:.1}",
        unstarted.len(),
        left.len()
    );
    Ok(faults.is_empty())
}

/// A run that would rather go to the region that is cut off, and takes another one. It has no journal: that is a claim
/// of its region.
fn free(name: &str) -> Value {
    let task =
        serde_json::json!({"steps": [{"name": "a", "image": "busybox", "script": "sleep 3; echo free"}]});
    let mut run = taskrun(name, CUT, "prefer", &task);
    if let Some(spec) = run["spec"].as_object_mut() {
        spec.remove("workspaces");
    }
    run["metadata"]["annotations"]["cella.dev/regions"] = format!("{CUT},{OTHER}").into();
    run
}

fn cell(run: &Value) -> &str {
    run["metadata"]["annotations"]["cella.dev/cell"].as_str().unwrap_or("")
}

/// What a run says that it waits for, since its cell is away: what it said when it was created is not enough.
fn waits_for(run: &Value) -> Option<String> {
    let said = run["metadata"]["annotations"][WAITING].as_str()?;
    said.contains("has not been heard of").then(|| said.to_owned())
}
