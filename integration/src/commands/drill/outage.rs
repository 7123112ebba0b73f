//! `cargo x drill outage`: the store is away for a while (its processes are stopped). Steps that run go on, nothing
//! fails that had started, and everything reports afterwards.

use std::time::Duration;

use anyhow::Result;
use http::Method;

use super::stage::{End, REGIONS, Stage, TASKRUNS, end, noting_task, signal, taskrun};
use crate::commands::Clock;

/// Runs that go when the store goes away.
const RUNS: usize = 6;
/// Steps tick so often, and for so much longer than the outage.
const TICK_S: u64 = 2;
const LONGER_S: u64 = 20;
/// Time for everything to end when the store is back.
const END_MAX: Duration = Duration::from_secs(120);

/// Plays the drill with an outage of so many seconds.
///
/// # Errors
/// When it cannot be played.
pub async fn run(seconds: u64) -> Result<bool> {
    let stage = Stage::open(&[]).await?;
    let ticks = (seconds + LONGER_S) / TICK_S;
    let tick = format!(
        "n=0; while [ $n -lt {ticks} ]; do n=$((n+1)); echo tick $n; echo \"tick $(context.taskRun.name) $n\" >> $(workspaces.out.path)/journal; sleep {TICK_S}; done"
    );
    let task = noting_task(&[("a", &tick), ("b", "echo after")]);
    for n in 0..RUNS {
        let region = REGIONS[n % REGIONS.len()];
        stage.create(TASKRUNS, &taskrun(&format!("o-{n}"), region, "strict", &task)).await?;
    }
    let ticked = || stage.journal().keys().filter(|line| line.starts_with("tick ")).count();
    stage
        .until("all runs tick", Duration::from_secs(60), || async {
            let journal = stage.journal();
            Ok((0..RUNS).all(|n| journal.contains_key(&format!("tick o-{n} 1"))))
        })
        .await?;
    let mut faults = Vec::new();
    let emulator = stage.server.emulator().to_vec();
    let away = Clock::now();
    for pid in &emulator {
        signal("-STOP", *pid)?;
    }
    let before = ticked();
    let (mut refused, mut accepted) = (0, Vec::new());
    let mut n = 0;
    while away.elapsed() < Duration::from_secs(seconds) {
        // A gateway without a store must say so, not hang.
        let name = format!("late-{n}");
        let late = taskrun(&name, REGIONS[n % REGIONS.len()], "strict", &noting_task(&[("a", "true")]));
        match stage.ask_once(Method::POST, TASKRUNS, Some(&late)).await {
            Ok(_) => accepted.push(name),
            Err(_) => refused += 1,
        }
        n += 1;
        stage.host.clock.sleep(Duration::from_secs(5)).await;
    }
    let during = ticked() - before;
    for pid in &emulator {
        signal("-CONT", *pid)?;
    }
    let back = Clock::now();
    // Each run ticks on its own: half of what it could have is plenty on a busy host.
    let expected = RUNS * usize::try_from(seconds / TICK_S / 2).unwrap_or(0);
    if during < expected {
        faults.push(format!("only {during} ticks during the outage, where {expected} were expected"));
    }
    faults.extend((!accepted.is_empty()).then(|| format!("accepted without a store: {accepted:?}")));
    let runs = stage.all_ended(TASKRUNS, END_MAX).await;
    let (mut succeeded, mut after) = (0, 0);
    match runs {
        Ok(runs) => {
            for (name, run) in &runs {
                let end = end(run);
                succeeded += usize::from(end == End::Succeeded && name.starts_with("o-"));
                if end != End::Succeeded {
                    faults.push(format!("{name} ended by {end:?}"));
                }
            }
        }
        Err(error) => faults.push(format!("{error:#}")),
    }
    let converged = back.elapsed();
    let twice = stage.journal().values().filter(|times| **times > 1).count();
    faults.extend((twice > 0).then(|| format!("{twice} lines of the journal are there twice")));
    // The installation works again.
    let fresh = taskrun("fresh", REGIONS[0], "strict", &noting_task(&[("a", "true")]));
    stage.create(TASKRUNS, &fresh).await?;
    let done = stage
        .until("a new run ends", Duration::from_secs(60), || async {
            Ok(end(&stage.run(TASKRUNS, "fresh").await?) == End::Succeeded)
        })
        .await;
    match done {
        Ok(_) => after += 1,
        Err(error) => faults.push(format!("{error:#}")),
    }
    let left = stage.close()?;
    faults.extend(left.iter().map(|left| format!("left behind: {left}")));
    faults.iter().for_each(|fault| println!("FAILED  {fault}"));
    println!(
        "outage: away_s={seconds} runs={RUNS} ticks_during={during} refused_during={refused} accepted_during={} succeeded={succeeded} fresh_after={after} twice={twice} leaked={} converged_s={:.1}",
        accepted.len(),
        left.len(),
        converged.as_secs_f64(),
    );
    Ok(faults.is_empty())
}
