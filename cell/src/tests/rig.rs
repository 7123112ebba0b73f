//! A cell to test: store, cell, provider, and agents that a test plays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base::host::{BoxFuture, Host};
use base::real::RealJobs;
use http_body_util::BodyExt;
use protocol::message::{
    self, Desired, Hello, HelloAnswer, LogAnswer, Report, Speaker, Start, StartAnswer, Watch,
};
use protocol::order::Order;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::backend::{
    At, Backend, Committed, Pre, Read, ReadError, RequestId, Revision, RowKey, Snapshot, Store, Table, Txn,
    TxnError,
};
use store::memory::Memory;
use store::object::{self, ObjectKey};
use store::records::due;
use store::wrapper::Wrapper;
use tekton::engine::decide::Installation;
use tenancy::id::CellId;
use tenancy::peer::{Peer, Peers};

use crate::fetch::egress::Egress;
use crate::fetch::outbound::Outbound;
use crate::images::Fixed;
use crate::logs::files::{Files, LOG_BYTES_MAX};
use crate::provider::MachineSpec;
use crate::provider::sim::Sim;
use crate::resolve::hub::Hubs;
use crate::secrets::InObject;
use crate::{Cell, Config, Engine, Pace, Parts};

pub(super) const TENANT: &str = "acme";
pub(super) const CELL: &str = "cell-a";
/// Keys of the gateway and of the cells of the tests.
pub(super) fn peers(of: &Peer) -> Peers {
    let mut n = 0;
    let cells = [CELL, "cell-b"].map(|cell| CellId::parse(cell).unwrap());
    let random = || {
        n += 1;
        [n; 32]
    };
    tenancy::peer::found(cells, random).unwrap().remove(of).unwrap()
}
const PATIENCE: Duration = Duration::from_secs(20);

/// A back end that counts commits and can lose answers.
pub(super) struct Counting {
    inner: Store,
    pub(super) commits: AtomicUsize,
    /// Names of the transactions that committed.
    pub(super) names: std::sync::Mutex<Vec<&'static str>>,
    /// Every so many transactions the outcome is not told; 0: never.
    pub(super) silent_every: AtomicUsize,
    asked: AtomicUsize,
    /// After so many transactions the process that asks stops, in the middle of the last one; 0: never.
    pub(super) dies_after: AtomicUsize,
}

impl Counting {
    /// The process is to die with this transaction: it is done or not, and nobody hears of it.
    async fn die(&self, txn: Txn, asked: usize) -> Result<Committed, TxnError> {
        if asked == self.dies_after.load(Ordering::Relaxed) && asked.is_multiple_of(2) {
            drop(self.inner.txn(txn).await);
        }
        std::future::pending().await
    }

    fn is_dead(&self) -> bool {
        let after = self.dies_after.load(Ordering::Relaxed);
        after > 0 && self.asked.load(Ordering::Relaxed) >= after
    }
}

impl Wrapper for Counting {
    fn inner(&self) -> &Store {
        &self.inner
    }

    fn wrap_snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        Box::pin(async move {
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            self.inner.snapshot(at, reads).await
        })
    }

    fn wrap_txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            let name = txn.name;
            let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            if self.is_dead() {
                return self.die(txn, asked).await;
            }
            let every = self.silent_every.load(Ordering::Relaxed);
            let silent = every > 0 && asked.is_multiple_of(every);
            if silent && (asked / every).is_multiple_of(2) {
                // Never done, and nobody is told.
                return Err(TxnError::Unknown);
            }
            let done = self.inner.txn(txn).await;
            if done.is_ok() && name != "cell_heartbeat" {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.names.lock().unwrap().push(name);
            }
            if silent { Err(TxnError::Unknown) } else { done }
        })
    }
}

/// A store with at most one running cell.
pub(super) struct Rig {
    pub(super) store: Arc<Counting>,
    pub(super) provider: Arc<Sim>,
    pub(super) router: Router,
    pub(super) cell: Option<Cell>,
    pub(super) host: Host,
    jobs: Arc<RealJobs>,
    data: tempfile::TempDir,
    machines_max: usize,
    egress: Egress,
    hubs: Hubs,
    pub(super) pace: Pace,
    sleep_after: Option<Duration>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with_room(100)
    }

    /// A cell with room for so many machines.
    pub(super) fn with_room(machines_max: usize) -> Self {
        let (host, jobs) = base::real::host();
        let memory = Memory::new(host.clock.clone());
        Self::on(memory, machines_max, (host, jobs))
    }

    /// A cell on the store of a laptop.
    pub(super) fn on_disk(folder: &std::path::Path) -> Self {
        let (host, jobs) = base::real::host();
        let embedded = store::embedded::open(folder, &host).expect("the folder is ours");
        Self::on(embedded, 100, (host, jobs))
    }

    fn on(inner: Arc<dyn Backend>, machines_max: usize, (host, jobs): (Host, Arc<RealJobs>)) -> Self {
        let store = Arc::new(Counting {
            inner,
            commits: AtomicUsize::new(0),
            names: std::sync::Mutex::default(),
            silent_every: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            dies_after: AtomicUsize::new(0),
        });
        let mut rig = Self {
            store,
            provider: Arc::new(Sim::default()),
            router: Router::new(),
            cell: None,
            host,
            jobs,
            data: tempfile::tempdir().unwrap(),
            machines_max,
            egress: Egress::default(),
            hubs: Hubs::default(),
            pace: Pace { heartbeat: Duration::from_millis(20), forgotten: Duration::from_secs(600) },
            sleep_after: None,
        };
        rig.start();
        rig
    }

    /// A cell whose resolvers may connect to this address of this host.
    pub(super) async fn reaching(allow: &str, hubs: Hubs) -> Self {
        let mut rig = Self::new();
        rig.egress.allow = vec![allow.parse().unwrap()];
        rig.hubs = hubs;
        rig.move_to(CELL, "here").await;
        rig
    }

    fn start(&mut self) {
        self.start_as(CELL, "here");
    }

    /// From now on the cell sleeps after so long without work.
    pub(super) async fn sleep_after(&mut self, after: Duration) {
        self.sleep_after = Some(after);
        self.crash(false).await;
    }

    /// Sends any request to the cell.
    pub(super) async fn raw(&self, request: Request<Body>) -> axum::response::Response {
        tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap()
    }

    /// Ends the cell for good and starts another one of the same Home.
    pub(super) async fn move_to(&mut self, cell: &str, region: &str) {
        self.move_to_with(cell, region, Arc::new(Sim::default())).await;
    }

    /// The same, and the other one has machines already.
    pub(super) async fn move_to_with(&mut self, cell: &str, region: &str, provider: Arc<Sim>) {
        assert!(self.jobs.shutdown(PATIENCE).await.is_empty());
        let (host, jobs) = base::real::host();
        (self.host, self.jobs) = (host, jobs);
        self.provider = provider;
        self.start_as(cell, region);
    }

    /// Another cell of the same Home, which lives as long as this one.
    pub(super) fn beside(&self, cell: &str, region: &str) -> Beside {
        let provider = Arc::new(Sim::default());
        let (router, cell) = self.launch(cell, region, provider.clone(), 100);
        Beside { router, provider, host: self.host.clone(), _cell: cell }
    }

    /// Another replica of this cell.
    pub(super) fn replica(&self) -> Cell {
        self.launch(CELL, "here", self.provider.clone(), self.machines_max).1
    }

    fn start_as(&mut self, cell: &str, region: &str) {
        let (router, cell) = self.launch(cell, region, self.provider.clone(), self.machines_max);
        self.router = router;
        self.cell = Some(cell);
    }

    fn launch(&self, cell: &str, region: &str, provider: Arc<Sim>, machines_max: usize) -> (Router, Cell) {
        let config = Config {
            cell: cell.into(),
            region: region.into(),
            address: format!("local:{cell}"),
            machines_max,
            arch: vec!["amd64".into()],
            machine_key: [7; 32],
            replica: "1".into(),
            agents: format!("local:{cell}"),
            peers: peers(&Peer::Cell(CellId::parse(cell).unwrap())),
            data: self.data.path().to_owned(),
            sleep_after: self.sleep_after,
        };
        let parts = Parts {
            host: self.host.clone(),
            store: self.store.clone(),
            provider,
            sink: Files::new(&self.data.path().join("logs"), LOG_BYTES_MAX),
            images: Arc::new(Fixed::default()),
            secrets: Arc::new(InObject),
            fetch: Arc::new(Outbound::new(self.host.clone(), self.egress.clone(), &[])),
            hubs: self.hubs.clone(),
            engine: Engine {
                taskrun: tekton::engine::taskrun::decide,
                pipelinerun: tekton::engine::pipelinerun::decide,
            },
            installation: installation(),
        };
        Cell::start_at(config, parts, self.pace)
    }

    /// Ends the cell's process as kill -9 does, between any two awaits, and starts another one. The machines of
    /// the old one are gone if `with_machines`.
    pub(super) async fn crash(&mut self, with_machines: bool) {
        assert!(self.jobs.shutdown(PATIENCE).await.is_empty());
        let (host, jobs) = base::real::host();
        (self.host, self.jobs) = (host, jobs);
        if with_machines {
            self.provider.vanish();
        }
        self.start();
    }

    /// Stores an object as the gateway does, with a Due row when it is a run.
    pub(super) async fn submit(&self, mut object: Value) -> ObjectKey {
        let key = store::cell::key_of(TENANT, &with_namespace(&mut object)).unwrap();
        let kind = object["kind"].as_str().unwrap().to_owned();
        tekton::api::defaults::apply(&kind, &mut object, &Default::default());
        object["metadata"]["uid"] = json!(self.host.uuid());
        let now = apimachinery::time::Micros(self.host.clock.utc().0);
        object["metadata"]["creationTimestamp"] = json!(now.rfc3339());
        let placed = [
            (store::cell::CELL, CELL),
            (store::cell::REGION, "here"),
            (store::cell::EPOCH, "1"),
            (store::cell::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        // A claim is nowhere before it has a volume.
        for (name, value) in placed.into_iter().filter(|_| kind != "PersistentVolumeClaim") {
            apimachinery::meta::set_annotation(&mut object, name, value);
        }
        let mut ops = vec![object::put(&key, Pre::Absent, &object, None)];
        if store::cell::apply::is_looked_at(&key.kind) {
            ops.push(due::put(CELL, &key, 0));
        }
        self.write(ops).await;
        key
    }

    pub(super) async fn write(&self, ops: Vec<store::backend::Op>) {
        let txn = Txn { id: RequestId(self.host.id()), name: "test", ops };
        self.store.inner.txn(txn).await.unwrap();
        self.store.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes an object as the gateway does, and makes the cell look at `due`.
    pub(super) async fn edit(&self, key: &ObjectKey, due_key: &ObjectKey, change: impl FnOnce(&mut Value)) {
        let (mut object, revision) = self.get(key).await.unwrap();
        change(&mut object);
        let ops = vec![object::put(key, Pre::Rev(revision), &object, None), due::put(CELL, due_key, 0)];
        self.write(ops).await;
    }

    pub(super) async fn get(&self, key: &ObjectKey) -> Option<(Value, Revision)> {
        let snapshot = self.store.inner.snapshot(At::Latest, vec![Read::Get(key.row())]).await.unwrap();
        let row = snapshot.answers[0].rows.first()?;
        Some((object::of_row(row).unwrap(), row.revision))
    }

    pub(super) async fn scan(&self, table: Table, partition: &str) -> Vec<store::backend::Row> {
        let (from, to) = (String::new(), String::new());
        let read = Read::Scan { table, partition: partition.into(), from, to, limit: 1000 };
        self.store.inner.snapshot(At::Latest, vec![read]).await.unwrap().answers.remove(0).rows
    }

    pub(super) async fn pods(&self) -> Vec<Value> {
        let rows = self.scan(Table::Object, "acme/pods").await;
        rows.iter().map(|row| object::of_row(row).unwrap()).collect()
    }

    pub(super) async fn due_rows(&self) -> Vec<RowKey> {
        let mut out = Vec::new();
        for bucket in 0..due::BUCKETS {
            out.extend(self.scan(Table::Due, &due::partition(CELL, bucket)).await.into_iter().map(|r| r.key));
        }
        out
    }

    /// Waits until `wanted` is true of the object.
    pub(super) async fn until(&self, key: &ObjectKey, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut bell = self.store.inner.bell(Table::Object, &object::scope(&key.tenant, &key.kind));
        let look = async {
            loop {
                if let Some((object, _)) = self.get(key).await
                    && wanted(&object)
                {
                    return object;
                }
                bell.rung().await;
            }
        };
        match self.host.within(PATIENCE, look).await {
            Ok(object) => object,
            Err(_) => {
                let now = self.get(key).await.map(|(object, _)| object);
                panic!("{} never got there: {now:#?}; due: {:?}", key.name, self.due_rows().await)
            }
        }
    }

    /// Waits until the run has a Pod: its status may name an empty one before.
    pub(super) async fn until_it_has_a_pod(&self, key: &ObjectKey) -> Value {
        self.until(key, |run| run["status"]["podName"].as_str().is_some_and(|pod| !pod.is_empty())).await
    }

    pub(super) async fn until_ended(&self, key: &ObjectKey) -> Value {
        self.until(key, |run| crate::runs::is_done(&run["status"])).await
    }

    /// Waits until there is nothing left but what has ended.
    pub(super) async fn until_quiet(&self) {
        let quiet = async {
            loop {
                let due = self.due_rows().await;
                if due.is_empty() && self.scan(Table::Machine, CELL).await.is_empty() {
                    return;
                }
                self.host.clock.sleep(Duration::from_millis(5)).await;
            }
        };
        if self.host.within(PATIENCE, quiet).await.is_err() {
            panic!(
                "never quiet: due {:?}, machines {:?}",
                self.due_rows().await,
                self.scan(Table::Machine, CELL).await
            );
        }
    }

    /// The agent of the next machine.
    pub(super) async fn agent(&self) -> Agent {
        let spec = self.host.within(PATIENCE, self.provider.taken()).await.expect("a machine is made");
        self.agent_of(spec, "boot-1")
    }

    pub(super) fn agent_of(&self, spec: MachineSpec, nonce: &str) -> Agent {
        let speaker = Speaker { machine: spec.id.clone(), nonce: nonce.into() };
        Agent { router: self.router.clone(), spec, speaker, seq: 0, leases: true }
    }

    pub(super) async fn log(&self, pod: &str, container: &str) -> (StatusCode, String) {
        let uri = format!("{}/{TENANT}/default/{pod}/{container}?follow=true", tenancy::peer::LOGS);
        let cell = Peer::Cell(CellId::parse(CELL).unwrap());
        let gateway = peers(&Peer::Gateway).me;
        let token = gateway.call(&cell, &format!("GET {uri}"), "n", self.host.clock.utc().0).unwrap();
        let request =
            Request::get(uri).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        let status = answer.status();
        let body =
            self.host.within(PATIENCE, answer.into_body().collect()).await.expect("the log ends").unwrap();
        (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }
}

fn with_namespace(object: &mut Value) -> Value {
    if object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = json!("default");
    }
    object.clone()
}

/// Another cell of the Home.
pub(super) struct Beside {
    router: Router,
    provider: Arc<Sim>,
    host: Host,
    _cell: Cell,
}

impl Beside {
    /// The agent of its next machine.
    pub(super) async fn agent(&self) -> Agent {
        let spec = self.host.within(PATIENCE, self.provider.taken()).await.expect("a machine is made");
        let speaker = Speaker { machine: spec.id.clone(), nonce: "boot-1".into() };
        Agent { router: self.router.clone(), spec, speaker, seq: 0, leases: true }
    }
}

/// An agent that does what a test says.
#[derive(Clone)]
pub(super) struct Agent {
    router: Router,
    pub(super) spec: MachineSpec,
    pub(super) speaker: Speaker,
    seq: u64,
    /// It can keep a lease.
    pub(super) leases: bool,
}

impl Agent {
    pub(super) async fn hello(&self) -> HelloAnswer {
        self.call(
            message::HELLO,
            &Hello {
                speaker: self.speaker.clone(),
                version: protocol::VERSION,
                capabilities: BTreeMap::from([(message::CAPABILITY_LEASE.into(), self.leases.to_string())]),
                oldest: Some(protocol::OLDEST),
            },
        )
        .await
    }

    pub(super) async fn order(&self) -> Order {
        match self.hello().await {
            HelloAnswer::Order(order) => *order,
            other => panic!("no order but {other:?}"),
        }
    }

    pub(super) async fn start(&self, attempt: &str, status: Value) -> StartAnswer {
        self.start_with(attempt, BTreeMap::new(), status).await
    }

    /// It has attached volumes.
    pub(super) async fn start_with(
        &self,
        attempt: &str,
        volumes: BTreeMap<String, u64>,
        status: Value,
    ) -> StartAnswer {
        let status = serde_json::from_value(status).unwrap();
        let (speaker, attempt) = (self.speaker.clone(), attempt.into());
        self.call(message::START, &Start { speaker, attempt, volumes, status }).await
    }

    pub(super) async fn report(&mut self, attempt: &str, status: Value, last: bool) -> Desired {
        self.seq += 1;
        let status = serde_json::from_value(status).unwrap();
        let timings = BTreeMap::from([("first_step".into(), 1), ("pulled".into(), 1)]);
        let report = Report {
            speaker: self.speaker.clone(),
            attempt: attempt.into(),
            seq: self.seq,
            status,
            last,
            timings,
        };
        self.call(message::REPORT, &report).await
    }

    /// It has sent so many reports already.
    pub(super) fn reported(&mut self, seq: u64) {
        self.seq = seq;
    }

    pub(super) async fn watch(&self, attempt: &str, seen: Desired) -> Desired {
        let watch = Watch { speaker: self.speaker.clone(), attempt: attempt.into(), seen, wait_ms: 10_000 };
        self.call(message::WATCH, &watch).await
    }

    pub(super) async fn log(&self, attempt: &str, container: &str, offset: u64, text: &str) -> u64 {
        let Speaker { machine, nonce } = &self.speaker;
        let uri = format!("{}/{machine}/{nonce}/{attempt}/{container}?offset={offset}", message::LOGS);
        let answer: LogAnswer = self.send(&uri, Body::from(text.to_owned())).await.unwrap();
        answer.next
    }

    /// Runs the whole order as an agent does whose containers all end with 0.
    pub(super) async fn run(&mut self) {
        let order = self.order().await;
        let gate = self.start_with(&order.attempt, order.held(), status(&order, "waiting", 0)).await;
        assert_eq!(gate, StartAnswer::Go);
        self.report(&order.attempt, status(&order, "running", 0), false).await;
        self.report(&order.attempt, status(&order, "terminated", 0), true).await;
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, message: &impl Serialize) -> T {
        self.send(path, Body::from(serde_json::to_vec(message).unwrap())).await.unwrap()
    }

    pub(super) async fn send<T: DeserializeOwned>(&self, path: &str, body: Body) -> Result<T, StatusCode> {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", self.spec.token))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let answer = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        if status.is_success() { Ok(serde_json::from_slice(&bytes).unwrap()) } else { Err(status) }
    }
}

/// A status in which all containers of the order are in `state`.
pub(super) fn status(order: &Order, state: &str, exit_code: i32) -> Value {
    let now = "2030-01-01T00:00:00Z";
    let (phase, state) = match state {
        "waiting" => ("Pending", json!({"waiting": {"reason": "PodInitializing"}})),
        "running" => ("Running", json!({"running": {"startedAt": now}})),
        _ => {
            let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
            let reason = if exit_code == 0 { "Completed" } else { "Error" };
            let ended = json!({
                "exitCode": exit_code, "reason": reason, "startedAt": now, "finishedAt": now,
                "message": format!("[{{\"key\":\"StartedAt\",\"value\":{now:?},\"type\":3}}]"),
            });
            (phase, json!({"terminated": ended}))
        }
    };
    let containers = order.pod.spec.as_ref().unwrap().containers.iter().map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "sha256:1", "ready": phase == "Running",
            "restartCount": 0, "state": state,
        })
    });
    json!({"phase": phase, "containerStatuses": containers.collect::<Vec<_>>(), "startTime": now})
}

/// A TaskRun of one step.
pub(super) fn one_step(name: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name},
        "spec": {"taskSpec": {"steps": [{"name": "a", "image": "busybox", "script": "echo hello"}]}},
    })
}

pub(super) fn reason(run: &Value) -> &str {
    let conditions = run["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == "Succeeded").unwrap()["reason"].as_str().unwrap()
}

fn installation() -> Installation {
    let image = |name: &str| format!("example.com/{name}:v1");
    Installation {
        entrypoint_image: image("entrypoint"),
        nop_image: image("nop"),
        shell_image: image("shell"),
        shell_image_win: image("shell-win"),
        workingdirinit_image: image("workingdirinit"),
        sidecarlogresults_image: image("sidecarlogresults"),
        release: "v1.15.0".into(),
        kubernetes_minor: 33,
        resolvers: true,
    }
}
