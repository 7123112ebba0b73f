//! How long runs take, through the whole system, warm.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use store::cell::TIMINGS;

use super::{Bench, quantile, raw, taskrun};
use crate::commands::Clock;
use crate::server::Options;

const WARM: usize = 3;
const ROUNDS: usize = 40;
const FEW: usize = 10;
/// A machine is deleted after its run has ended.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(300);

/// By how much every commit is made longer in the second part of `start`.
const LONGER_MS: f64 = 100.0;

/// A one-step TaskRun: to its first log byte, and to its end as a watcher sees it. Then the same with every commit
/// 100 ms longer: how much later the first byte comes says how many commits stand one behind another before it.
pub async fn start(options: &Options) -> Result<String> {
    let mut plain = started(options).await?;
    let mut slow = options.clone();
    slow.arguments.extend(["--commit-delay-ms".to_owned(), LONGER_MS.to_string()]);
    let mut slow = started(&slow).await?;
    // Where the difference comes from, by what the run itself says of its parts.
    for (until, times) in &mut plain.parts {
        let (plain, slow) =
            (quantile(times, 0.5), slow.parts.get_mut(until).map_or(f64::NAN, |t| quantile(t, 0.5)));
        let n = (slow - plain) / LONGER_MS;
        eprintln!("until {until:<10} {plain:>6.1} ms, with longer commits {slow:>6.1} ms: {n:.1} commits");
    }
    let (first, later) = (quantile(&mut plain.first, 0.5), quantile(&mut slow.first, 0.5));
    Ok(format!(
        "first_byte_p50_ms={first:.1} first_byte_p99_ms={:.1} done_p50_ms={:.1} commits={:.1} first_byte_slow_p50_ms={later:.1} commits_in_a_row={:.1}",
        quantile(&mut plain.first, 0.99),
        quantile(&mut plain.done, 0.5),
        plain.commits,
        (later - first) / LONGER_MS,
    ))
}

/// Transactions by name.
type Commits = BTreeMap<String, f64>;

/// What was measured of `start`, ms.
struct Started {
    first: Vec<f64>,
    done: Vec<f64>,
    commits: f64,
    /// From the create to each instant that the run notes, by the clocks of this host.
    parts: BTreeMap<String, Vec<f64>>,
}

async fn started(options: &Options) -> Result<Started> {
    let bench = Bench::new(options).await?;
    let (mut first, mut done, mut parts) = (Vec::new(), Vec::new(), BTreeMap::new());
    let before = commits(&bench).await?;
    for round in 0..WARM + ROUNDS {
        let name = format!("start-{round}");
        let began = bench.now_us();
        bench.create("taskruns", &taskrun(&name, 1, &["echo", "hello"])).await?;
        let byte = first_byte(&bench, &name);
        let end = bench.done("taskruns", &name);
        let (byte, end) =
            futures_util::future::try_join(byte, async { end.await.map(|run| (bench.now_us(), run)) })
                .await?;
        let (end, run) = end;
        if round >= WARM {
            for (instant, at_us) in instants(&run) {
                parts.entry(instant).or_insert_with(Vec::new).push((at_us - began) as f64 / 1000.0);
            }
            parts.entry("first byte".into()).or_insert_with(Vec::new).push((byte - began) as f64 / 1000.0);
            first.push((byte - began) as f64 / 1000.0);
            done.push((end - began) as f64 / 1000.0);
        }
    }
    // What follows the end (the machine's row) is counted too.
    bench.host.clock.sleep(std::time::Duration::from_millis(500)).await;
    let mut counted = 0.0;
    let mut names = Vec::new();
    for (name, count) in commits(&bench).await? {
        let each = (count - before.get(&name).copied().unwrap_or(0.0)) / (WARM + ROUNDS) as f64;
        counted += if name.ends_with("(refused)") { 0.0 } else { each };
        if each > 0.0 {
            names.push(format!("{name} {each:.2}"));
        }
    }
    eprintln!("commits of each run: {}", names.join(", "));
    Ok(Started { first, done, commits: counted, parts })
}

/// The instants that a run notes, µs since 1970.
fn instants(run: &Value) -> Vec<(String, i64)> {
    let noted = run["metadata"]["annotations"][TIMINGS].as_str().unwrap_or_default();
    let noted: BTreeMap<String, i64> = serde_json::from_str(noted).unwrap_or_default();
    noted.into_iter().collect()
}

/// Commits of the server so far, heartbeats left out.
async fn commits(bench: &Bench) -> Result<Commits> {
    let response = bench.client.send(http::Method::GET, "/metrics", None).await?;
    let text = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
    let text = String::from_utf8_lossy(&text);
    let counts = text.lines().filter(|l| l.starts_with("store_") && !l.contains("heartbeat"));
    Ok(counts
        .filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            let (what, name) = name.split_once("_total{name=\"")?;
            let refused = if what == "store_refusals" { " (refused)" } else { "" };
            Some((format!("{}{refused}", name.trim_end_matches("\"}")), count.parse().ok()?))
        })
        .collect())
}

async fn first_byte(bench: &Bench, name: &str) -> Result<i64> {
    let pod = format!("/api/v1/namespaces/default/pods/{name}-pod");
    loop {
        match bench.client.lines(&format!("{pod}/log?container=step-s0&follow=true")).await {
            Ok(mut lines) => {
                lines.next().await?.context("the log is empty")?;
                return Ok(bench.now_us());
            }
            // The pod is made a moment after the run.
            Err(_) => bench.host.clock.sleep(std::time::Duration::from_millis(1)).await,
        }
    }
}

/// A TaskRun of 20 steps and the same containers raw, in turn: a machine changes its speed from one minute to the next.
pub async fn steps(options: &Options) -> Result<String> {
    let bench = Bench::new(options).await?;
    let mut raw = raw::Raw::new(&options.images, &raw::specifications(&bench, 20).await?)?;
    let (mut done, mut alone) = (Vec::new(), Vec::new());
    for round in 0..WARM + 2 * FEW {
        let name = format!("steps-{round}");
        let began = bench.now_us();
        bench.create("taskruns", &taskrun(&name, 20, &["true"])).await?;
        bench.done("taskruns", &name).await?;
        let ours = (bench.now_us() - began) as f64 / 1000.0;
        // What follows the end is no part of either.
        bench.host.clock.sleep(SETTLE).await;
        let theirs = raw.round()?;
        if round >= WARM {
            done.push(ours);
            alone.push(theirs);
        }
    }
    raw.end()?;
    let (done, raw) = (quantile(&mut done, 0.5), quantile(&mut alone, 0.5));
    Ok(format!("done_p50_ms={done:.1} ratio={:.2} raw_p50_ms={raw:.1}", done / raw))
}

/// Three one-step tasks in a row.
pub async fn chain(options: &Options) -> Result<String> {
    let bench = Bench::new(options).await?;
    let mut done = Vec::new();
    let task = |name: &str, after: &[&str]| {
        let steps = json!([{"name": "s", "image": "busybox", "command": ["true"]}]);
        json!({"name": name, "runAfter": after, "taskSpec": {"steps": steps}})
    };
    for round in 0..WARM + FEW {
        let name = format!("chain-{round}");
        let tasks = [task("a", &[]), task("b", &["a"]), task("c", &["b"])];
        let run = json!({
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": name},
            "spec": {"pipelineSpec": {"tasks": tasks}},
        });
        let began = bench.now_us();
        bench.create("pipelineruns", &run).await?;
        bench.done("pipelineruns", &name).await?;
        if round >= WARM {
            done.push((bench.now_us() - began) as f64 / 1000.0);
        }
    }
    Ok(format!("done_p50_ms={:.1}", quantile(&mut done, 0.5)))
}

/// 50 one-step TaskRuns at once.
pub async fn burst(options: &Options) -> Result<String> {
    let bench = Bench::new(options).await?;
    bench.create("taskruns", &taskrun("warm", 1, &["true"])).await?;
    bench.done("taskruns", "warm").await?;
    let began = Clock::now();
    let runs = (0..50).map(|n| {
        let bench = &bench;
        async move {
            let name = format!("burst-{n}");
            bench.create("taskruns", &taskrun(&name, 1, &["true"])).await?;
            bench.done("taskruns", &name).await
        }
    });
    let ended = try_join_all(runs).await?.len();
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("per_second={:.1} slowest_s={seconds:.2}", ended as f64 / seconds))
}
