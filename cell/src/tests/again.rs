//! Further attempts of a Try: counted apart from retries, bounded, and never beside one that may be running.

use axum::body::Body;
use protocol::message::{self, Renew, RenewAnswer, StartAnswer};
use serde_json::{Value, json};
use store::backend::{Op, Pre, Table};
use store::cell::{INFRA_REASON, INFRA_RETRIES, RERUN, RERUNS};
use store::object::{self, ObjectKey};
use store::records::attempt::{Again, Attempt, Cause, Phase};
use store::records::due;

use super::rig::{Agent, CELL, Rig, TENANT, one_step, reason, status};

fn annotation<'a>(run: &'a Value, name: &str) -> &'a str {
    run["metadata"]["annotations"][name].as_str().unwrap_or("")
}

async fn attempts(rig: &Rig) -> Vec<Attempt> {
    let rows = rig.scan(Table::Attempt, TENANT).await;
    rows.iter().map(|row| store::records::decode(&row.body).unwrap()).collect()
}

fn rerun(name: &str) -> Value {
    let mut run = one_step(name);
    run["metadata"]["annotations"] = json!({RERUN: "true"});
    run
}

async fn renew(agent: &Agent, attempt: &str) -> RenewAnswer {
    let renew = Renew { speaker: agent.speaker.clone(), attempt: attempt.into() };
    agent.send(message::RENEW, Body::from(serde_json::to_vec(&renew).unwrap())).await.unwrap()
}

/// Removes a pod as `kubectl delete --force` does.
async fn remove_pod(rig: &Rig, run: &ObjectKey) {
    let pod = rig.pods().await.remove(0);
    let key = store::cell::key_of(TENANT, &pod).unwrap();
    let (last, revision) = rig.get(&key).await.unwrap();
    let gone = Op::Delete { key: key.row(), pre: Pre::Rev(revision), last: Some(object::encode(&last)) };
    rig.write(vec![gone, due::put(CELL, run, 0)]).await;
}

#[tokio::test]
async fn machines_lost_before_the_gate_are_counted_apart_from_retries() {
    let rig = Rig::new();
    let mut run = one_step("one");
    run["spec"]["retries"] = json!(2);
    let key = rig.submit(run).await;
    for _ in 0..2 {
        let agent = rig.agent().await;
        rig.provider.exit(&agent.spec.id, "it was preempted");
    }
    rig.agent().await.run().await;
    let run = rig.until_ended(&key).await;
    assert_eq!(reason(&run), "Succeeded");
    assert!(run["status"]["retriesStatus"].is_null(), "no retry of the user's is used");
    assert_eq!((annotation(&run, INFRA_RETRIES), annotation(&run, INFRA_REASON)), ("2", "it was preempted"));
    let all = attempts(&rig).await;
    let seen: Vec<_> = all.iter().map(|a| (a.retry, a.ordinal, a.phase, a.cause, a.again, a.infra)).collect();
    let lost = |n, again| (0, n, Phase::Revoked, Some(Cause::Machine), again, n);
    let again = Some(Again::Infrastructure);
    assert_eq!(seen, [lost(0, None), lost(1, again), (0, 2, Phase::Done, None, again, 2)]);
    let events = rig.scan(Table::Object, &format!("{TENANT}/events")).await;
    let events: Vec<_> = events.iter().map(|row| object::of_row(row).unwrap()).collect();
    assert_eq!(events.iter().filter(|event| event["reason"] == "MachineLost").count(), 2);
    rig.until_quiet().await;
}

#[tokio::test]
async fn the_limit_of_infrastructure_retries_has_its_own_reason_and_uses_no_retry() {
    let rig = Rig::new();
    let mut run = one_step("one");
    run["spec"]["retries"] = json!(2);
    let key = rig.submit(run).await;
    for _ in 0..store::cell::machines::BOOTS_MAX {
        let agent = rig.agent().await;
        rig.provider.exit(&agent.spec.id, "it does not boot");
    }
    let run = rig.until_ended(&key).await;
    assert_eq!(reason(&run), "MachineRetriesExhausted");
    let message = run["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("do not count as retries") && message.contains("it does not boot"), "{message}");
    assert!(run["status"]["retriesStatus"].is_null());
    rig.until_quiet().await;
    let all = attempts(&rig).await;
    assert_eq!(all.last().unwrap().phase, Phase::Revoked, "it never started");
}

#[tokio::test]
async fn a_pod_deleted_between_claim_and_gate_closes_the_gate() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let first = rig.agent().await;
    let order = first.order().await;
    remove_pod(&rig, &key).await;
    let second = rig.agent().await;
    let again = second.order().await;
    assert_ne!(first.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    assert_eq!(second.start(&again.attempt, status(&again, "waiting", 0)).await, StartAnswer::Go);
    let all = attempts(&rig).await;
    assert_eq!((all[0].phase, all[1].again), (Phase::Revoked, Some(Again::Asked)));
}

#[tokio::test]
async fn a_pod_deleted_while_it_runs_is_a_rerun_that_waits_for_the_old_machine_and_is_recorded() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let mut first = rig.agent().await;
    let order = first.order().await;
    assert_eq!(first.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    first.report(&order.attempt, status(&order, "running", 0), false).await;
    remove_pod(&rig, &key).await;
    let waits = |run: &Value| {
        let message = run["status"]["conditions"][0]["message"].as_str();
        message.is_some_and(|m| m.contains("waits to be run again"))
    };
    let run = rig.until(&key, waits).await;
    assert_eq!(reason(&run), "Pending");
    assert_eq!(attempts(&rig).await.len(), 1, "no other attempt while the first may be running");
    first.report(&order.attempt, status(&order, "terminated", 137), true).await;
    rig.agent().await.run().await;
    let run = rig.until_ended(&key).await;
    assert_eq!(
        (reason(&run), annotation(&run, RERUNS), annotation(&run, INFRA_RETRIES)),
        ("Succeeded", "1", "")
    );
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_run_that_may_be_run_again_is_when_the_provider_says_that_the_lost_machine_is_gone() {
    let rig = Rig::new();
    let key = rig.submit(rerun("one")).await;
    let first = rig.agent().await;
    let order = first.order().await;
    assert_eq!(order.lease_ms, Some(30_000));
    assert_eq!(first.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    assert_eq!(renew(&first, &order.attempt).await, RenewAnswer::Lease);
    rig.provider.keep(true);
    // Another boot of the machine: the first one is not known to have ended.
    rig.agent_of(first.spec.clone(), "boot-2").hello().await;
    let waits = |run: &Value| {
        let message = run["status"]["conditions"][0]["message"].as_str();
        message.is_some_and(|m| m.contains("waits to be run again") && m.contains("lease"))
    };
    rig.until(&key, waits).await;
    assert_eq!(renew(&first, &order.attempt).await, RenewAnswer::Revoked, "its lease is not renewed");
    assert_eq!(attempts(&rig).await.len(), 1);
    rig.provider.keep(false);
    rig.agent().await.run().await;
    let run = rig.until_ended(&key).await;
    assert_eq!((reason(&run), annotation(&run, INFRA_RETRIES)), ("Succeeded", "1"));
    let all = attempts(&rig).await;
    assert!(all[0].phase == Phase::Lost && all[0].dead);
    rig.until_quiet().await;
}

#[tokio::test]
async fn an_agent_whose_lease_ran_out_says_so_and_the_run_is_run_again() {
    let rig = Rig::new();
    let key = rig.submit(rerun("one")).await;
    let mut first = rig.agent().await;
    let order = first.order().await;
    assert_eq!(first.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    let mut starved = status(&order, "terminated", 137);
    starved["reason"] = json!("LeaseExpired");
    first.report(&order.attempt, starved, true).await;
    rig.agent().await.run().await;
    let run = rig.until_ended(&key).await;
    assert_eq!((reason(&run), annotation(&run, INFRA_RETRIES)), ("Succeeded", "1"));
    assert_eq!(attempts(&rig).await[0].cause, Some(Cause::Lease));
    rig.until_quiet().await;
}

#[tokio::test]
async fn an_agent_that_cannot_keep_a_lease_gets_a_run_that_is_not_run_again() {
    let rig = Rig::new();
    let key = rig.submit(rerun("one")).await;
    let mut agent = rig.agent().await;
    agent.leases = false;
    let order = agent.order().await;
    assert_eq!(order.lease_ms, None);
    assert_eq!(agent.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    rig.provider.exit(&agent.spec.id, "it was switched off");
    let run = rig.until_ended(&key).await;
    assert_eq!(reason(&run), "MachineLost");
    let message = run["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("was lost after its steps had started"), "{message}");
}
