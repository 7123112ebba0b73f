//! What gateways, other versions and operators may ask of a cell; and its sleep.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use protocol::message;
use serde_json::{Value, json};
use store::records::cell::CellRow;
use store::tenant::TenantStore;
use store::tenant::admin::AdminStore;
use tenancy::access::Operator;
use tenancy::id::CellId;
use tenancy::peer::{PROOF, Peer, RING, VERSION_HEADER, WAKE};

use super::rig::{CELL, Rig, one_step, peers};

fn this_cell() -> Peer {
    Peer::Cell(CellId::parse(CELL).unwrap())
}

/// A request as `from` would make it, for `to`, in a version.
fn asked(rig: &Rig, from: &Peer, to: &Peer, path: &str, version: Option<&str>) -> Request<Body> {
    let now = rig.host.clock.utc().0;
    let token = peers(from).me.call(to, &format!("POST {path}"), "nonce", now).unwrap();
    let mut request = Request::post(path).header("authorization", format!("Bearer {token}"));
    if let Some(version) = version {
        request = request.header(VERSION_HEADER, version);
    }
    request.header("content-type", "application/json").body(Body::from("[]")).unwrap()
}

async fn text(response: axum::response::Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_cell_answers_peers_that_prove_who_they_are_and_proves_who_it_is() {
    let rig = Rig::new();
    let here = this_cell();
    let answer = rig.raw(asked(&rig, &Peer::Gateway, &here, WAKE, Some("2"))).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()[VERSION_HEADER], "2");
    let proof = answer.headers()[PROOF].to_str().unwrap();
    let (trust, now) = (peers(&Peer::Gateway).trust, rig.host.clock.utc().0);
    assert_eq!(trust.verify_proof(proof, &here, &Peer::Gateway, (204, "nonce"), now), Ok(()));

    let other = Peer::Cell(CellId::parse("cell-b").unwrap());
    for (from, to, path) in [
        (&Peer::Gateway, &other, WAKE),
        (&other, &here, WAKE),
        (&other, &here, RING),
        (&Peer::Gateway, &here, RING),
    ] {
        let status = rig.raw(asked(&rig, from, to, path, Some("2"))).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{from} asks for {path} with a token for {to}");
    }
    assert_eq!(rig.raw(asked(&rig, &here, &here, RING, Some("2"))).await.status(), StatusCode::NO_CONTENT);
    let bare = Request::post(WAKE).body(Body::empty()).unwrap();
    assert_eq!(rig.raw(bare).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_gateway_one_version_apart_is_served_and_another_is_told() {
    let rig = Rig::new();
    let here = this_cell();
    // The first version says nothing of versions.
    for (said, spoken) in [(None, "1"), (Some("1"), "1"), (Some("3"), "2")] {
        let answer = rig.raw(asked(&rig, &Peer::Gateway, &here, WAKE, said)).await;
        assert_eq!(
            (answer.status(), &answer.headers()[VERSION_HEADER]),
            (StatusCode::NO_CONTENT, &spoken.parse().unwrap())
        );
    }
    let refused = rig.raw(asked(&rig, &Peer::Gateway, &here, WAKE, Some("9"))).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(text(refused).await.contains("speaks versions 1 to 2"));
}

#[tokio::test]
async fn an_agent_one_version_apart_is_served_and_another_is_told() {
    let rig = Rig::new();
    rig.submit(one_step("one")).await;
    let agent = rig.agent().await;
    let hello = |version: Value| {
        let speaker = json!({"machine": agent.spec.id, "nonce": "boot-1"});
        let mut hello = json!({"speaker": speaker, "capabilities": {}});
        hello.as_object_mut().unwrap().extend(version.as_object().unwrap().clone());
        Body::from(hello.to_string())
    };
    for unknown in [json!({"version": 0}), json!({"version": 9, "oldest": 8})] {
        let request = Request::post(message::HELLO)
            .header("authorization", format!("Bearer {}", agent.spec.token))
            .header("content-type", "application/json")
            .body(hello(unknown))
            .unwrap();
        let refused = rig.raw(request).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        assert!(text(refused).await.contains("speaks versions 1 to 2 of the agents' protocol"));
    }
    // The hello of the version before, and what it gets: nothing that it does not know.
    let order: Value = agent.send(message::HELLO, hello(json!({"version": 1}))).await.unwrap();
    assert_eq!((&order["answer"], &order["version"]), (&json!("order"), &json!(1)));
    assert_eq!(order.get("cells"), None);
    let order: Value = agent.send(message::HELLO, hello(json!({"version": 2, "oldest": 1}))).await.unwrap();
    assert_eq!((&order["version"], &order["cells"]), (&json!(2), &json!([format!("local:{CELL}")])));
}

async fn row(rig: &Rig) -> Option<CellRow> {
    let store = TenantStore::new(rig.store.clone(), rig.host.clone());
    store.cell_reach(CELL).await.unwrap().map(|reach| reach.cell)
}

async fn until(rig: &Rig, what: &str, holds: impl Fn(&CellRow) -> bool) {
    for _ in 0..1000 {
        if row(rig).await.is_some_and(|row| holds(&row)) {
            return;
        }
        rig.host.clock.sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}: {:?}", row(rig).await);
}

#[tokio::test]
async fn a_drain_is_a_row_that_outlives_the_cells_process() {
    let mut rig = Rig::new();
    until(&rig, "heard of", |row| !row.draining).await;
    let operator = Operator { user: "olga".into() };
    let admin = AdminStore::new(rig.store.clone(), rig.host.clone());
    assert_eq!(admin.drain(&operator, "nowhere", true).await, Ok(false));
    assert_eq!(admin.drain(&operator, CELL, true).await, Ok(true));
    assert!(row(&rig).await.unwrap().draining, "seen at once");
    let since = row(&rig).await.unwrap().at_us;
    until(&rig, "drained by its own word", |row| row.at_us > since && row.draining).await;
    rig.crash(true).await;
    let since = rig.host.clock.utc().0;
    until(&rig, "drained after a crash", |row| row.at_us > since && row.draining).await;
    let standing = admin.standing(&operator, CELL).await.unwrap().unwrap();
    assert_eq!(standing.drain.unwrap().by, "olga");
    assert_eq!(admin.drain(&operator, CELL, false).await, Ok(true));
    let since = rig.host.clock.utc().0;
    until(&rig, "taking runs again", |row| row.at_us > since && !row.draining).await;
}

#[tokio::test]
async fn an_idle_cell_sleeps_and_a_wake_up_makes_it_take_its_work() {
    let mut rig = Rig::new();
    rig.sleep_after(Duration::from_millis(100)).await;
    until(&rig, "asleep", |row| row.asleep_until_us.is_some()).await;
    let asleep = row(&rig).await;
    rig.host.clock.sleep(Duration::from_millis(100)).await;
    assert_eq!(row(&rig).await, asleep, "a sleeping cell writes nothing");
    let key = rig.submit(one_step("one")).await;
    assert_eq!(
        rig.raw(asked(&rig, &Peer::Gateway, &this_cell(), WAKE, Some("2"))).await.status(),
        StatusCode::NO_CONTENT
    );
    rig.agent().await.run().await;
    rig.until_ended(&key).await;
    until(&rig, "asleep again", |row| row.asleep_until_us.is_some()).await;
}
