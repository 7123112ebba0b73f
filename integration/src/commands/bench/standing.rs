//! What a server costs that stands: its memory, and its history.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{Bench, quantile, taskrun};
use crate::commands::Clock;
use crate::server::Options;

/// Memory of the server, idle after 100 runs.
pub async fn idle(options: &Options) -> Result<String> {
    let bench = Bench::new(options).await?;
    for round in 0..10 {
        let runs = (0..10).map(|n| {
            let (bench, name) = (&bench, format!("idle-{round}-{n}"));
            async move {
                bench.create("taskruns", &taskrun(&name, 1, &["true"])).await?;
                bench.done("taskruns", &name).await
            }
        });
        try_join_all(runs).await?;
    }
    bench.host.clock.sleep(std::time::Duration::from_secs(3)).await;
    let pid = bench.server.pid().context("the server is gone")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    Ok(format!("rss_mb={:.1}", kib.context("no VmRSS")? / 1024.0))
}

/// Creates and lists with little and with much history, and a restart on it.
pub async fn history(options: &Options) -> Result<String> {
    let mut bench = Bench::new(options).await?;
    finished(&bench, 0, 1_000).await?;
    let (create_1k, list_1k) = figures(&bench, "early").await?;
    finished(&bench, 1_000, 30_000).await?;
    let (create_30k, list_30k) = figures(&bench, "late").await?;
    bench.server.stop()?;
    let began = Clock::now();
    bench.server.launch()?;
    let bench = Bench {
        client: cli::client::Client::connect(bench.server.access("acme"), &bench.host).await?,
        ..bench
    };
    bench.create("taskruns", &taskrun("after-restart", 1, &["true"])).await?;
    bench.done("taskruns", "after-restart").await?;
    let restart = began.elapsed().as_secs_f64();
    Ok(format!(
        "create_ratio={:.2} list_ratio={:.2} list_ms={list_30k:.1} restart_s={restart:.2}",
        create_30k / create_1k,
        list_30k / list_1k,
    ))
}

/// Finished runs, by the shortest way that is a run's own: created, then cancelled before they begin.
async fn finished(bench: &Bench, from: usize, to: usize) -> Result<()> {
    for chunk in (from..to).collect::<Vec<_>>().chunks(32) {
        let work = chunk.iter().map(|n| {
            let (bench, name) = (bench, format!("old-{n:06}"));
            async move {
                let mut run = taskrun(&name, 1, &["true"]);
                run["spec"]["status"] = "TaskRunCancelled".into();
                bench.create("taskruns", &run).await.map(drop)
            }
        });
        try_join_all(work).await?;
    }
    let last = format!("old-{:06}", to - 1);
    let path = format!("/apis/tekton.dev/v1/namespaces/default/taskruns/{last}");
    loop {
        let run = bench.client.json(Method::GET, &path, None).await?;
        if run["status"]["conditions"][0]["status"] == "False" {
            return Ok(());
        }
        bench.host.clock.sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn figures(bench: &Bench, prefix: &str) -> Result<(f64, f64)> {
    let (mut creates, mut lists) = (Vec::new(), Vec::new());
    for n in 0..100 {
        let mut run = taskrun(&format!("{prefix}-{n}"), 1, &["true"]);
        run["spec"]["status"] = "TaskRunPending".into();
        let began = Clock::now();
        bench.create("taskruns", &run).await?;
        creates.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    for _ in 0..30 {
        let path = "/apis/tekton.dev/v1/namespaces/default/taskruns?limit=500";
        let began = Clock::now();
        let answer =
            bench.client.send(Method::GET, path, None).await?.into_body().collect().await?.to_bytes();
        // To the last byte; what a client makes of it is its own affair.
        lists.push(began.elapsed().as_secs_f64() * 1000.0);
        let list: Value = serde_json::from_slice(&answer)?;
        ensure!(list["items"].as_array().is_some_and(|items| items.len() == 500), "no list: {list}");
    }
    Ok((quantile(&mut creates, 0.5), quantile(&mut lists, 0.5)))
}
