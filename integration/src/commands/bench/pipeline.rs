//! PipelineRuns of many tasks: the engine's `decide`, a cell's runs loop, and the store that is the model.
//!
//! What is measured is the PipelineRun: its TaskRuns end at their first look, well and with a result, so that a child
//! ends whenever the store takes it. Tasks stand in layers, [`WIDE`] in each; half of them consume a result of the
//! layer before, the others only come after it. CPU time is that of this whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base::host::{BoxFuture, Host};
use cell::logs::files::{Files, LOG_BYTES_MAX};
use serde_json::{Value, json};
use store::backend::{At, Backend, Committed, Op, Pre, Read, RequestId, Store, Table, Txn, TxnError};
use store::memory::Memory;
use store::object::{self, ObjectKey};
use store::records::due;
use store::wrapper::Wrapper;
use tekton::api::config::TenantConfig;
use tekton::api::defaults;
use tekton::engine::decide::{Decision, Installation, Observed, Outcome};
use tenancy::id::CellId;
use tenancy::peer::{Peer, Peers};

const SIZES: [usize; 3] = [10, 100, 1000];
/// Tasks of one layer.
const WIDE: usize = 20;
const TENANT: &str = "acme";
const CELL: &str = "cell-a";
const PATIENCE: Duration = Duration::from_secs(300);
/// Most passes for one child that ends.
const PASSES_MAX: f64 = 2.0;
/// Most CPU time for the largest, s.
const CPU_MAX_S: f64 = 5.0;
/// The log of a task may grow by so much from a hundred tasks to a thousand.
const GROWTH_MAX: f64 = 1.5;

/// Decisions for the PipelineRun.
static PASSES: AtomicU64 = AtomicU64::new(0);

fn pipelinerun(seen: &Observed, config: &TenantConfig, with: &Installation, now_us: i64) -> Outcome {
    let outcome = tekton::engine::pipelinerun::decide(seen, config, with, now_us);
    if matches!(outcome, Outcome::Decision(_)) {
        PASSES.fetch_add(1, Ordering::Relaxed);
    }
    outcome
}

/// A TaskRun that ends at once.
fn taskrun(seen: &Observed, _: &TenantConfig, _: &Installation, now_us: i64) -> Outcome {
    let now = apimachinery::time::Micros(now_us).rfc3339();
    let mut decision = Decision::default();
    if seen.run["status"]["completionTime"].is_null() {
        decision.status = Some(json!({
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded",
                "message": "All Steps have completed executing", "lastTransitionTime": now}],
            "startTime": now,
            "completionTime": now,
            "podName": format!("{}-pod", seen.run["metadata"]["name"].as_str().unwrap_or_default()),
            "results": [{"name": "r", "type": "string", "value": "v"}],
            "steps": [{"name": "s", "container": "step-s", "terminationReason": "Completed",
                "terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}],
            "taskSpec": seen.run["spec"]["taskSpec"],
        }));
    }
    Outcome::Decision(Box::new(decision))
}

/// A store that counts what goes into the log of API objects.
struct Metered {
    inner: Store,
    log_bytes: AtomicU64,
}

impl Wrapper for Metered {
    fn inner(&self) -> &Store {
        &self.inner
    }

    fn wrap_txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            let of = |op: &Op| match op {
                Op::Put { key, body, prev, .. } if key.table == Table::Object => {
                    body.len() + prev.as_ref().map_or(0, bytes::Bytes::len)
                }
                Op::Delete { key, last, .. } if key.table == Table::Object => {
                    last.as_ref().map_or(0, bytes::Bytes::len)
                }
                Op::Put { .. } | Op::Delete { .. } | Op::Check { .. } | Op::Add { .. } => 0,
            };
            let size: usize = txn.ops.iter().map(of).sum();
            let done = self.inner.txn(txn).await;
            if done.is_ok() {
                self.log_bytes.fetch_add(size as u64, Ordering::Relaxed);
            }
            done
        })
    }
}

fn task(at: usize) -> Value {
    let script = "echo one; echo two; printf v > $(results.r.path)";
    let mut task = json!({
        "name": format!("task-{at}"),
        "taskSpec": {
            "params": [{"name": "p", "type": "string", "default": ""}],
            "results": [{"name": "r", "type": "string"}],
            "steps": [{"name": "s", "image": "docker.io/library/busybox", "script": script}],
        },
    });
    if at >= WIDE {
        let before = format!("task-{}", at - WIDE + at % 3);
        // The last of a layer must not wait for its own.
        let before =
            if (at - WIDE + at % 3) / WIDE < at / WIDE { before } else { format!("task-{}", at - WIDE) };
        if at.is_multiple_of(2) {
            task["params"] = json!([{"name": "p", "value": format!("$(tasks.{before}.results.r)")}]);
        } else {
            task["runAfter"] = json!([before]);
        }
    }
    task
}

/// What one run cost.
struct Figures {
    cpu_s: f64,
    passes: f64,
    log_bytes: f64,
}

async fn measure(size: usize) -> Result<Figures> {
    let (host, jobs) = base::real::host();
    let store = Arc::new(Metered { inner: Memory::new(host.clock.clone()), log_bytes: AtomicU64::new(0) });
    let folder = tempfile::tempdir()?;
    let (router, cell) = start(&host, store.clone(), folder.path());
    PASSES.store(0, Ordering::Relaxed);
    let before_s = cpu_s()?;
    let key = submit(&host, &store, size).await?;
    let run =
        host.within(PATIENCE, ended(&store, &key)).await.context("the PipelineRun did not end in time")??;
    let after_s = cpu_s()?;
    drop((router, cell));
    drop(jobs.shutdown(Duration::from_secs(5)).await);
    let condition = &run["status"]["conditions"][0];
    ensure!(condition["reason"] == "Succeeded", "the PipelineRun of {size} tasks ended with {condition}");
    let children = run["status"]["childReferences"].as_array().map_or(0, Vec::len);
    ensure!(children == size, "{children} children of {size} tasks");
    Ok(Figures {
        cpu_s: after_s - before_s,
        passes: PASSES.load(Ordering::Relaxed) as f64 / size as f64,
        log_bytes: store.log_bytes.load(Ordering::Relaxed) as f64 / size as f64,
    })
}

fn start(host: &Host, store: Store, folder: &std::path::Path) -> (axum::Router, cell::Cell) {
    let config = cell::Config {
        cell: CELL.into(),
        region: "here".into(),
        address: "local:cell".into(),
        machines_max: 1,
        arch: vec!["amd64".into()],
        machine_key: [7; 32],
        replica: "1".into(),
        agents: "local:cell".into(),
        peers: peers(),
        sleep_after: None,
        data: folder.to_owned(),
    };
    let parts = cell::Parts {
        host: host.clone(),
        store,
        provider: Arc::new(cell::provider::sim::Sim::default()),
        sink: Files::new(&folder.join("logs"), LOG_BYTES_MAX),
        images: Arc::new(cell::images::Fixed::default()),
        secrets: Arc::new(cell::secrets::InObject),
        fetch: cell::fetch::nowhere(),
        hubs: cell::resolve::hub::Hubs::default(),
        engine: cell::Engine { taskrun, pipelinerun },
        installation: crate::world::play::installation(),
    };
    cell::Cell::start(config, parts)
}

/// The cell as its peers would know it; nobody asks here.
fn peers() -> Peers {
    let cell = CellId::parse(CELL).expect("it is a cell's name");
    let mut all = tenancy::peer::found([cell], || [7; 32]).expect("any 32 bytes are a key");
    all.remove(&Peer::try_from(format!("cell/{CELL}")).expect("it is a peer's name"))
        .expect("it was just made")
}

/// Stores the run as the gateway does.
async fn submit(host: &Host, store: &Metered, size: usize) -> Result<ObjectKey> {
    let tasks: Vec<_> = (0..size).map(task).collect();
    let mut run = json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "run", "namespace": "default", "uid": host.uuid(),
            "creationTimestamp": apimachinery::time::Micros(host.clock.utc().0).rfc3339()},
        "spec": {"pipelineSpec": {"tasks": tasks}},
    });
    defaults::apply("PipelineRun", &mut run, &TenantConfig::default());
    for (name, value) in [(store::cell::CELL, CELL), (store::cell::REGION, "here"), (store::cell::EPOCH, "1")]
    {
        apimachinery::meta::set_annotation(&mut run, name, value);
    }
    let key = store::cell::key_of(TENANT, &run).context("a PipelineRun has a key")?;
    let ops = vec![object::put(&key, Pre::Absent, &run, None), due::put(CELL, &key, 0)];
    store
        .txn(Txn { id: RequestId(host.id()), name: "submit", ops })
        .await
        .map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(key)
}

async fn ended(store: &Metered, key: &ObjectKey) -> Result<Value> {
    let mut bell = store.bell(Table::Object, &object::scope(&key.tenant, &key.kind));
    loop {
        let snapshot = store.snapshot(At::Latest, vec![Read::Get(key.row())]).await?;
        let row = snapshot.answers[0].rows.first().context("the run is there")?;
        let run = object::of_row(row)?;
        if matches!(run["status"]["conditions"][0]["status"].as_str(), Some("True" | "False")) {
            return Ok(run);
        }
        bell.rung().await;
    }
}

/// CPU time of this process, s: its clock ticks, a hundred a second on Linux.
fn cpu_s() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("/proc/self/stat cannot be read")?;
    Ok((user + system) / 100.0)
}

/// Measures all sizes and prints the line.
pub fn run() -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut line, mut all) = (String::from("pipeline:"), Vec::new());
    for size in SIZES {
        let figures = runtime.block_on(measure(size))?;
        line.push_str(&format!(
            " total_cpu_s_{size}={:.2} passes_per_event_{size}={:.2} log_bytes_per_task_{size}={:.0}",
            figures.cpu_s, figures.passes, figures.log_bytes
        ));
        all.push(figures);
    }
    println!("{line}");
    let [_, hundred, thousand] = all.as_slice() else { return Ok(false) };
    let flat = thousand.log_bytes <= GROWTH_MAX * hundred.log_bytes;
    Ok(flat && thousand.cpu_s <= CPU_MAX_S && all.iter().all(|figures| figures.passes <= PASSES_MAX))
}
