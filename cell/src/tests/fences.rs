//! Never twice, never lost: claims, the start gate, lost machines, crashes.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::StatusCode;
use protocol::message::{self, HelloAnswer, StartAnswer};
use serde_json::{Value, json};
use store::backend::Table;
use store::cell::CellStore;
use store::cell::collect::dependents;

use super::rig::{CELL, Rig, one_step, reason, status};

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_answered_again_and_a_reboot_burns() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let agent = rig.agent().await;
    let first = agent.order().await;
    assert_eq!(agent.order().await.attempt, first.attempt);
    let rebooted = rig.agent_of(agent.spec.clone(), "boot-2");
    assert!(matches!(rebooted.hello().await, HelloAnswer::Burn { .. }));
    // Nothing had started: another attempt goes at once, and the first boot may not start any more.
    let mut second = rig.agent().await;
    assert_ne!(second.spec.id, agent.spec.id);
    let gate = agent.start(&first.attempt, status(&first, "waiting", 0)).await;
    assert_ne!(gate, StartAnswer::Go);
    second.run().await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
    rig.until_quiet().await;
}

/// The agent is told to stop, and its last word is that its containers were killed.
#[tokio::test]
async fn what_a_burnt_machine_says_of_its_end_fails_no_run() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let mut first = rig.agent().await;
    let order = first.order().await;
    let other_boot = rig.agent_of(first.spec.clone(), "boot-2");
    assert!(matches!(other_boot.hello().await, HelloAnswer::Burn { .. }));
    first.report(&order.attempt, status(&order, "terminated", 137), true).await;
    let mut second = rig.agent().await;
    assert_ne!(second.spec.id, first.spec.id);
    second.run().await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
    rig.until_quiet().await;
}

/// Whoever says it may have looked at the machines long ago.
#[tokio::test]
async fn nobody_says_of_a_pod_that_runs_or_has_ended_that_it_waits_for_a_machine() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    assert_eq!(agent.start(&order.attempt, json!({"phase": "Pending"})).await, StartAnswer::Go);
    let store = CellStore::new(rig.store.clone(), rig.host.clone(), CELL, &[7; 32]);
    store.machine_waits(&agent.spec.id, "all 1 machines are busy").await.unwrap();
    assert_eq!(rig.pods().await[0]["status"], json!({"phase": "Pending"}));
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
    rig.until_quiet().await;
}

#[tokio::test]
async fn the_gate_opens_once_for_its_boot_and_for_nobody_else() {
    let rig = Rig::new();
    rig.submit(one_step("one")).await;
    let agent = rig.agent().await;
    let order = agent.order().await;
    let stranger = rig.agent_of(agent.spec.clone(), "boot-2");
    let waiting = status(&order, "waiting", 0);
    assert!(matches!(stranger.start(&order.attempt, waiting.clone()).await, StartAnswer::Burn { .. }));
    assert_eq!(agent.start(&order.attempt, waiting.clone()).await, StartAnswer::Go);
    assert_eq!(agent.start(&order.attempt, waiting.clone()).await, StartAnswer::Go, "its answer may be lost");
    assert!(
        matches!(agent.hello().await, HelloAnswer::Burn { .. }),
        "an agent that forgot must not run twice"
    );
    assert!(matches!(agent.start("another", waiting).await, StartAnswer::Burn { .. }));
}

#[tokio::test]
async fn a_wrong_token_is_nobody() {
    let rig = Rig::new();
    rig.submit(one_step("one")).await;
    let mut agent = rig.agent().await;
    agent.spec.token = "0".repeat(agent.spec.token.len());
    let hello = json!({"speaker": {"machine": agent.spec.id, "nonce": "n"}, "version": 1});
    let refused = agent.send::<Value>(message::HELLO, Body::from(hello.to_string())).await;
    assert_eq!(refused, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn a_machine_lost_before_the_gate_is_replaced_at_once_and_after_it_fails_the_run() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let first = rig.agent().await;
    let order = first.order().await;
    rig.provider.exit(&first.spec.id, "it was switched off");
    let second = rig.agent().await;
    let again = second.order().await;
    assert_ne!(again.attempt, order.attempt);
    assert_eq!(again.pod.metadata.name, order.pod.metadata.name);
    assert_ne!(first.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    assert_eq!(second.start(&again.attempt, status(&again, "waiting", 0)).await, StartAnswer::Go);
    rig.provider.exit(&second.spec.id, "it was switched off");
    let run = rig.until_ended(&key).await;
    let message = run["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("machine") && message.contains("lost"), "{message}");
    rig.until_quiet().await;
    let attempts = rig.scan(Table::Attempt, "acme").await;
    assert_eq!(attempts.len(), 2);
}

#[tokio::test]
async fn every_machine_of_a_try_has_a_name_of_its_own() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let agent = rig.agent().await;
        let order = agent.order().await;
        assert!(names.insert(order.attempt) && names.insert(agent.spec.id.clone()), "{names:?}");
        rig.provider.exit(&agent.spec.id, "it was switched off");
    }
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
}

#[tokio::test]
async fn machines_that_never_boot_end_the_run_after_some_tries() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    for _ in 0..store::cell::machines::BOOTS_MAX {
        let agent = rig.agent().await;
        rig.provider.exit(&agent.spec.id, "it does not boot");
    }
    rig.until_ended(&key).await;
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_provider_without_room_delays_a_run_and_does_not_fail_it() {
    let rig = Rig::new();
    rig.provider.refuse(true);
    let key = rig.submit(one_step("one")).await;
    rig.until_it_has_a_pod(&key).await;
    rig.provider.refuse(false);
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
}

#[tokio::test]
async fn a_run_that_waits_for_a_machine_says_so_and_runs_when_there_is_one() {
    let rig = Rig::with_room(1);
    let first = rig.submit(one_step("first")).await;
    let mut agent = rig.agent().await;
    let second = rig.submit(one_step("second")).await;
    let waits = |run: &Value| run["status"]["conditions"].is_array() && reason(run) == "Pending";
    let run = rig.until(&second, waits).await;
    let message = run["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("pod status \"PodScheduled\":\"False\"; message: "), "{message}");
    agent.run().await;
    assert_eq!(reason(&rig.until_ended(&first).await), "Succeeded");
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&second).await), "Succeeded");
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_crash_of_the_cell_at_any_step_loses_nothing() {
    let mut rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    rig.crash(false).await;
    let mut agent = rig.agent().await;
    rig.crash(false).await;
    agent = rig.agent_of(agent.spec, "boot-1");
    let order = agent.order().await;
    rig.crash(false).await;
    agent = rig.agent_of(agent.spec, "boot-1");
    assert_eq!(agent.order().await.attempt, order.attempt);
    assert_eq!(agent.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    rig.crash(false).await;
    agent = rig.agent_of(agent.spec, "boot-1");
    assert_eq!(agent.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    rig.crash(false).await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
    rig.until_quiet().await;
}

/// Plays an agent that asks again until it is answered, over any number of deaths of the cell. Answers how often
/// user code would have started.
async fn stubborn_agent(rig: &mut Rig, deaths: &mut usize) -> usize {
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(60);
    let mut starts = 0;
    'machine: loop {
        let host = rig.host.clone();
        let taken = host.within(PATIENCE, rig.provider.taken()).await;
        let Ok(spec) = taken else {
            revive(rig, deaths).await;
            continue;
        };
        let order = loop {
            let agent = rig.agent_of(spec.clone(), "boot-1");
            match host.within(PATIENCE, agent.hello()).await {
                Ok(HelloAnswer::Order(order)) => break order,
                Ok(HelloAnswer::Burn { .. }) => continue 'machine,
                Ok(HelloAnswer::Wait) => {}
                Err(_) => revive(rig, deaths).await,
            }
        };
        loop {
            let agent = rig.agent_of(spec.clone(), "boot-1");
            match host.within(PATIENCE, agent.start(&order.attempt, status(&order, "waiting", 0))).await {
                Ok(StartAnswer::Go) => break,
                Ok(StartAnswer::Revoked | StartAnswer::Burn { .. }) => continue 'machine,
                Err(_) => revive(rig, deaths).await,
            }
        }
        starts += 1;
        for (state, last) in [("running", false), ("terminated", true)] {
            loop {
                let mut agent = rig.agent_of(spec.clone(), "boot-1");
                agent.reported(if last { 7 } else { 3 });
                let report = agent.report(&order.attempt, status(&order, state, 0), last);
                match host.within(PATIENCE, report).await {
                    Ok(_) => break,
                    Err(_) => revive(rig, deaths).await,
                }
            }
        }
        return starts;
    }
}

async fn revive(rig: &mut Rig, deaths: &mut usize) {
    if rig.store.dies_after.swap(0, Ordering::Relaxed) > 0 {
        *deaths += 1;
    }
    rig.crash(false).await;
}

#[tokio::test]
async fn a_death_of_the_cell_in_any_transaction_loses_nothing_and_starts_nothing_twice() {
    let mut all_deaths = 0;
    for after in 1..=14 {
        let mut rig = Rig::new();
        rig.store.dies_after.store(after, Ordering::Relaxed);
        let key = rig.submit(one_step("one")).await;
        let mut deaths = 0;
        assert_eq!(stubborn_agent(&mut rig, &mut deaths).await, 1, "death in transaction {after}");
        let ended =
            rig.host.clone().within(std::time::Duration::from_millis(300), rig.until_ended(&key)).await;
        let run = match ended {
            Ok(run) => run,
            Err(_) => {
                revive(&mut rig, &mut deaths).await;
                rig.until_ended(&key).await
            }
        };
        assert_eq!(reason(&run), "Succeeded", "death in transaction {after}");
        if deaths == 0 {
            rig.store.dies_after.store(0, Ordering::Relaxed);
            rig.crash(false).await;
        }
        rig.until_quiet().await;
        all_deaths += deaths;
    }
    assert!(all_deaths >= 5, "only {all_deaths} deaths: the test has lost its sting");
}

#[tokio::test]
async fn a_server_that_dies_with_its_machines_replaces_what_had_not_started() {
    let mut rig = Rig::new();
    let waits = rig.submit(one_step("waits")).await;
    let agent = rig.agent().await;
    agent.order().await;
    let runs = rig.submit(one_step("runs")).await;
    let started = rig.agent().await;
    let order = started.order().await;
    assert_eq!(started.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    rig.crash(true).await;
    rig.agent().await.run().await;
    assert_eq!(reason(&rig.until_ended(&waits).await), "Succeeded");
    assert_ne!(reason(&rig.until_ended(&runs).await), "Succeeded");
    rig.until_quiet().await;
}

#[tokio::test]
async fn lost_answers_of_the_store_change_nothing() {
    for every in [2, 3, 5] {
        let rig = Rig::new();
        rig.store.silent_every.store(every, Ordering::Relaxed);
        let mut keys = Vec::new();
        for index in 0..5 {
            keys.push(rig.submit(one_step(&format!("run-{index}"))).await);
        }
        for _ in 0..5 {
            rig.agent().await.run().await;
        }
        for key in &keys {
            assert_eq!(reason(&rig.until_ended(key).await), "Succeeded");
        }
        rig.until_quiet().await;
    }
}

#[tokio::test]
async fn what_belonged_to_a_deleted_run_goes_with_it() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    agent.start(&order.attempt, status(&order, "waiting", 0)).await;
    let seen = agent.report(&order.attempt, status(&order, "running", 0), false).await;
    let (run, revision) = rig.get(&key).await.unwrap();
    let uid = run["metadata"]["uid"].as_str().unwrap();
    let gone = store::backend::Op::Delete {
        key: key.row(),
        pre: store::backend::Pre::Rev(revision),
        last: Some(store::object::encode(&run)),
    };
    rig.write(vec![gone, dependents(CELL, &key, uid)]).await;
    let mut seen = seen;
    while seen.stop.is_none() {
        seen = agent.watch(&order.attempt, seen).await;
    }
    agent.report(&order.attempt, status(&order, "terminated", 143), true).await;
    rig.until_quiet().await;
    assert!(rig.pods().await.is_empty());
    assert!(rig.scan(Table::Attempt, "acme").await.is_empty());
}
