use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::extract::{Path, Query, State};
use axum::routing::post;
use axum::{Json, Router, body::Bytes};
use k8s_openapi::api::core::v1::PodStatus;
use protocol::order::Network;
use serde_json::json;

use super::*;
use crate::runtime::Prepared;
use crate::runtime::fake::Fake;

/// What a cell was told. It loses every other answer after having acted on it.
#[derive(Default)]
struct Cell {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    calls: u32,
    hellos: u32,
    starts: u32,
    reports: Vec<Report>,
    log: Vec<u8>,
    nonces: Vec<String>,
}

type Lossy<T> = Result<Json<T>, StatusCode>;

impl Cell {
    fn act<T>(&self, act: impl FnOnce(&mut Told) -> T) -> Lossy<T> {
        let mut told = self.told.lock().unwrap();
        told.calls += 1;
        let answer = act(&mut told);
        if told.calls % 2 == 1 { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(Json(answer)) }
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route(HELLO, post(hello))
            .route(START, post(start))
            .route(REPORT, post(report))
            .route(WATCH, post(|| async { Err::<(), _>(StatusCode::BAD_GATEWAY) }))
            .route(&format!("{LOGS}/{{machine}}/{{nonce}}/{{attempt}}/{{container}}"), post(log))
            .with_state(self.clone())
    }
}

async fn hello(State(cell): State<Arc<Cell>>, Json(hello): Json<Hello>) -> Lossy<HelloAnswer> {
    cell.act(|told| {
        told.hellos += 1;
        told.nonces.push(hello.speaker.nonce);
        HelloAnswer::Order(Box::new(order()))
    })
}

async fn start(State(cell): State<Arc<Cell>>, Json(_): Json<Start>) -> Lossy<StartAnswer> {
    cell.act(|told| {
        told.starts += 1;
        StartAnswer::Go
    })
}

async fn report(State(cell): State<Arc<Cell>>, Json(report): Json<Report>) -> Lossy<Desired> {
    cell.act(|told| {
        told.reports.push(report);
        Desired::default()
    })
}

async fn log(
    State(cell): State<Arc<Cell>>,
    Path((_, _, _, container)): Path<(String, String, String, String)>,
    Query(query): Query<BTreeMap<String, u64>>,
    bytes: Bytes,
) -> Lossy<LogAnswer> {
    assert_eq!(container, "step-a");
    cell.act(|told| {
        // An offset that was taken already, because its answer was lost, is answered with where the sink is.
        if query["offset"] == told.log.len() as u64 {
            told.log.extend_from_slice(&bytes);
        }
        LogAnswer { next: told.log.len() as u64 }
    })
}

fn order() -> Order {
    Order {
        attempt: "attempt".into(),
        pod: serde_json::from_value(json!({"spec": {"containers": [{"name": "step-a"}]}})).unwrap(),
        volumes: BTreeMap::new(),
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

fn status(phase: &str) -> PodStatus {
    PodStatus { phase: Some(phase.into()), ..PodStatus::default() }
}

fn start_agent(
    host: &Host,
    cell: &Arc<Cell>,
    leave: tokio::sync::oneshot::Receiver<()>,
) -> (Arc<Fake>, tokio::sync::oneshot::Receiver<Outcome>) {
    let serving = host.net.serve("local:cell", cell.router());
    host.spawn("cell", async move { serving.await.unwrap() });
    let fake = Arc::new(Fake::default());
    let session = Session::new(host.clone(), "local:cell".into(), "m".into(), "token".into());
    let (say, outcome) = tokio::sync::oneshot::channel();
    let runtime = fake.clone();
    host.spawn("agent", async move {
        let leave = async {
            let _ = leave.await;
        };
        let _ = say.send(session.live(runtime, leave).await);
    });
    (fake, outcome)
}

#[tokio::test]
async fn a_cell_that_loses_answers_is_told_everything_once() {
    let (host, _jobs) = base::real::host();
    let cell = Arc::new(Cell::default());
    let (_stay, leave) = tokio::sync::oneshot::channel();
    let (fake, outcome) = start_agent(&host, &cell, leave);
    fake.until(|state| state.order.is_some()).await;
    fake.show(status("Pending"));
    fake.prepare_ends(Prepared::Ready);
    fake.until(|state| state.goes == 1).await;
    fake.show(status("Running"));
    for part in ["one ", "two ", "three"] {
        fake.say("step-a", part.as_bytes(), part == "three");
        host.clock.sleep(Duration::from_millis(3)).await;
    }
    fake.show(status("Succeeded"));
    assert_eq!(outcome.await.unwrap(), Outcome::Reported);
    let told = cell.told.lock().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.log), "one two three");
    assert!(told.hellos >= 2 && told.starts >= 1);
    assert!(told.nonces.iter().all(|n| *n == told.nonces[0]), "one boot has one nonce");
    let last = told.reports.last().unwrap();
    assert!(last.last && last.status.phase.as_deref() == Some("Succeeded"));
    assert!(told.reports.windows(2).all(|w| w[0].seq < w[1].seq));
    let state = fake.state();
    assert_eq!((state.goes, state.removed), (1, true));
}

#[tokio::test]
async fn whoever_started_it_can_make_it_leave_at_any_time() {
    let (host, _jobs) = base::real::host();
    let cell = Arc::new(Cell::default());
    let (go_away, leave) = tokio::sync::oneshot::channel();
    let (fake, outcome) = start_agent(&host, &cell, leave);
    fake.until(|state| state.order.is_some()).await;
    drop(go_away);
    assert_eq!(outcome.await.unwrap(), Outcome::Left);
    let state = fake.state();
    assert_eq!((state.goes, state.removed), (0, true));
}

/// What a cell of the first version says, byte by byte: it knows nothing of versions and of replicas.
const FIRST_ORDER: &str = r#"{"answer":"order","attempt":"attempt","pod":{"spec":{"containers":[{"name":"step-a"}]}},"volumes":{},"secret_env":{},"working_dirs":[],"done_by_agent":[],"registry_auth":{},"deadline_us":4611686018427387903,"traceparent":null,"network":"none"}"#;

/// An agent of this version works with a cell of the one before it, also when the first replica is away.
#[tokio::test]
async fn a_cell_of_the_version_before_is_understood_whichever_replica_answers() {
    let (host, _jobs) = base::real::host();
    let asked = Arc::new(Mutex::new(String::new()));
    let json = [("content-type", "application/json")];
    let hello = {
        let asked = asked.clone();
        move |body: String| async move {
            *asked.lock().unwrap() = body;
            (json, FIRST_ORDER)
        }
    };
    let router = Router::new()
        .route(HELLO, post(hello))
        .route(START, post(move || async move { (json, r#"{"answer":"go"}"#) }))
        .route(
            REPORT,
            post(move || async move { (json, r#"{"stop":null,"annotations":{},"stop_sidecars":false}"#) }),
        )
        .route(WATCH, post(|| async { StatusCode::BAD_GATEWAY }));
    let serving = host.net.serve("local:first", router);
    host.spawn("cell", async move { serving.await.unwrap() });
    let fake = Arc::new(Fake::default());
    let cells = "local:nobody,local:first".to_owned();
    let session = Session::new(host.clone(), cells, "m".into(), "token".into());
    let (say, outcome) = tokio::sync::oneshot::channel();
    let runtime = fake.clone();
    host.spawn("agent", async move {
        let _ = say.send(session.live(runtime, std::future::pending()).await);
    });
    fake.until(|state| state.order.is_some()).await;
    assert_eq!(fake.state().order.as_ref().map(|order| order.version), Some(1));
    fake.prepare_ends(Prepared::Ready);
    fake.until(|state| state.goes == 1).await;
    fake.show(status("Succeeded"));
    assert_eq!(outcome.await.unwrap(), Outcome::Reported);
    let asked: serde_json::Value = serde_json::from_str(&asked.lock().unwrap()).unwrap();
    assert_eq!((&asked["version"], &asked["oldest"]), (&json!(2), &json!(1)));
}
