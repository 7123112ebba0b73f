//! Volumes: who may have one, who waits and says so, and what a machine of yesterday can still do with it.

use protocol::message::StartAnswer;
use serde_json::{Value, json};
use store::backend::Table;
use store::object::ObjectKey;
use store::records::volume::Volume;

use super::rig::{CELL, Rig, TENANT, reason, status};

fn claim(name: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": "1Mi"}}},
    })
}

/// A run that uses a claim.
fn uses(name: &str, claim: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name},
        "spec": {
            "taskSpec": {
                "workspaces": [{"name": "w"}],
                "steps": [{"name": "a", "image": "busybox", "script": "echo hello"}],
            },
            "workspaces": [{"name": "w", "persistentVolumeClaim": {"claimName": claim}}],
        },
    })
}

async fn volumes(rig: &Rig) -> Vec<Volume> {
    let rows = rig.scan(Table::Volume, TENANT).await;
    rows.iter().map(|row| store::records::decode(&row.body).unwrap()).collect()
}

/// What the run says, without the marks before quotes that the engine puts into what it quotes.
fn message(run: &Value) -> String {
    let said = run["status"]["conditions"][0]["message"].as_str().unwrap_or("");
    said.replace("\\\"", "\"")
}

async fn says(rig: &Rig, run: &ObjectKey, part: &str) {
    rig.until(run, |run| message(run).contains(part)).await;
}

#[tokio::test]
async fn a_writer_waits_in_line_for_another_runs_volume_and_gets_the_next_generation() {
    let rig = Rig::new();
    let claim_key = rig.submit(claim("shared", "ReadWriteOnce")).await;
    let first = rig.submit(uses("first", "shared")).await;
    let mut agent = rig.agent().await;
    let second = rig.submit(uses("second", "shared")).await;
    says(
        &rig,
        &second,
        "waits for the volume of claim \"shared\" (ReadWriteOnce): TaskRun \"first\" uses it",
    )
    .await;
    let (bound, _) = rig.get(&claim_key).await.unwrap();
    assert_eq!(bound["status"]["phase"], "Bound");
    assert_eq!(bound["metadata"]["annotations"][store::cell::CELL], CELL);
    let order = agent.order().await;
    let held = order.held();
    assert_eq!(held.values().copied().collect::<Vec<_>>(), [1]);
    agent.run().await;
    assert_eq!(reason(&rig.until_ended(&first).await), "Succeeded");
    let mut agent = rig.agent().await;
    let next = agent.order().await;
    assert_eq!(next.held().values().copied().collect::<Vec<_>>(), [2]);
    let Some(volume) = volumes(&rig).await.pop() else { panic!("no volume") };
    assert_eq!((volume.generation, volume.floor, volume.holders.len()), (2, 2, 1));
    agent.run().await;
    assert_eq!(reason(&rig.until_ended(&second).await), "Succeeded");
    rig.until_quiet().await;
}

#[tokio::test]
async fn an_agent_with_another_generation_does_not_pass_the_gate() {
    let rig = Rig::new();
    rig.submit(claim("shared", "ReadWriteOnce")).await;
    rig.submit(uses("first", "shared")).await;
    let agent = rig.agent().await;
    let order = agent.order().await;
    let old = order.held().into_iter().map(|(uid, generation)| (uid, generation - 1)).collect();
    let gate = agent.start_with(&order.attempt, old, status(&order, "waiting", 0)).await;
    assert!(matches!(gate, StartAnswer::Burn { reason } if reason.contains("handed on")));
    let gate = agent.start(&order.attempt, status(&order, "waiting", 0)).await;
    assert!(matches!(gate, StartAnswer::Burn { .. }), "nor does one that has attached nothing");
}

#[tokio::test]
async fn many_may_share_what_says_many_and_nobody_what_says_one_pod() {
    let rig = Rig::new();
    rig.submit(claim("many", "ReadWriteMany")).await;
    rig.submit(claim("alone", "ReadWriteOncePod")).await;
    for name in ["a", "b", "c"] {
        rig.submit(uses(name, "many")).await;
    }
    let mut agents = Vec::new();
    for _ in 0..3 {
        agents.push(rig.agent().await);
    }
    let first = rig.submit(uses("first", "alone")).await;
    let mut alone = rig.agent().await;
    let second = rig.submit(uses("second", "alone")).await;
    says(&rig, &second, "(ReadWriteOncePod): TaskRun \"first\" has it").await;
    let many = volumes(&rig).await.into_iter().find(|v| v.claim == "many").unwrap();
    assert_eq!(many.holders.len(), 3);
    for agent in &mut agents {
        agent.run().await;
    }
    alone.run().await;
    rig.until_ended(&first).await;
    rig.agent().await.run().await;
    rig.until_ended(&second).await;
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_missing_claim_is_waited_for_and_a_volume_goes_with_its_claim_when_nobody_has_it() {
    let rig = Rig::new();
    let run = rig.submit(uses("early", "late")).await;
    says(&rig, &run, "persistentvolumeclaim \"late\" not found").await;
    let claim_key = rig.submit(claim("late", "ReadWriteOnce")).await;
    let mut agent = rig.agent().await;
    let (object, _) = rig.get(&claim_key).await.unwrap();
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    let order = agent.order().await;
    let folder = order.volumes.values().find_map(|volume| match volume {
        protocol::order::Volume::Dir { path, .. } => Some(std::path::PathBuf::from(path)),
        _ => None,
    });
    let folder = folder.unwrap();
    assert!(folder.is_dir());
    // As the gateway deletes it: the object goes, and the cell looks for what it has left.
    let gone = store::backend::Op::Delete { key: claim_key.row(), pre: store::backend::Pre::Any, last: None };
    rig.write(vec![gone, store::cell::collect::dependents(CELL, &claim_key, &uid)]).await;
    rig.host.clock.sleep(std::time::Duration::from_millis(100)).await;
    assert!(folder.is_dir() && volumes(&rig).await.len() == 1, "somebody has it still");
    let gate = agent.start_with(&order.attempt, order.held(), status(&order, "waiting", 0)).await;
    assert_eq!(gate, StartAnswer::Go);
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    rig.until_ended(&run).await;
    rig.until_quiet().await;
    assert!(!folder.exists() && volumes(&rig).await.is_empty());
}

/// Two runs may be placed in two cells before the claim that both name has a volume. The later one follows it.
#[tokio::test]
async fn a_run_whose_claims_volume_is_in_another_cell_goes_there() {
    let rig = Rig::new();
    let claim_key = rig.submit(claim("shared", "ReadWriteMany")).await;
    let (mut bound, _) = rig.get(&claim_key).await.unwrap();
    apimachinery::meta::set_annotation(&mut bound, store::cell::CELL, "cell-b");
    bound["status"] = json!({"phase": "Bound"});
    let uid = bound["metadata"]["uid"].as_str().unwrap().to_owned();
    let volume = Volume {
        uid: uid.clone(),
        namespace: claim_key.namespace.clone(),
        claim: "shared".into(),
        cell: "cell-b".into(),
        generation: 0,
        floor: 0,
        holders: Vec::new(),
    };
    let (pre, owner, prev) = (store::backend::Pre::Any, None, None);
    let body = store::records::encode(&volume);
    let key = store::records::volume::row(TENANT, &uid);
    let row = store::backend::Op::Put { key, pre, owner, body, prev };
    rig.write(vec![store::object::put(&claim_key, pre, &bound, None), row]).await;
    let run = rig.submit(uses("apart", "shared")).await;
    let there = rig.beside("cell-b", "there");
    let moved = rig.until(&run, |run| run["metadata"]["annotations"][store::cell::CELL] == "cell-b").await;
    let explained = moved["metadata"]["annotations"][store::cell::EXPLANATION].as_str().unwrap();
    assert!(explained.contains("the volume of claim"), "{explained}");
    there.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&run).await), "Succeeded");
}

/// A claim without a volume is in no cell: it holds nobody back.
#[tokio::test]
async fn on_a_cell_that_is_gone_only_a_volume_holds_a_run_back() {
    let mut rig = Rig::with_room(1);
    rig.submit(claim("used", "ReadWriteMany")).await;
    rig.submit(claim("fresh", "ReadWriteMany")).await;
    let first = rig.submit(uses("first", "used")).await;
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&first).await), "Succeeded");
    // The cell goes away before it looks at these two: it would give the other claim a volume.
    rig.move_to("cell-b", "there").await;
    let held = rig.submit(uses("held", "used")).await;
    let free = rig.submit(uses("free", "fresh")).await;
    let moved = rig.until(&free, |run| run["metadata"]["annotations"][store::cell::CELL] == "cell-b").await;
    assert_eq!(moved["metadata"]["annotations"][store::cell::EPOCH], "2");
    let told = rig.until(&held, |run| !run["metadata"]["annotations"][store::cell::WAITING].is_null()).await;
    let waiting = told["metadata"]["annotations"][store::cell::WAITING].as_str().unwrap();
    assert!(waiting.contains("where its claim \"used\" is"), "{waiting}");
    assert_eq!(told["metadata"]["annotations"][store::cell::CELL], CELL);
}
