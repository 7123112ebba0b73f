//! A cell that gives one Order and records what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agent::{Config, Outcome};
use axum::extract::{Path, Query, State};
use axum::routing::post;
use axum::{Json, Router, body::Bytes};
use base::host::Host;
use http::StatusCode;
use protocol::message::{
    Desired, HELLO, Hello, HelloAnswer, LOGS, LogAnswer, RENEW, REPORT, Renew, RenewAnswer, Report, START,
    Start, StartAnswer, WATCH, Watch,
};
use protocol::order::{Network, Order, Volume};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What an agent said, and when.
#[derive(Default)]
pub struct Told {
    pub reports: Vec<Report>,
    pub logs: BTreeMap<String, Vec<u8>>,
    pub first_byte_us: Option<i64>,
    pub ordered_us: Option<i64>,
    pub gate_us: Option<i64>,
    pub starts: u32,
    /// Generations of volumes, as told at the gate.
    pub volumes: BTreeMap<String, u64>,
    pub renewals: u32,
}

pub struct Cell {
    pub told: Mutex<Told>,
    order: Order,
    pub desired: watch::Sender<Desired>,
    pub gate: Mutex<StartAnswer>,
    /// Answer to a renewal; `None`: there is none.
    pub renew: Mutex<Option<RenewAnswer>>,
    host: Host,
}

type Shared = State<Arc<Cell>>;

impl Cell {
    pub fn new(host: &Host, order: Order) -> Arc<Self> {
        let annotations = order.pod.metadata.annotations.clone().unwrap_or_default();
        Arc::new(Self {
            told: Mutex::default(),
            order,
            desired: watch::Sender::new(Desired { annotations, ..Desired::default() }),
            gate: Mutex::new(StartAnswer::Go),
            renew: Mutex::new(Some(RenewAnswer::Lease)),
            host: host.clone(),
        })
    }

    pub fn router(self: &Arc<Self>) -> Router {
        let logs = format!("{LOGS}/{{machine}}/{{nonce}}/{{attempt}}/{{container}}");
        Router::new()
            .route(HELLO, post(hello))
            .route(START, post(start))
            .route(REPORT, post(report))
            .route(WATCH, post(desired))
            .route(RENEW, post(renew))
            .route(&logs, post(log))
            .with_state(self.clone())
    }

    /// Serves the cell and runs an agent against it, inside this process.
    pub async fn run(self: &Arc<Self>, config: Config) -> Outcome {
        self.serve(&config.cell);
        agent::run(config, self.host.clone(), std::future::pending()).await.unwrap()
    }

    pub fn serve(self: &Arc<Self>, at: &str) {
        let serving = self.host.net.serve(at, self.router());
        self.host.spawn("cell", async move { serving.await.unwrap() });
    }

    /// The last status that was reported, as a document.
    pub fn status(&self) -> Value {
        let told = self.told.lock().unwrap();
        told.reports.last().map_or(Value::Null, |r| serde_json::to_value(&r.status).unwrap())
    }

    /// State of a container in the last report.
    pub fn state(&self, container: &str) -> Value {
        let status = self.status();
        let all = status["containerStatuses"].as_array().into_iter().flatten();
        let all = all.chain(status["initContainerStatuses"].as_array().into_iter().flatten());
        all.filter(|c| c["name"] == container).map(|c| c["state"].clone()).next().unwrap_or(Value::Null)
    }

    /// What a container said, without times.
    pub fn text(&self, container: &str) -> String {
        let told = self.told.lock().unwrap();
        let bytes = told.logs.get(container).cloned().unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|l| format!("{}\n", l.splitn(4, ' ').nth(3).unwrap())).collect()
    }
}

async fn hello(State(cell): Shared, Json(_): Json<Hello>) -> Json<HelloAnswer> {
    cell.told.lock().unwrap().ordered_us.get_or_insert(cell.host.clock.utc().0);
    Json(HelloAnswer::Order(Box::new(cell.order.clone())))
}

async fn start(State(cell): Shared, Json(start): Json<Start>) -> Json<StartAnswer> {
    let mut told = cell.told.lock().unwrap();
    told.starts += 1;
    told.volumes = start.volumes;
    told.gate_us = Some(cell.host.clock.utc().0);
    Json(cell.gate.lock().unwrap().clone())
}

async fn renew(State(cell): Shared, Json(_): Json<Renew>) -> Result<Json<RenewAnswer>, StatusCode> {
    cell.told.lock().unwrap().renewals += 1;
    cell.renew.lock().unwrap().clone().map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

async fn report(State(cell): Shared, Json(report): Json<Report>) -> Json<Desired> {
    let mut told = cell.told.lock().unwrap();
    let before = told.reports.last().map_or(0, |r| r.seq);
    assert!(report.seq > before, "reports are numbered upwards");
    println!("report {}", serde_json::to_string(&report.status).unwrap());
    told.reports.push(report);
    Json(cell.desired.borrow().clone())
}

async fn desired(State(cell): Shared, Json(watch): Json<Watch>) -> Json<Desired> {
    let mut desired = cell.desired.subscribe();
    let now = desired.wait_for(|d| *d != watch.seen).await.unwrap().clone();
    Json(now)
}

async fn log(
    State(cell): Shared,
    Path((_, _, _, container)): Path<(String, String, String, String)>,
    Query(query): Query<BTreeMap<String, u64>>,
    bytes: Bytes,
) -> Json<LogAnswer> {
    let mut told = cell.told.lock().unwrap();
    told.first_byte_us.get_or_insert(cell.host.clock.utc().0);
    let log = told.logs.entry(container).or_default();
    if log.len() as u64 == query["offset"] {
        log.extend_from_slice(&bytes);
    }
    Json(LogAnswer { next: log.len() as u64 })
}

/// An Order of these containers, each `(name, member: value…)`.
pub fn order(spec: Value, volumes: BTreeMap<String, Volume>) -> Order {
    let mut spec = spec;
    for member in ["containers", "initContainers"] {
        for container in spec[member].as_array_mut().into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = json!("busybox:1.36");
            }
        }
    }
    let pod = json!({"metadata": {"name": "pod", "namespace": "default", "uid": "u"}, "spec": spec});
    Order {
        attempt: "attempt".into(),
        pod: serde_json::from_value(pod).unwrap(),
        volumes,
        secret_env: BTreeMap::new(),
        working_dirs: Vec::new(),
        when_ready: BTreeMap::new(),
        done_by_agent: Vec::new(),
        registry_auth: BTreeMap::new(),
        deadline_us: i64::MAX / 2,
        left_ms: None,
        lease_ms: None,
        traceparent: None,
        network: Network::None,
        version: protocol::VERSION,
        cells: Vec::new(),
    }
}

/// A container that runs a shell script.
pub fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "command": ["sh", "-c", script]})
}

/// Runs a pod of these containers to its end.
pub async fn pod(test: &str, order: Order) -> (Arc<Cell>, Outcome) {
    let (host, _jobs) = base::real::host();
    let cell = Cell::new(&host, order);
    let machine = super::host::machine(test);
    let outcome = cell.run(super::host::config(&machine, &format!("local:{machine}"))).await;
    assert_eq!(super::host::traces(&machine), Vec::<String>::new(), "{test}");
    (cell, outcome)
}
