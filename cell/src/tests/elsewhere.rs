//! Placing runs again: cells that are gone, drained or full, and replicas that race for the last machine.

use std::time::Duration;

use protocol::message::StartAnswer;
use protocol::order::Order;
use serde_json::{Value, json};
use store::backend::{Backend, Table};
use store::cell::{CELL as AT, EPOCH, EXPLANATION, WAITING};
use store::object::ObjectKey;
use store::records::machine;

use super::rig::{Agent, CELL, Rig, TENANT, one_step, reason, status};
use crate::Pace;

fn annotation<'a>(run: &'a Value, name: &str) -> &'a str {
    run["metadata"]["annotations"][name].as_str().unwrap_or("")
}

fn strict(name: &str, region: &str) -> Value {
    let mut run = one_step(name);
    run["metadata"]["annotations"] = json!({"cella.dev/placement": "strict", "cella.dev/regions": region});
    run
}

/// A run whose agent has passed the start gate.
async fn started(rig: &Rig) -> (ObjectKey, Agent, Order) {
    let key = rig.submit(one_step("started")).await;
    let agent = rig.agent().await;
    let order = agent.order().await;
    assert_eq!(agent.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    (key, agent, order)
}

#[tokio::test]
async fn what_has_not_started_on_a_cell_that_is_gone_goes_elsewhere_and_what_may_not_says_so() {
    let mut rig = Rig::new();
    let waits = rig.submit(one_step("waits")).await;
    rig.agent().await;
    let pinned = rig.submit(strict("pinned", "here")).await;
    rig.move_to("cell-b", "there").await;
    rig.agent().await.run().await;
    let moved = rig.until_ended(&waits).await;
    assert_eq!(reason(&moved), "Succeeded");
    assert_eq!((annotation(&moved, AT), annotation(&moved, EPOCH)), ("cell-b", "2"));
    let explained: Value = serde_json::from_str(annotation(&moved, EXPLANATION)).unwrap();
    assert_eq!(explained["cell"], "cell-b");
    let told = rig.until(&pinned, |run| !annotation(run, WAITING).is_empty()).await;
    assert_eq!((annotation(&told, AT), annotation(&told, EPOCH)), (CELL, "1"));
    for word in ["cell-a has not been heard of", "strict", "cella.dev/regions"] {
        assert!(annotation(&told, WAITING).contains(word), "{}", annotation(&told, WAITING));
    }
    // Whoever lets it go elsewhere is heard.
    rig.edit(&pinned, &pinned, |run| run["metadata"]["annotations"]["cella.dev/regions"] = json!("there"))
        .await;
    rig.agent().await.run().await;
    let run = rig.until_ended(&pinned).await;
    assert_eq!((reason(&run), annotation(&run, WAITING)), ("Succeeded", ""));
}

#[tokio::test]
async fn a_pinned_run_goes_on_when_its_cell_is_back() {
    let mut rig = Rig::new();
    let pinned = rig.submit(strict("pinned", "here")).await;
    rig.agent().await;
    rig.move_to("cell-b", "there").await;
    rig.until(&pinned, |run| !annotation(run, WAITING).is_empty()).await;
    rig.move_to(CELL, "here").await;
    rig.until(&pinned, |run| annotation(run, WAITING).is_empty()).await;
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&pinned).await), "Succeeded");
}

#[tokio::test]
async fn what_had_started_on_a_cell_that_is_gone_reports_when_it_is_back() {
    let mut rig = Rig::new();
    let (key, agent, order) = started(&rig).await;
    let provider = rig.provider.clone();
    rig.move_to("cell-b", "there").await;
    let told = rig.until(&key, |run| !annotation(run, WAITING).is_empty()).await;
    assert!(annotation(&told, WAITING).contains("goes on"), "{}", annotation(&told, WAITING));
    assert_eq!(annotation(&told, AT), CELL);
    rig.move_to_with(CELL, "here", provider).await;
    let mut agent = rig.agent_of(agent.spec, "boot-1");
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    let run = rig.until_ended(&key).await;
    assert_eq!((reason(&run), annotation(&run, EPOCH)), ("Succeeded", "1"));
    rig.until_quiet().await;
}

#[tokio::test]
async fn what_had_started_on_a_cell_that_is_gone_for_too_long_is_lost() {
    let mut rig = Rig::new();
    rig.pace = Pace { forgotten: Duration::from_millis(200), ..rig.pace };
    let (key, ..) = started(&rig).await;
    rig.move_to("cell-b", "there").await;
    let run = rig.until_ended(&key).await;
    assert_eq!((reason(&run), annotation(&run, AT)), ("MachineLost", "cell-b"));
    let message = run["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("cell-a has not been heard of"), "{message}");
    // Its cell comes back: the machine that it still has may say nothing any more.
    rig.move_to(CELL, "here").await;
    while !rig.scan(Table::Machine, CELL).await.is_empty() {
        rig.host.clock.sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(reason(&rig.until_ended(&key).await), "MachineLost");
}

#[tokio::test]
async fn a_pod_that_was_deleted_does_not_outlive_its_cell_and_the_run_goes_on() {
    let mut rig = Rig::new();
    rig.pace = Pace { forgotten: Duration::from_millis(200), ..rig.pace };
    let (key, ..) = started(&rig).await;
    let pod = rig.pods().await.remove(0);
    let pod = store::cell::key_of(TENANT, &pod).unwrap();
    rig.edit(&pod, &key, |pod| pod["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:30Z")).await;
    rig.move_to("cell-b", "there").await;
    let says = |run: &Value| run["status"]["conditions"][0]["message"].as_str().unwrap_or("").to_owned();
    let waits = rig.until(&key, |run| says(run).contains("runs nothing any more")).await;
    assert_eq!(annotation(&waits, AT), "cell-b");
    // Its cell comes back and finds that the machine is no more: then there may be another.
    let back = rig.beside(CELL, "here");
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
    drop(back);
}

#[tokio::test]
async fn a_drained_cell_begins_nothing_finishes_what_it_has_begun_and_gives_the_rest_away() {
    let rig = Rig::new();
    let (started, mut agent, order) = started(&rig).await;
    rig.cell.as_ref().unwrap().drain(true);
    let late = rig.submit(one_step("late")).await;
    let told = rig.until(&late, |run| !annotation(run, WAITING).is_empty()).await;
    assert!(annotation(&told, WAITING).contains("takes no new runs"), "{}", annotation(&told, WAITING));
    assert!(told["status"].is_null(), "it has not begun");
    let there = rig.beside("cell-b", "there");
    let moved = rig.until(&late, |run| annotation(run, AT) == "cell-b").await;
    assert_eq!((annotation(&moved, EPOCH), annotation(&moved, WAITING)), ("2", ""));
    there.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&late).await), "Succeeded");
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    let run = rig.until_ended(&started).await;
    assert_eq!((reason(&run), annotation(&run, AT)), ("Succeeded", CELL));
}

#[tokio::test]
async fn a_run_that_has_waited_too_long_for_a_machine_goes_where_there_is_room() {
    let rig = Rig::with_room(1);
    rig.submit(one_step("first")).await;
    rig.agent().await.order().await;
    let there = rig.beside("cell-b", "there");
    let mut patient = one_step("patient");
    patient["metadata"]["annotations"] = json!({"cella.dev/max-wait": "1h"});
    let patient = rig.submit(patient).await;
    let mut run = one_step("impatient");
    run["metadata"]["annotations"] = json!({"cella.dev/max-wait": "1s"});
    let impatient = rig.submit(run).await;
    there.agent().await.run().await;
    let run = rig.until_ended(&impatient).await;
    assert_eq!((reason(&run), annotation(&run, AT)), ("Succeeded", "cell-b"));
    let (waits, _) = rig.get(&patient).await.unwrap();
    assert_eq!(annotation(&waits, AT), CELL);
}

#[tokio::test]
async fn racing_replicas_never_have_more_machines_than_the_cell_may_have() {
    const ROOM: usize = 3;
    let rig = Rig::with_room(ROOM);
    // Two more replicas, which share the provider and know nothing of each other.
    let others = [rig.replica(), rig.replica()];
    let mut keys = Vec::new();
    for index in 0..24 {
        keys.push(rig.submit(one_step(&format!("run-{index}"))).await);
    }
    for _ in 0..24 {
        rig.agent().await.run().await;
        let rows = rig.scan(Table::Machine, CELL).await;
        let reserved = rows.iter().filter(|row| {
            store::records::decode::<machine::Machine>(&row.body).is_ok_and(|machine| machine.reserved)
        });
        assert!(reserved.count() <= ROOM);
    }
    for key in &keys {
        assert_eq!(reason(&rig.until_ended(key).await), "Succeeded");
    }
    rig.until_quiet().await;
    assert!(rig.provider.most() <= ROOM, "{} machines at one time", rig.provider.most());
    assert_eq!(rig.provider.most(), ROOM, "all of the room is used");
    assert_eq!(rig.store.counter(&machine::capacity(CELL)).await, Ok(0), "every place is given back");
    drop(others);
}
