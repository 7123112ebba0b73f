//! A pod with a lease ends with it, whatever becomes of its agent.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use protocol::message::RenewAnswer;
use protocol::order::Order;
use serde_json::json;

use crate::cell::{Cell, order, pod, sh};
use crate::host::{eventually, machine, shared, traces};
use crate::kills::spawn;

const LEASE_MS: u64 = 3000;

fn leased(script: &str) -> Order {
    let spec = json!({"containers": [sh("step-a", script)]});
    Order { lease_ms: Some(LEASE_MS), ..order(spec, BTreeMap::new()) }
}

fn processes(machine: &str) -> Vec<String> {
    traces(machine).into_iter().filter(|trace| trace.starts_with("process")).collect()
}

#[tokio::test]
async fn a_pod_whose_agent_is_stopped_ends_with_its_lease() {
    let (host, _jobs) = base::real::host();
    let address = format!("unix:{}", shared().dir.join("lease.sock").display());
    let cell = Cell::new(&host, leased("trap '' TERM; echo up; while :; do sleep 1000; done"));
    cell.serve(&address);
    let name = machine("lease");
    let mut agent = spawn(&name, &address);
    eventually("it runs", || (cell.text("step-a") == "up\n").then_some(())).await;
    let pid = agent.id().to_string();
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let stopped = host.clock.mono();
    host.clock.sleep(Duration::from_millis(500)).await;
    assert!(!processes(&name).is_empty(), "it runs on as long as its lease");
    eventually("nothing of it runs", || processes(&name).is_empty().then_some(())).await;
    let took = host.clock.mono().since(stopped);
    assert!(took <= Duration::from_millis(LEASE_MS + 1000), "it took {took:?}");
    assert!(agent.try_wait().unwrap().is_none(), "the agent is still stopped");
    signal("-CONT");
    eventually("it says so", || (cell.status()["reason"] == "LeaseExpired").then_some(())).await;
    eventually("it leaves", || agent.try_wait().unwrap()).await;
}

#[tokio::test]
async fn a_lease_that_is_renewed_ends_nothing() {
    let (cell, _) = pod("renewed", leased("sleep 5; echo done")).await;
    assert_eq!((cell.status()["phase"].as_str(), cell.text("step-a")), (Some("Succeeded"), "done\n".into()));
    let renewals = cell.told.lock().unwrap().renewals;
    assert!(renewals >= 3, "{renewals} renewals in five seconds");
}

#[tokio::test]
async fn an_agent_that_gets_no_answer_for_a_lease_ends_its_pod_and_says_why() {
    let (host, _jobs) = base::real::host();
    let cell = Cell::new(&host, leased("echo up; sleep 1000"));
    *cell.renew.lock().unwrap() = None;
    let name = machine("starved");
    let began = host.clock.mono();
    let outcome = cell.run(crate::host::config(&name, &format!("local:{name}"))).await;
    assert_eq!(outcome, agent::Outcome::Reported);
    assert_eq!(cell.status()["reason"], "LeaseExpired");
    assert!(host.clock.mono().since(began) < Duration::from_millis(LEASE_MS + 5000));
    assert_eq!(traces(&name), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_that_is_revoked_ends_its_pod_and_says_nothing() {
    let (host, _jobs) = base::real::host();
    let cell = Cell::new(&host, leased("echo up; sleep 1000"));
    *cell.renew.lock().unwrap() = Some(RenewAnswer::Revoked);
    let name = machine("revoked");
    let outcome = cell.run(crate::host::config(&name, &format!("local:{name}"))).await;
    assert!(matches!(outcome, agent::Outcome::Burnt(_)), "{outcome:?}");
    assert_eq!(traces(&name), Vec::<String>::new());
}
