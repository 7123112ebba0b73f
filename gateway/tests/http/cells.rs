//! What the gateway believes of cells, and what it does until they have taken their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use gateway::cells::Away;
use http::{HeaderMap, Request, StatusCode};
use store::backend::{Op, Pre, RequestId, RowKey, Txn};
use store::object::ObjectKey;
use store::records::cell::{CellRow, Replica, replica_row, row};
use store::records::{due, encode};
use tenancy::id::CellId;
use tenancy::peer::{PROOF, Peer, Peers, VERSION_HEADER, WAKE};

use super::Rig;

const LOG: &str = "/cell/v1/logs/acme/default/pod/step-a";

/// Who gateway and cells are for each other.
pub fn peers(of: &str) -> Peers {
    let mut n = 0;
    let random = || {
        n += 1;
        [n; 32]
    };
    let cells = ["here", "there"].map(|cell| CellId::parse(cell).unwrap());
    let mut all = tenancy::peer::found(cells, random).unwrap();
    all.remove(&Peer::try_from(of.to_owned()).unwrap()).unwrap()
}

/// A replica that proves to be `cell` and serves one log; as version 1 it says nothing of versions.
fn replica(rig: &Rig, cell: &str, woken: Arc<AtomicUsize>) -> Router {
    let (me, host) = (peers(&format!("cell/{cell}")), rig.host.clone());
    let log = move |request: Request<Body>| async move {
        let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let asked = format!("GET {}", request.uri().path_and_query().unwrap());
        // The real cell answers 401; this one proves what it can.
        let nonce = me
            .trust
            .verify_call(token, me.me.peer(), &asked, host.clock.utc().0)
            .map_or_else(|_| "none".to_owned(), |call| call.nonce);
        let proof = me.me.proof(&Peer::Gateway, 200, &nonce, host.clock.utc().0).unwrap();
        ([(PROOF, proof)], "a line")
    };
    let wake = move |headers: HeaderMap| async move {
        assert_eq!(headers[VERSION_HEADER], "2");
        woken.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    Router::new().route(LOG, get(log)).route(WAKE, post(wake))
}

async fn write(rig: &Rig, rows: Vec<(RowKey, bytes::Bytes)>) {
    let ops = rows.into_iter();
    let ops = ops.map(|(key, body)| Op::Put { key, pre: Pre::Any, owner: None, body, prev: None });
    let txn = Txn { id: RequestId(rig.host.id()), name: "test", ops: ops.collect() };
    rig.store.txn(txn).await.unwrap();
}

/// A cell `here` with replicas at these addresses, the last one heard last.
async fn known(rig: &Rig, addresses: &[&str]) {
    let now = rig.host.clock.utc().0;
    let cell = CellRow {
        cell: "here".into(),
        region: "r".into(),
        address: addresses[0].to_owned(),
        at_us: now,
        draining: false,
        machines_max: 1,
        machines: 0,
        arch: Vec::new(),
        asleep_until_us: None,
    };
    let mut rows = vec![(row("here"), encode(&cell))];
    for (n, address) in addresses.iter().enumerate() {
        let replica = Replica {
            cell: "here".into(),
            replica: n.to_string(),
            address: (*address).to_owned(),
            agents: String::new(),
            at_us: now + i64::try_from(n).unwrap(),
            asleep_until_us: None,
        };
        rows.push((replica_row("here", &replica.replica), encode(&replica)));
    }
    write(rig, rows).await;
}

fn serve(rig: &Rig, at: &'static str, router: Router) {
    let serving = rig.host.net.serve(at, router);
    rig.host.spawn("replica", async move { serving.await.unwrap() });
}

#[tokio::test]
async fn a_log_comes_from_any_replica_that_proves_to_be_the_cell() {
    let rig = Rig::new().await;
    assert_eq!(rig.app.cells.get("here", LOG).await.err(), Some(Away::Silent("here".into())));
    known(&rig, &["local:good", "local:other", "local:nobody"]).await;
    serve(&rig, "local:good", replica(&rig, "here", Arc::default()));
    // Another cell of the installation answers at one of the addresses: it is not believed.
    serve(&rig, "local:other", replica(&rig, "there", Arc::default()));
    rig.host.clock.sleep(Duration::from_millis(20)).await;
    let response = rig.app.cells.get("here", LOG).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(&body[..], b"a line");
    known(&rig, &["local:other", "local:other", "local:other"]).await;
    assert_eq!(rig.app.cells.get("here", LOG).await.err(), Some(Away::Silent("here".into())));
}

#[tokio::test]
async fn a_cell_that_does_not_speak_our_version_is_named() {
    let rig = Rig::new().await;
    known(&rig, &["local:old"]).await;
    let refuse = || async { (StatusCode::BAD_REQUEST, tenancy::peer::agree(Some("9")).unwrap_err()) };
    serve(&rig, "local:old", Router::new().fallback(refuse));
    rig.host.clock.sleep(Duration::from_millis(20)).await;
    match rig.app.cells.get("here", LOG).await {
        Err(Away::Refused { why, .. }) => assert!(why.contains("versions 1 to 2"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A wake-up that nobody takes is repeated for as long as its Due row is there, and then no more.
#[tokio::test]
async fn a_wake_up_is_repeated_until_the_cell_has_taken_its_work() {
    let rig = Rig::new().await;
    known(&rig, &["local:later"]).await;
    let run = ObjectKey {
        tenant: "acme".into(),
        kind: "taskruns.tekton.dev".into(),
        namespace: "default".into(),
        name: "r".into(),
    };
    write(&rig, vec![(due::key("here", &run, 0), encode(&()))]).await;
    rig.app.wake("here");
    rig.host.clock.sleep(Duration::from_millis(250)).await;
    let woken = Arc::new(AtomicUsize::new(0));
    serve(&rig, "local:later", replica(&rig, "here", woken.clone()));
    for _ in 0..500 {
        if woken.load(Ordering::Relaxed) == 1 {
            return;
        }
        rig.host.clock.sleep(Duration::from_millis(10)).await;
    }
    panic!("the cell was not woken");
}

/// A Pod whose machine is lost before anything of it has begun is made anew under its name: who follows its log gets the
/// log of the one that runs.
#[tokio::test]
async fn who_follows_the_log_of_a_pod_that_is_made_anew_gets_the_new_ones() {
    let rig = Rig::new().await;
    known(&rig, &["local:logs"]).await;
    let (me, host) = (peers("cell/here"), rig.host.clone());
    let lost = Arc::new(tokio::sync::Notify::new());
    let ends = lost.clone();
    let log = move |request: Request<Body>| async move {
        let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let asked = format!("GET {}", request.uri().path_and_query().unwrap());
        let call = me.trust.verify_call(token, me.me.peer(), &asked, host.clock.utc().0).unwrap();
        let proof = me.me.proof(&Peer::Gateway, 200, &call.nonce, host.clock.utc().0).unwrap();
        if asked.contains("/second/") {
            return ([(PROOF, proof)], Body::from("1970-01-01T00:00:00Z stdout F said by the second\n"));
        }
        // The first one's log ends without a word when its machine is lost.
        let silence = futures_util::stream::once(async move {
            ends.notified().await;
            Ok::<_, std::io::Error>(bytes::Bytes::new())
        });
        ([(PROOF, proof)], Body::from_stream(silence))
    };
    serve(&rig, "local:logs", Router::new().fallback(get(log)));
    rig.host.clock.sleep(Duration::from_millis(20)).await;
    let key = ObjectKey {
        tenant: "acme".into(),
        kind: "pods".into(),
        namespace: "default".into(),
        name: "p".into(),
    };
    let pod = |uid: &str| {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default", "uid": uid, "annotations": {"cella.dev/cell": "here"}},
            "spec": {"containers": [{"name": "step-a"}]},
        });
        (key.row(), store::object::encode(&pod))
    };
    write(&rig, vec![pod("first")]).await;
    let token = rig.token("acme", tenancy::access::Role::Viewer);
    let follow = || {
        Request::get("/api/v1/namespaces/default/pods/p/log?follow=true")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };
    let response = rig.raw(follow()).await;
    assert_eq!(response.status(), StatusCode::OK);
    // Removed, and made again a moment later.
    let gone = Op::Delete { key: key.row(), pre: Pre::Any, last: None };
    rig.store.txn(Txn { id: RequestId(rig.host.id()), name: "test", ops: vec![gone] }).await.unwrap();
    lost.notify_one();
    let all = axum::body::to_bytes(response.into_body(), 1000);
    let made = async {
        rig.host.clock.sleep(Duration::from_millis(120)).await;
        write(&rig, vec![pod("second")]).await;
    };
    let (all, ()) = futures_util::future::join(all, made).await;
    assert_eq!(&all.unwrap()[..], b"said by the second\n");
    // One that is there, and has said nothing, ends at once.
    write(&rig, vec![pod("first")]).await;
    let response = rig.raw(follow()).await;
    lost.notify_one();
    assert!(axum::body::to_bytes(response.into_body(), 1000).await.unwrap().is_empty());
}
