//! Agents and supervisors that are killed at any moment leave nothing running.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use protocol::order::Network;
use serde_json::json;

use crate::cell::{Cell, order, sh};
use crate::host::{AGENT, config, eventually, machine, shared, traces};

pub fn spawn(machine: &str, cell: &str) -> Child {
    let mut agent = Command::new(AGENT).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let line = serde_json::to_string(&config(machine, cell)).unwrap();
    writeln!(agent.stdin.as_mut().unwrap(), "{line}").unwrap();
    agent
}

/// A pod of containers that do their best to stay.
fn stubborn() -> protocol::order::Order {
    let script =
        "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; echo up; while :; do sleep 1000; done";
    let spec = json!({"containers": [sh("step-a", script), sh("step-b", script)]});
    order(spec, BTreeMap::new())
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_leaves_nothing_running() {
    let (host, _jobs) = base::real::host();
    let address = format!("unix:{}", shared().dir.join("kills.sock").display());
    let mut order = stubborn();
    order.network = Network::Nat;
    Cell::new(&host, order).serve(&address);
    // From before the first word to long after the containers run.
    for round in 0..24u64 {
        let name = machine(&format!("kill-{round}"));
        let mut agent = spawn(&name, &address);
        host.clock.sleep(std::time::Duration::from_millis(round * 5)).await;
        agent.kill().unwrap();
        agent.wait().unwrap();
        let processes = || traces(&name).iter().all(|t| !t.starts_with("process")).then_some(());
        eventually(&format!("round {round}: all its processes are gone"), processes).await;
        // A child that was being started holds the agent's lock for a moment more.
        let swept = || {
            agent::sweep(&shared().dir.join("machines")).unwrap();
            traces(&name).is_empty().then_some(())
        };
        eventually(&format!("round {round}: the sweep removes all traces"), swept).await;
    }
}

/// Process id of the supervisor of a machine.
fn supervisor(machine: &str) -> Option<String> {
    let trace = traces(machine).into_iter().find(|t| t.contains("supervisor"))?;
    trace.split(' ').nth(1).map(str::to_owned)
}

/// Process ids of what an agent has started.
fn children(agent: u32) -> Vec<String> {
    let threads =
        std::fs::read_dir(format!("/proc/{agent}/task")).into_iter().flatten().filter_map(Result::ok);
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

/// Kills the `victims` of an agent, earlier and later, until it leaves: what comes of that before the gate is no failure
/// of the pod.
async fn killed_early(word: &str, victims: impl Fn(u32) -> Vec<String>) {
    let (host, _jobs) = base::real::host();
    let address = format!("unix:{}", shared().dir.join(format!("{word}.sock")).display());
    let mut order = stubborn();
    order.network = Network::Nat;
    let mut early = 0;
    for round in 0..20u64 {
        let (cell, at) = (Cell::new(&host, order.clone()), format!("{address}.{round}"));
        cell.serve(&at);
        let name = machine(&format!("{word}-{round}"));
        let mut agent = spawn(&name, &at);
        // To look through every process of the host would take too long.
        while children(agent.id()).is_empty() {
            host.clock.sleep(std::time::Duration::from_micros(200)).await;
        }
        host.clock.sleep(std::time::Duration::from_millis(round * 3)).await;
        // Its first stage may just have ended by itself: then it is the second one that is killed. Behind the gate there is
        // nothing to be seen any more.
        let leaves = || {
            let begun = cell.told.lock().unwrap().starts > 0;
            let victims = if begun { children(agent.id()) } else { victims(agent.id()) };
            victims.iter().for_each(|pid| drop(Command::new("kill").args(["-9", pid]).output()));
            agent.try_wait().unwrap()
        };
        assert!(eventually("its agent leaves", leaves).await.success());
        let told = cell.told.lock().unwrap();
        if told.starts == 0 {
            early += 1;
            let said: Vec<_> = told.reports.iter().map(|report| &report.status).collect();
            assert!(said.is_empty(), "round {round}: the cell is told of a failure: {said:?}");
        }
        drop(told);
        assert_eq!(traces(&name), Vec::<String>::new());
    }
    assert!(early > 0, "no {word} was killed before the gate");
}

#[tokio::test]
async fn a_supervisor_that_is_killed_before_the_gate_is_no_failure_of_its_pod() {
    killed_early("supervisor", children).await;
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_makes_a_container_is_no_failure_of_its_pod() {
    let below = |agent| {
        let supervisors = children(agent).into_iter().filter_map(|pid| pid.parse().ok());
        supervisors.flat_map(children).collect()
    };
    killed_early("creator", below).await;
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_becomes_a_container_is_no_failure_of_its_pod() {
    let below = |pid: String| pid.parse().map(children).unwrap_or_default();
    let third = |agent| children(agent).into_iter().flat_map(below).flat_map(below).collect();
    killed_early("runtime", third).await;
}

#[tokio::test]
async fn a_supervisor_that_is_killed_fails_its_pod() {
    let (host, _jobs) = base::real::host();
    let address = format!("unix:{}", shared().dir.join("supervisor.sock").display());
    let cell = Cell::new(&host, stubborn());
    cell.serve(&address);
    let name = machine("supervisor");
    let mut agent = spawn(&name, &address);
    eventually("it runs", || (cell.text("step-b") == "up\n").then_some(())).await;
    kill(&supervisor(&name).unwrap());
    eventually("the pod has failed", || (cell.status()["phase"] == "Failed").then_some(())).await;
    assert_eq!(cell.state("step-a")["terminated"]["exitCode"], 137);
    assert!(agent.wait().unwrap().success());
    assert_eq!(traces(&name), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_whose_input_ends_cleans_up_and_leaves() {
    let (host, _jobs) = base::real::host();
    let address = format!("unix:{}", shared().dir.join("leave.sock").display());
    let cell = Cell::new(&host, stubborn());
    cell.serve(&address);
    let name = machine("leave");
    let mut agent = spawn(&name, &address);
    eventually("it runs", || (cell.text("step-b") == "up\n").then_some(())).await;
    drop(agent.stdin.take());
    assert!(agent.wait().unwrap().success());
    assert_eq!(traces(&name), Vec::<String>::new());
}

#[tokio::test]
async fn twenty_pods_at_once_end_and_leave_nothing() {
    let (host, _jobs) = base::real::host();
    let address = format!("unix:{}", shared().dir.join("many.sock").display());
    let spec = json!({"containers": [sh("step-a", "echo a"), sh("step-b", "echo b")]});
    let mut order = order(spec, BTreeMap::new());
    order.network = Network::Nat;
    let cells: Vec<_> = (0..20)
        .map(|n| {
            let (cell, at) = (Cell::new(&host, order.clone()), format!("{address}.{n}"));
            cell.serve(&at);
            (cell, machine(&format!("many-{n}")), at)
        })
        .collect();
    let mut agents: Vec<Child> = cells.iter().map(|(_, name, at)| spawn(name, at)).collect();
    for ((cell, name, _), agent) in cells.iter().zip(&mut agents) {
        eventually("it ends", || agent.try_wait().unwrap()).await;
        assert_eq!(cell.status()["phase"], "Succeeded", "{name}: {}", cell.status());
        assert_eq!((cell.text("step-a"), cell.text("step-b")), ("a\n".into(), "b\n".into()));
        assert_eq!(traces(name), Vec::<String>::new());
    }
}
