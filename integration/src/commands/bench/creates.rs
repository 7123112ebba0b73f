//! How many TaskRuns can be created durably, admission included.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use cli::client::Load;
use futures_util::future::try_join_all;
use store::backend::{Backend, Op, Pre, RequestId, RowKey, Table, Txn};

use super::{Bench, quantile, taskrun};
use crate::commands::Clock;
use crate::server::Options;

const TIME: Duration = Duration::from_secs(5);
const MANY: usize = 32;
/// Stands for a run's name in what is sent.
const NAME: &str = "name-of-the-run";

/// Creates at 1 and at 32 clients, and what 32 writers reach on the bare store.
pub async fn run(options: &Options) -> Result<String> {
    let bench = Bench::new(options).await?;
    // Pending runs are stored, placed and left alone: only the create is measured.
    let (one, _) = clients(&bench, 1, "one").await?;
    let (many, mut latencies) = clients(&bench, MANY, "many").await?;
    let size = stored(&bench, "many-0-0").await?;
    drop(bench);
    let bare = bare(size).await?;
    Ok(format!(
        "per_second_1={one:.0} per_second_32={many:.0} p99_ms_32={:.1} share={:.2}",
        quantile(&mut latencies, 0.99),
        many / bare,
    ))
}

/// Bytes of an object as it is stored.
async fn stored(bench: &Bench, name: &str) -> Result<usize> {
    let path = format!("/apis/tekton.dev/v1/namespaces/default/taskruns/{name}");
    let mut run = bench.client.json(http::Method::GET, &path, None).await?;
    // What the cell has added since is not what was created.
    if let Some(run) = run.as_object_mut() {
        run.remove("status");
    }
    Ok(run.to_string().len())
}

async fn clients(bench: &Bench, count: usize, prefix: &str) -> Result<(f64, Vec<f64>)> {
    let began = Arc::new(Clock::now());
    let work = (0..count).map(|client| {
        let (began, host) = (began.clone(), bench.host.clone());
        let access = bench.server.access("acme").clone();
        let prefix = prefix.to_owned();
        async move {
            let mut connection = Load::connect(&access, &host).await?;
            let path = "/apis/tekton.dev/v1/namespaces/default/taskruns";
            let mut run = taskrun(NAME, 1, &["true"]);
            run["spec"]["status"] = "TaskRunPending".into();
            let body = run.to_string();
            let mut latencies = Vec::new();
            while began.elapsed() < TIME {
                let body = body.replace(NAME, &format!("{prefix}-{client}-{}", latencies.len()));
                let before = Clock::now();
                connection.post(path, body.into()).await?;
                latencies.push(before.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(latencies)
        }
    });
    let all: Vec<f64> = try_join_all(work).await?.into_iter().flatten().collect();
    Ok((all.len() as f64 / began.elapsed().as_secs_f64(), all))
}

/// Rows of the same size, 32 writers, straight into the store.
async fn bare(size: usize) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (host, _jobs) = base::real::host();
    let store = store::embedded::open(folder.path(), &host)?;
    let began = Arc::new(Clock::now());
    let work = (0..MANY).map(|writer| {
        let (store, host, began) = (store.clone(), host.clone(), began.clone());
        async move {
            let mut count = 0_usize;
            while began.elapsed() < TIME {
                let key = RowKey::new(Table::Object, "t/runs", format!("default/{writer}-{count}"));
                let op =
                    Op::Put { key, pre: Pre::Absent, owner: None, body: vec![b'x'; size].into(), prev: None };
                store.txn(Txn { id: RequestId(host.id()), name: "bare", ops: vec![op] }).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
    });
    let total: usize = try_join_all(work).await?.into_iter().sum();
    Ok(total as f64 / began.elapsed().as_secs_f64())
}
