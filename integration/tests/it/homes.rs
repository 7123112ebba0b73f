//! What is pinned to a jurisdiction is nowhere else: not in the global database, not in what a foreign gateway was ever
//! given, not in its logs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use base::host::{BoxFuture, Host};
use gateway::{Admission, App, Parts};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::backend::{
    At, Backend, Bell, Changes, Committed, Op, Pre, Read, ReadError, RequestId, Revision, RowKey, Settled,
    Snapshot, Store, Table, Txn, TxnError,
};
use store::directory::Directory;
use store::homes::Homes;
use store::memory::Memory;
use store::tenant::TenantStore;
use store::tenant::admin::AdminStore;
use store::vault::Vault;
use tenancy::access::{Caller, Role};
use tenancy::id::{HomeId, TenantId};
use tenancy::token::KeySet;
use tower::ServiceExt;

const AUDIENCE: &str = "gateway";
pub const RUNS: &str = "/apis/tekton.dev/v1/namespaces/default/taskruns";
pub const CONFIGS: &str = "/api/v1/namespaces/default/configmaps";
/// Names, params and labels of the pinned tenant: in no other word.
pub const NEEDLES: [&str; 5] = ["zyxname", "zyxparam", "zyxvalue", "zyxlabel", "zyxconfig"];

/// Everything that a gateway was given or has written, as text: whatever its caches hold came through here.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Seen {
    fn note(&self, what: impl std::fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{what:?}\n"));
    }

    fn needles(&self) -> Vec<&'static str> {
        needles(&self.0.lock().unwrap())
    }
}

fn needles(text: &str) -> Vec<&'static str> {
    NEEDLES.into_iter().filter(|needle| text.contains(needle)).collect()
}

/// Log lines go there too.
impl Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A back end whose every word is noted.
struct Watched(Store, Seen);

impl Backend for Watched {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        self.1.note(&reads);
        Box::pin(async move { self.0.snapshot(at, reads).await.inspect(|answer| self.1.note(answer)) })
    }
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        self.1.note(&txn);
        self.0.txn(txn)
    }
    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        self.0.settle(id)
    }
    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        self.1.note(scope);
        let changes = self.0.changes(scope, after, limit);
        Box::pin(async move { changes.await.inspect(|answer| self.1.note(answer)) })
    }
    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.1.note(partition);
        self.0.bell(table, partition)
    }
    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        self.0.trim(micros)
    }
    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        self.1.note(name);
        self.0.counter(name)
    }
}

/// Two jurisdictions, each with a gateway, and the directory in the global database.
struct Rig {
    host: Host,
    keys: KeySet,
    global: Store,
    eu: axum::Router,
    us: axum::Router,
    /// What the global database and the gateway outside of the EU have seen.
    outside: Seen,
}

fn home(name: &str) -> HomeId {
    HomeId::parse(name).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

impl Rig {
    async fn new(host: Host, global: Store, eu: Store) -> Self {
        let outside = Seen::default();
        let global: Store = Arc::new(Watched(global, outside.clone()));
        let directory = Directory::new(global.clone(), host.clone());
        directory.tenant_add(&tenant("pinned"), &home("eu")).await.unwrap();
        directory.tenant_add(&tenant("free"), &home("global")).await.unwrap();
        let residency = vec!["europe-west1".to_owned()];
        store::tenant::found(&eu, &host, &tenant("pinned"), residency).await.unwrap();
        store::tenant::found(&global, &host, &tenant("free"), Vec::new()).await.unwrap();
        let keys = KeySet::new([7; 32]);
        let gateway = |name: &str, store: Store, elsewhere: BTreeMap<HomeId, String>| {
            let app = app(store, &host, &keys);
            let homes = Homes::new(directory.clone(), host.clone(), [home(name)], elsewhere);
            let homes = gateway::homes::Homes::new(homes, BTreeMap::from([(home(name), app.clone())]));
            gateway::router_of_homes(app, homes)
        };
        let elsewhere = BTreeMap::from([(home("eu"), "https://eu.example".to_owned())]);
        let us = gateway("global", global.clone(), elsewhere);
        let eu = gateway("eu", eu, BTreeMap::new());
        Self { host, keys, global, eu, us, outside }
    }

    async fn ask(
        &self,
        gateway: &axum::Router,
        tenant_name: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> (StatusCode, String, Value) {
        let caller = Caller {
            tenant: tenant(tenant_name),
            user: "somebody".into(),
            groups: Vec::new(),
            role: Role::Admin,
        };
        let token = self.keys.issue(&caller, AUDIENCE, self.host.clock.utc().0, 3600).unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let response = gateway.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let location = response.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, location.unwrap_or_default(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

fn app(store: Store, host: &Host, keys: &KeySet) -> Arc<App> {
    let mut peers = tenancy::peer::found([], || [9; 32]).unwrap();
    App::new(Parts {
        host: host.clone(),
        tenants: TenantStore::new(store.clone(), host.clone()),
        vault: Arc::new(Vault::new(&[1; 32])),
        keys: keys.clone(),
        audience: AUDIENCE.to_owned(),
        peers: peers.remove(&tenancy::peer::Peer::Gateway).unwrap(),
        page_key: [6; 32],
        admin: AdminStore::new(store, host.clone()),
        admission: Admission::Bare,
        commits: Arc::default(),
    })
}

/// A run that has each of [`NEEDLES`] in it but the last, which is the name of [`config`].
pub fn run() -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": NEEDLES[0], "labels": {NEEDLES[3]: NEEDLES[3]}},
        "spec": {"params": [{"name": NEEDLES[1], "value": NEEDLES[2]}],
            "taskSpec": {"params": [{"name": NEEDLES[1]}],
                "steps": [{"name": "a", "image": "busybox", "script": "echo $(params.zyxparam)"}]}},
    })
}

/// A ConfigMap that has the last of [`NEEDLES`] in it.
pub fn config() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NEEDLES[4]}, "data": {"a": NEEDLES[2]}})
}

/// A body that tells when somebody begins to read it.
fn body(read: &Arc<AtomicBool>) -> Body {
    let read = read.clone();
    Body::from_stream(futures_util::stream::once(async move {
        read.store(true, Ordering::SeqCst);
        Ok::<_, std::io::Error>(run().to_string())
    }))
}

async fn pinned_stays(rig: &Rig) {
    let (status, _, created) =
        rig.ask(&rig.eu, "pinned", Method::POST, RUNS, Body::from(run().to_string())).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let (status, ..) =
        rig.ask(&rig.eu, "pinned", Method::POST, CONFIGS, Body::from(config().to_string())).await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, _, list) = rig.ask(&rig.eu, "pinned", Method::GET, RUNS, Body::empty()).await;
    assert!(!needles(&list.to_string()).is_empty(), "the needles can be found where they belong");

    let logs = rig.outside.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || logs.clone())
        .finish();
    let listening = tracing::subscriber::set_default(subscriber);
    for (method, path) in [
        (Method::POST, RUNS.to_owned()),
        (Method::POST, format!("/clusters/pinned{RUNS}")),
        (Method::GET, format!("{RUNS}/{}", NEEDLES[0])),
        (Method::GET, format!("{RUNS}?watch=true&labelSelector={}", NEEDLES[3])),
        (Method::DELETE, format!("{RUNS}/{}", NEEDLES[0])),
    ] {
        let read = Arc::new(AtomicBool::new(false));
        let (status, location, answer) = rig.ask(&rig.us, "pinned", method.clone(), &path, body(&read)).await;
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT, "{method} {path}: {answer}");
        assert_eq!(location, format!("https://eu.example{path}"));
        assert!(answer["message"].as_str().unwrap().contains("jurisdiction eu"), "{answer}");
        assert!(!read.load(Ordering::SeqCst), "the body of {method} {path} was read");
    }
    // The foreign gateway goes on to serve its own.
    let (status, ..) = rig.ask(&rig.us, "free", Method::GET, RUNS, Body::empty()).await;
    assert_eq!(status, StatusCode::OK);
    let (status, location, _) = rig.ask(&rig.eu, "free", Method::GET, RUNS, Body::empty()).await;
    assert_eq!((status, location.as_str()), (StatusCode::MISDIRECTED_REQUEST, ""));
    let (status, ..) = rig.ask(&rig.us, "nobody", Method::GET, RUNS, Body::empty()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    drop(listening);
    assert!(rig.outside.0.lock().unwrap().contains("request{"), "the log is listened to");
    assert_eq!(rig.outside.needles(), [""; 0]);
}

/// The search finds what is there.
async fn planted_is_found(rig: &Rig) {
    let key = RowKey::new(Table::Cell, "cells", "planted");
    let body = format!("x{}", NEEDLES[1]).into();
    let ops = vec![Op::Put { key, pre: Pre::Any, owner: None, body, prev: None }];
    rig.global.txn(Txn { id: RequestId(rig.host.id()), name: "planted", ops }).await.unwrap();
    assert_eq!(rig.outside.needles(), [NEEDLES[1]]);
}

#[tokio::test]
async fn what_is_pinned_is_nowhere_else() {
    let (host, _jobs) = base::real::host();
    let stores = (Memory::new(host.clock.clone()), Memory::new(host.clock.clone()));
    let rig = Rig::new(host, stores.0, stores.1).await;
    pinned_stays(&rig).await;
    planted_is_found(&rig).await;
}
