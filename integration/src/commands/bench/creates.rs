//! How many TaskRuns can be created durably, admission included.

use std::time::Duration;

use anyhow::Result;
use cli::client::Access;
use futures_util::future::try_join_all;
use store::backend::{Backend, Op, Pre, RequestId, RowKey, Table, Txn};
use store::object::ObjectKey;
use store::records::due;

use super::load::Load;
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
    let (all_rows, run_alone) = (bare(size, true).await?, bare(size, false).await?);
    Ok(format!(
        "per_second_1={one:.0} per_second_32={many:.0} p99_ms_32={:.1} share={:.2} share_of_run_alone={:.2}",
        quantile(&mut latencies, 0.99),
        many / all_rows,
        many / run_alone,
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

/// Creates per second by `count` clients, and the time of each in ms. All clients are in one thread: that costs the
/// server less than if they woke one another.
async fn clients(bench: &Bench, count: usize, prefix: &'static str) -> Result<(f64, Vec<f64>)> {
    let access = bench.server.access("acme").clone();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let began = Clock::now();
            let clients = (0..count).map(|client| creates(&access, format!("{prefix}-{client}"), &began));
            let all: Vec<f64> = try_join_all(clients).await?.into_iter().flatten().collect();
            Ok((all.len() as f64 / began.elapsed().as_secs_f64(), all))
        })
    };
    tokio::task::spawn_blocking(work).await?
}

async fn creates(access: &Access, prefix: String, began: &Clock) -> Result<Vec<f64>> {
    let mut connection = Load::connect(access, "/apis/tekton.dev/v1/namespaces/default/taskruns").await?;
    let mut run = taskrun(NAME, 1, &["true"]);
    run["spec"]["status"] = "TaskRunPending".into();
    let body = run.to_string();
    let mut latencies = Vec::new();
    while began.elapsed() < TIME {
        let body = body.replace(NAME, &format!("{prefix}-{}", latencies.len()));
        let before = Clock::now();
        connection.post(&body).await?;
        latencies.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(latencies)
}

/// What a create commits, by 32 writers, straight into the store: a run of the same size and the row that makes its cell
/// look at it, while the namespace is as it was; or the run alone.
async fn bare(size: usize, all_rows: bool) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (host, _jobs) = base::real::host();
    let store = store::embedded::open(folder.path(), &host)?;
    let namespace = RowKey::new(Table::Object, "acme/namespaces", "/default");
    let put = |key, body| Op::Put { key, pre: Pre::Absent, owner: None, body, prev: None };
    let txn = |ops| Txn { id: RequestId(host.id()), name: "bare", ops };
    let done = store.txn(txn(vec![put(namespace.clone(), vec![b'x'; 500].into())])).await?;
    let check = Op::Check { key: namespace, pre: Pre::Rev(done.revisions[0]) };
    let began = Clock::now();
    let work = (0..MANY).map(|writer| {
        let (store, check, began, txn, host) = (store.clone(), check.clone(), &began, &txn, &host);
        async move {
            let mut count = 0_usize;
            while began.elapsed() < TIME {
                let key = ObjectKey {
                    tenant: "acme".into(),
                    kind: "taskruns.tekton.dev".into(),
                    namespace: "default".into(),
                    name: format!("many-{writer}-{count}"),
                };
                let run = put(key.row(), vec![b'x'; size].into());
                let due = due::put_with_uid("europe-west1", &key, &host.uuid());
                let ops = if all_rows { vec![run, due, check.clone()] } else { vec![run] };
                store.txn(txn(ops)).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
    });
    let total: usize = try_join_all(work).await?.into_iter().sum();
    Ok(total as f64 / began.elapsed().as_secs_f64())
}
