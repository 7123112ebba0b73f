//! CloudEvents, at a receiver on a socket.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use store::object::ObjectKey;

use super::rig::{Rig, TENANT, one_step, reason};
use crate::resolve::hub::Hubs;

/// What a receiver has got: headers and body, and what it answered.
type Got = Arc<Mutex<Vec<(HeaderMap, Value, u16)>>>;

/// A receiver that is in trouble for its first `troubled` requests.
struct Receiver {
    address: String,
    got: Got,
}

impl Receiver {
    async fn start(host: &base::host::Host, troubled: usize) -> Self {
        let got = Got::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/sink", post(take)).with_state((got.clone(), troubled));
        let (clock, jobs) = (host.clock.clone(), host.jobs.clone());
        host.spawn(
            "receiver",
            async move { base::serve::plain(listener, router, clock, jobs).await.unwrap() },
        );
        Self { address, got }
    }

    /// The types of the events that it has taken.
    fn taken(&self) -> BTreeSet<String> {
        let got = self.got.lock().unwrap();
        got.iter()
            .filter(|(.., status)| *status == 202)
            .map(|(headers, ..)| header(headers, "ce-type"))
            .collect()
    }
}

async fn take(State((got, troubled)): State<(Got, usize)>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut got = got.lock().unwrap();
    let status = if got.len() < troubled { 503 } else { 202 };
    got.push((headers, serde_json::from_slice(&body).unwrap(), status));
    StatusCode::from_u16(status).unwrap()
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
}

async fn with_sink(rig: &Rig, sink: &str) {
    let (name, namespace) = ("config-events", "tekton-pipelines");
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "uid": "settings"},
        "data": {"sink": sink, "formats": "tektonv1"},
    });
    let (kind, tenant) = ("configmaps".into(), TENANT.into());
    let key = ObjectKey { tenant, kind, namespace: namespace.into(), name: name.into() };
    rig.write(vec![store::object::put(&key, store::backend::Pre::Absent, &settings, None)]).await;
}

async fn run_one(rig: &Rig, name: &str) {
    let key = rig.submit(one_step(name)).await;
    let mut agent = rig.agent().await;
    agent.run().await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
}

#[tokio::test]
async fn every_change_of_a_run_reaches_the_sink_even_if_that_is_in_trouble_at_first() {
    let (host, _jobs) = base::real::host();
    let receiver = Receiver::start(&host, 2).await;
    let rig = Rig::reaching(&receiver.address, Hubs::default()).await;
    with_sink(&rig, &format!("http://{}/sink", receiver.address)).await;
    run_one(&rig, "told").await;
    rig.until_quiet().await;
    let kind = |word: &str| format!("dev.tekton.event.taskrun.{word}.v1");
    for word in ["queued", "started", "successful"] {
        assert!(receiver.taken().contains(&kind(word)), "{word} is missing: {:?}", receiver.taken());
    }
    let got = receiver.got.lock().unwrap().clone();
    let refused: BTreeSet<_> = got.iter().filter(|g| g.2 == 503).map(|(h, ..)| header(h, "ce-id")).collect();
    let taken: BTreeSet<_> = got.iter().filter(|g| g.2 == 202).map(|(h, ..)| header(h, "ce-id")).collect();
    assert!(
        !refused.is_empty() && refused.is_subset(&taken),
        "what was refused comes again under the same id"
    );
    assert_eq!(taken.len(), got.iter().filter(|g| g.2 == 202).count(), "what was taken is not sent again");
    for (headers, body, _) in &got {
        assert_eq!(header(headers, "content-type"), "application/json");
        assert_eq!(header(headers, "ce-specversion"), "1.0");
        assert_eq!(header(headers, "ce-subject"), "told");
        assert!(header(headers, "ce-source").ends_with("/namespaces/default/TaskRun/told"), "{headers:?}");
        assert_eq!(body["taskRun"]["metadata"]["name"], "told");
    }
    let (_, last, _) = got.iter().find(|(h, ..)| header(h, "ce-type") == kind("successful")).unwrap();
    assert_eq!(last["taskRun"]["status"]["conditions"][0]["status"], "True");
}

#[tokio::test]
async fn events_outlive_the_process_that_decided_them() {
    let (host, _jobs) = base::real::host();
    let receiver = Receiver::start(&host, usize::MAX).await;
    let mut rig = Rig::reaching(&receiver.address, Hubs::default()).await;
    with_sink(&rig, &format!("http://{}/sink", receiver.address)).await;
    run_one(&rig, "kept").await;
    let tried = async |from: usize| -> BTreeSet<String> {
        for _ in 0..500 {
            let got = receiver.got.lock().unwrap()[from..].to_vec();
            if got.len() >= 3 {
                return got.iter().map(|(headers, ..)| header(headers, "ce-id")).collect();
            }
            host.clock.sleep(Duration::from_millis(20)).await;
        }
        panic!("nothing is tried after {from} requests");
    };
    let before = tried(0).await;
    rig.crash(true).await;
    let so_far = receiver.got.lock().unwrap().len();
    let later = tried(so_far).await;
    assert!(!before.is_disjoint(&later), "what was tried before the crash is tried again after it");
}

#[tokio::test]
async fn a_sink_inside_our_network_is_refused_and_the_run_says_so() {
    let rig = Rig::new();
    with_sink(&rig, "http://169.254.169.254/latest").await;
    run_one(&rig, "refused").await;
    rig.until_quiet().await;
    let rows = rig.scan(store::backend::Table::Object, "acme/events").await;
    let events: Vec<Value> = rows.iter().map(|row| store::object::of_row(row).unwrap()).collect();
    let failed = events.iter().filter(|event| event["reason"] == "CloudEventFailed").count();
    assert!(failed >= 3, "{events:#?}");
    assert!(!events.iter().any(|event| event["reason"] == "CloudEventSent"));
}
