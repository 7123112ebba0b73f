//! What a tenant may: how many runs it has at one time, whether they are run again; and where runs go.

use axum::body::Body;
use gateway::Admission;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::backend::{At, Op, Pre, Read, RequestId, Txn};
use store::object::{self, ObjectKey};
use store::records::cell::{CellRow, row};
use store::records::encode;
use tenancy::access::Role;

use super::{RUNS, Rig, taskrun};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

/// A gateway with two cells, and the tenant's and the operator's tokens.
async fn rig() -> (Rig, String, String) {
    let rig = Rig::admitting(Admission::Tekton).await;
    let ops = ["here", "there"].map(|cell| {
        let body = encode(&CellRow {
            cell: cell.into(),
            region: format!("region-{cell}"),
            address: format!("local:{cell}"),
            at_us: rig.host.clock.utc().0,
            draining: false,
            machines_max: 4,
            machines: 0,
            arch: Vec::new(),
            asleep_until_us: None,
        });
        Op::Put { key: row(cell), pre: Pre::Any, owner: None, body, prev: None }
    });
    write(&rig, ops.to_vec()).await;
    let (token, operator) = (rig.token("acme", Role::Admin), rig.operator());
    (rig, token, operator)
}

async fn write(rig: &Rig, ops: Vec<Op>) {
    rig.store.txn(Txn { id: RequestId(rig.host.id()), name: "test", ops }).await.unwrap();
}

async fn policy(rig: &Rig, operator: &str, method: Method, part: &str) -> (StatusCode, Value) {
    rig.ask(operator, method, &format!("/admin/v1/tenants/acme{part}"), "", Body::empty()).await
}

async fn delete(rig: &Rig, token: &str, name: &str) -> StatusCode {
    rig.ask(token, Method::DELETE, &format!("{RUNS}/{name}"), "", Body::empty()).await.0
}

#[tokio::test]
async fn a_tenant_has_as_many_runs_as_the_operator_lets_it_have() {
    let (rig, token, operator) = rig().await;
    let (code, _) = rig.create(&token, RUNS, &taskrun("before")).await;
    assert_eq!(code, StatusCode::CREATED);
    let (code, shown) = policy(&rig, &operator, Method::PUT, "/runs-max/2").await;
    assert_eq!((code, &shown["runs_max"], &shown["runs_counted"]), (StatusCode::OK, &json!(2), &json!(0)));
    for name in ["a", "b"] {
        let mut run = taskrun(name);
        // Nobody takes a place by saying that he has one, or none.
        run["metadata"]["annotations"] = json!({"cella.dev/counted": "no"});
        let (code, made) = rig.create(&token, RUNS, &run).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        assert_eq!(made["metadata"]["annotations"]["cella.dev/counted"], "true");
    }
    let full = "taskruns.tekton.dev \"c\" is forbidden: exceeded quota: cella-runs, requested: runs=1, used: runs=2, limited: runs=2";
    for query in ["", "?dryRun=All"] {
        let (code, status) = rig.create(&token, &format!("{RUNS}{query}"), &taskrun("c")).await;
        assert_eq!((code, &status["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
        assert_eq!(status["message"], full);
    }
    assert_eq!(rig.get(&token, &format!("{RUNS}/c")).await.0, StatusCode::NOT_FOUND);
    // Other tenants have limits of their own, and so have other kinds.
    let (code, _) = rig.create(&rig.token("globex", Role::Admin), RUNS, &taskrun("c")).await;
    assert_eq!(code, StatusCode::CREATED);
    let claim = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let (code, _) = rig.create(&token, "/api/v1/namespaces/default/configmaps", &claim).await;
    assert_eq!(code, StatusCode::CREATED);
    // One that was never counted gives nothing back; one that was does, once.
    assert_eq!(delete(&rig, &token, "before").await, StatusCode::OK);
    assert_eq!(rig.create(&token, RUNS, &taskrun("c")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(delete(&rig, &token, "a").await, StatusCode::OK);
    assert_eq!(delete(&rig, &token, "a").await, StatusCode::NOT_FOUND);
    assert_eq!(rig.create(&token, RUNS, &taskrun("c")).await.0, StatusCode::CREATED);
    assert_eq!(rig.create(&token, RUNS, &taskrun("d")).await.0, StatusCode::FORBIDDEN);
    let (_, shown) = policy(&rig, &operator, Method::DELETE, "/runs-max").await;
    assert_eq!((&shown["runs_max"], &shown["runs_counted"]), (&Value::Null, &json!(2)));
    assert_eq!(rig.create(&token, RUNS, &taskrun("d")).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn creates_at_one_time_never_have_more_places_than_there_are() {
    let (rig, token, operator) = rig().await;
    policy(&rig, &operator, Method::PUT, "/runs-max/5").await;
    let runs: Vec<Value> = (0..20).map(|n| taskrun(&format!("r-{n}"))).collect();
    let creates = runs.iter().map(|run| rig.create(&token, RUNS, run));
    let codes: Vec<StatusCode> =
        futures_util::future::join_all(creates).await.into_iter().map(|(code, _)| code).collect();
    let count = |wanted| codes.iter().filter(|code| **code == wanted).count();
    assert_eq!((count(StatusCode::CREATED), count(StatusCode::FORBIDDEN)), (5, 15), "{codes:?}");
}

#[tokio::test]
async fn an_operator_lets_a_tenants_runs_be_run_again_after_a_loss() {
    let (rig, token, operator) = rig().await;
    let rerun = |made: &Value| made["metadata"]["annotations"]["cella.dev/rerun-after-loss"].clone();
    let (_, made) = rig.create(&token, RUNS, &taskrun("a")).await;
    assert_eq!(rerun(&made), Value::Null);
    let (code, shown) = policy(&rig, &operator, Method::PUT, "/rerun-after-loss").await;
    assert_eq!((code, &shown["rerun_after_loss"]), (StatusCode::OK, &json!(true)));
    let (_, made) = rig.create(&token, RUNS, &taskrun("b")).await;
    assert_eq!(rerun(&made), "true");
    let mut run = taskrun("c");
    run["metadata"]["annotations"] = json!({"cella.dev/rerun-after-loss": "false"});
    assert_eq!(rerun(&rig.create(&token, RUNS, &run).await.1), "false");
    policy(&rig, &operator, Method::DELETE, "/rerun-after-loss").await;
    assert_eq!(rerun(&rig.create(&token, RUNS, &taskrun("d")).await.1), Value::Null);
    // A tenant cannot do that itself, and one that there is not has no policy.
    assert_eq!(policy(&rig, &token, Method::PUT, "/rerun-after-loss").await.0, StatusCode::UNAUTHORIZED);
    let (code, status) =
        rig.ask(&operator, Method::PUT, "/admin/v1/tenants/nobody/runs-max/1", "", Body::empty()).await;
    assert_eq!((code, &status["message"]), (StatusCode::NOT_FOUND, &json!("tenants \"nobody\" not found")));
}

#[tokio::test]
async fn a_run_goes_where_the_volume_of_its_claim_is() {
    let (rig, token, _) = rig().await;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    let (code, made) = rig.create(&token, CLAIMS, &claim).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let mut run = taskrun("free");
    run["metadata"]["annotations"] = json!({"cella.dev/regions": "region-here"});
    run["spec"]["taskSpec"]["workspaces"] = json!([{"name": "w"}]);
    run["spec"]["workspaces"] = json!([{"name": "w", "persistentVolumeClaim": {"claimName": "data"}}]);
    let at = |made: &Value| made["metadata"]["annotations"]["cella.dev/cell"].clone();
    let (code, made) = rig.create(&token, RUNS, &run).await;
    assert_eq!((code, at(&made)), (StatusCode::CREATED, json!("here")), "no volume yet: {made}");
    // A cell says where the volume is.
    let key = ObjectKey {
        tenant: "acme".into(),
        kind: "persistentvolumeclaims".into(),
        namespace: "default".into(),
        name: "data".into(),
    };
    let answers = rig.store.snapshot(At::Latest, vec![Read::Get(key.row())]).await.unwrap().answers;
    let mut bound = object::of_row(&answers[0].rows[0]).unwrap();
    apimachinery::meta::set_annotation(&mut bound, "cella.dev/cell", "there");
    write(&rig, vec![object::put(&key, Pre::Present, &bound, None)]).await;
    run["metadata"]["name"] = json!("follows");
    let (_, made) = rig.create(&token, RUNS, &run).await;
    assert_eq!(at(&made), "there");
    let explained = made["metadata"]["annotations"]["cella.dev/placement-explanation"].as_str().unwrap();
    let explained: Value = serde_json::from_str(explained).unwrap();
    assert_eq!(explained["because"], "the volume of claim \"data\" is there");
    assert_eq!(explained["refused"]["here"], "volume");
    // A run that may not go there is refused, with the reason.
    run["metadata"]["name"] = json!("pinned");
    run["metadata"]["annotations"]["cella.dev/placement"] = json!("strict");
    let (code, status) = rig.create(&token, RUNS, &run).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("the volume of its claim \"data\" is in cell there"), "{message}");
}
