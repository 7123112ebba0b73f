//! The regional server: makes placed runs happen.
//!
//! **For:** `cli` (starts cells beside a gateway) and `integration` (starts them in the simulated world).
//! **May use:** store (the cell façade only), tekton, tenancy, protocol, base.
//! **Invariants:** nothing outside happens before its intent is durable; everything outside is idempotent by name;
//! every loop is level-triggered and may die at any point; any replica may do any step; no user code starts before
//! its attempt's `claimed -> started` is committed; log bytes never enter the store.
//! **Read in this order:** [`Cell`], `runs` (store to store), `machines` (store to provider), [`provider`],
//! `agents` (sessions), `lower` (Pod to Order), [`logs`], [`resolve`] and [`fetch`] (remote references),
//! `home` (heartbeat), `place` (placing runs again), `peers` (who may call), `replicas`, `sleep`,
//! `settings`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base::host::Host;
use serde_json::{Value, json};
use store::backend::Store;
use store::cell::CellStore;
use tekton::api::config::TenantConfig;
use tekton::engine::decide::{Installation, Observed, Outcome};
use tenancy::peer::Peers;

mod agents;
pub mod fetch;
mod home;
pub mod images;
pub mod logs;
mod lower;
mod machines;
mod metrics;
mod outbox;
mod peers;
mod place;
pub mod provider;
mod queue;
mod replicas;
pub mod resolve;
mod runs;
pub mod secrets;
mod settings;
mod signals;
mod sleep;

use crate::fetch::Fetch;
use crate::images::Images;
use crate::logs::LogSink;
use crate::provider::MachineProvider;
use crate::provider::volumes::{Folders, VolumeProvider};
use crate::resolve::hub::Hubs;
use crate::secrets::Secrets;

/// Settings of a cell.
#[derive(Clone)]
pub struct Config {
    /// Its id.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// Name of this process among the cell's replicas.
    pub replica: String,
    /// Address at which gateways and other replicas reach this one.
    pub address: String,
    /// Address at which agents reach this one.
    pub agents: String,
    /// Most machines at one time.
    pub machines_max: usize,
    /// Architectures of its machines, in Go's words.
    pub arch: Vec<String>,
    /// Derives machine tokens; the same in all replicas of the cell.
    pub machine_key: [u8; 32],
    /// Who this cell is for its peers, and whom it believes.
    pub peers: Peers,
    /// Folder for claims.
    pub data: PathBuf,
    /// It sleeps after so long without work; `None`: never.
    pub sleep_after: Option<Duration>,
}

/// How fast a cell lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Between two heartbeats. A cell that others see without a new one for three of theirs is gone: what has not
    /// started there is placed again.
    pub heartbeat: Duration,
    /// What has started on a cell that is gone for so long is lost.
    pub forgotten: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(2), forgotten: Duration::from_secs(600) }
    }
}

/// The engine: two pure functions.
#[derive(Clone, Copy)]
pub struct Engine {
    /// Decides for TaskRuns.
    pub taskrun: Decide,
    /// Decides for PipelineRuns.
    pub pipelinerun: Decide,
}

/// A pure function from what is seen to what shall be.
pub type Decide = fn(&Observed, &TenantConfig, &Installation, i64) -> Outcome;

impl Engine {
    fn decide(
        &self,
        kind: &str,
        observed: &Observed,
        config: &TenantConfig,
        installation: &Installation,
        now_us: i64,
    ) -> Outcome {
        let decide = if kind == "taskruns.tekton.dev" { self.taskrun } else { self.pipelinerun };
        decide(observed, config, installation, now_us)
    }
}

/// What a cell works with.
#[derive(Clone)]
pub struct Parts {
    /// The world.
    pub host: Host,
    /// The store of its Home.
    pub store: Store,
    /// Where machines come from.
    pub provider: Arc<dyn MachineProvider>,
    /// Where log bytes go.
    pub sink: Arc<dyn LogSink>,
    /// What registries say.
    pub images: Arc<dyn Images>,
    /// Opens Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Fetches what tenants refer to.
    pub fetch: Arc<dyn Fetch>,
    /// Where hubs are, unless a tenant says otherwise.
    pub hubs: Hubs,
    /// The engine.
    pub engine: Engine,
    /// Names of helper images, which appear in Pods.
    pub installation: Installation,
}

/// A running cell. It stops with the jobs of its host.
#[derive(Clone)]
pub struct Cell {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    host: Host,
    store: CellStore,
    provider: Arc<dyn MachineProvider>,
    sink: Arc<dyn LogSink>,
    images: Arc<dyn Images>,
    secrets: Arc<dyn Secrets>,
    fetch: Arc<dyn Fetch>,
    hubs: Hubs,
    engine: Engine,
    installation: Installation,
    volumes: Arc<dyn VolumeProvider>,
    config: Config,
    pace: Pace,
    others: place::Others,
    settings: settings::Settings,
    runs: runs::Runs,
    machines: machines::Machines,
    resolve: resolve::Resolve,
    signals: signals::Signals,
    replicas: replicas::Replicas,
    sleep: sleep::Sleep,
    believed: peers::Believed,
    told: outbox::Told,
    metrics: metrics::Metrics,
    /// This process itself wants no new runs: it is about to leave.
    leaving: AtomicBool,
    /// The cell takes no new runs, as last heard.
    draining: AtomicBool,
    /// The first heartbeat is written.
    ready: AtomicBool,
}

impl Cell {
    /// Starts a cell: its loops run as jobs of the host; the router answers agents and gateways.
    pub fn start(config: Config, parts: Parts) -> (Router, Cell) {
        Self::start_at(config, parts, Pace::default())
    }

    /// As [`Cell::start`], at another pace: for tests that cannot wait.
    pub fn start_at(config: Config, parts: Parts, pace: Pace) -> (Router, Cell) {
        let store = CellStore::new(parts.store, parts.host.clone(), &config.cell, &config.machine_key);
        let inner = Arc::new(Inner {
            host: parts.host,
            store,
            provider: parts.provider,
            sink: parts.sink,
            images: parts.images,
            secrets: parts.secrets,
            fetch: parts.fetch,
            hubs: parts.hubs,
            engine: parts.engine,
            installation: parts.installation,
            volumes: Arc::new(Folders::new(&config.data)),
            config,
            pace,
            others: place::Others::default(),
            settings: settings::Settings::default(),
            runs: runs::Runs::default(),
            machines: machines::Machines::default(),
            resolve: resolve::Resolve::default(),
            signals: signals::Signals::default(),
            replicas: replicas::Replicas::default(),
            sleep: sleep::Sleep::default(),
            believed: peers::Believed::default(),
            told: outbox::Told::default(),
            metrics: metrics::Metrics::default(),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ready: AtomicBool::new(false),
        });
        runs::start(&inner);
        resolve::start(&inner);
        machines::start(&inner);
        home::start(&inner);
        replicas::start(&inner);
        sleep::start(&inner);
        (router(inner.clone()), Cell { inner })
    }

    /// Whether the cell accepts new runs as far as this process is concerned; those that it has go on. (An operator's
    /// wish is a row: [`store::records::cell::Drain`].)
    pub fn drain(&self, draining: bool) {
        self.inner.leaving.store(draining, Ordering::Relaxed);
        let cell = self.inner.clone();
        self.inner.host.spawn("heartbeat now", async move {
            if let Err(error) = home::heartbeat(&cell).await {
                tracing::warn!(%error, "the drain is not yet known to gateways");
            }
        });
    }

    /// What each loop is doing.
    pub fn status(&self) -> Value {
        self.inner.status()
    }
}

impl Inner {
    /// Most machines at one time.
    fn capacity(&self) -> u32 {
        u32::try_from(self.config.machines_max).unwrap_or(u32::MAX)
    }

    fn machines_wake(&self) {
        self.machines.wake.notify_one();
    }

    fn status(&self) -> Value {
        let (waiting, running) = runs::backlog(self);
        json!({
            "cell": self.config.cell,
            "region": self.config.region,
            "replica": self.config.replica,
            "draining": self.draining.load(Ordering::Relaxed),
            "asleep_until_us": self.sleep.until_us(),
            "other_replicas": self.replicas.any(),
            "runs": {"waiting": waiting, "running": running},
            "machines": self.machines.count.load(Ordering::Relaxed),
        })
    }
}

fn router(inner: Arc<Inner>) -> Router {
    let logs = format!("{}/{{tenant}}/{{namespace}}/{{pod}}/{{container}}", tenancy::peer::LOGS);
    let peers = Router::new()
        .route(tenancy::peer::WAKE, post(wake))
        .route(tenancy::peer::RING, post(replicas::rung))
        .route(&logs, get(logs::serve::logs))
        .route_layer(from_fn_with_state(inner.clone(), peers::admit));
    peers
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/statusz", get(|State(cell): State<Arc<Inner>>| async move { axum::Json(cell.status()) }))
        .route("/metrics", get(metrics))
        .merge(agents::router())
        .with_state(inner)
}

#[derive(serde::Deserialize)]
struct Wake {
    #[serde(default)]
    hold: bool,
}

async fn wake(State(cell): State<Arc<Inner>>, Query(wake): Query<Wake>) -> StatusCode {
    cell.sleep.wake();
    runs::wake(&cell);
    cell.due_written();
    if wake.hold {
        cell.hold().await;
    }
    StatusCode::NO_CONTENT
}

async fn readyz(State(cell): State<Arc<Inner>>) -> Response {
    if cell.ready.load(Ordering::Relaxed) {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no heartbeat written yet").into_response()
    }
}

async fn metrics(State(cell): State<Arc<Inner>>) -> Response {
    let (waiting, running) = runs::backlog(&cell);
    let text = cell.metrics.text(cell.machines.count.load(Ordering::Relaxed), waiting, running);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// Compares in a time that depends on the lengths only.
pub(crate) fn same_secret(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |sum, (x, y)| sum | (x ^ y));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests;
