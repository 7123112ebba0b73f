//! PipelineRuns: children inherit their placement, and the parent looks when a child has ended.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use store::backend::Backend;
use store::cell::{EPOCH, TRACEPARENT};
use store::object::ObjectKey;

use super::rig::{CELL, Rig, TENANT, reason};

fn task(name: &str, after: &[&str]) -> Value {
    let steps = json!([{"name": "a", "image": "busybox", "script": "true"}]);
    json!({"name": name, "runAfter": after, "taskSpec": {"steps": steps}})
}

fn chain(name: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name},
        "spec": {"pipelineSpec": {"tasks": [task("one", &[]), task("two", &["one"]), task("three", &["two"])]}},
    })
}

fn child(run: &ObjectKey, task: &str) -> ObjectKey {
    ObjectKey { kind: "taskruns.tekton.dev".into(), name: format!("{}-{task}", run.name), ..run.clone() }
}

#[tokio::test]
async fn a_chain_of_three_tasks_runs_in_order_with_few_commits() {
    let rig = Rig::new();
    let key = rig.submit(chain("chain")).await;
    for task in ["one", "two", "three"] {
        let mut agent = rig.agent().await;
        let order = agent.order().await;
        assert_eq!(order.pod.metadata.name.as_deref(), Some(format!("chain-{task}-pod").as_str()));
        agent.run().await;
        let run = rig.until_ended(&child(&key, task)).await;
        let annotations = &run["metadata"]["annotations"];
        assert_eq!((&annotations[store::cell::CELL], &annotations[EPOCH]), (&json!(CELL), &json!("1")));
        assert!(annotations[TRACEPARENT].is_string());
        assert_eq!(run["metadata"]["generation"], 1);
    }
    let run = rig.until_ended(&key).await;
    assert_eq!(reason(&run), "Succeeded");
    rig.until_quiet().await;
    let names = rig.store.names.lock().unwrap().clone();
    let commits = rig.store.commits.load(Ordering::Relaxed);
    // Three TaskRuns of at most 11 (nobody submits them), the submit, the first pass, and one per ended child.
    assert!(commits <= 3 * 11 + 5, "{commits} commits: {names:?}");
}

#[tokio::test]
async fn cancelling_a_pipeline_run_cancels_its_child_and_stops_the_agent() {
    let rig = Rig::new();
    let key = rig.submit(chain("cancelled")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    agent.start(&order.attempt, super::rig::status(&order, "waiting", 0)).await;
    let mut seen = agent.report(&order.attempt, super::rig::status(&order, "running", 0), false).await;
    rig.edit(&key, &key, |run| run["spec"]["status"] = json!("Cancelled")).await;
    while seen.stop.is_none() {
        seen = agent.watch(&order.attempt, seen).await;
    }
    agent.report(&order.attempt, super::rig::status(&order, "terminated", 143), true).await;
    assert_eq!(reason(&rig.until_ended(&key).await), "Cancelled");
    let child = rig.until_ended(&child(&key, "one")).await;
    assert_eq!(reason(&child), "TaskRunCancelled");
    assert_eq!(child["metadata"]["generation"], 2);
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_fan_out_runs_at_once() {
    let rig = Rig::new();
    let tasks: Vec<Value> = (0..10).map(|i| task(&format!("t{i}"), &[])).collect();
    let mut run = chain("fan");
    run["spec"]["pipelineSpec"]["tasks"] = json!(tasks);
    let key = rig.submit(run).await;
    let mut agents = Vec::new();
    for _ in 0..10 {
        agents.push(rig.agent().await);
    }
    for agent in &mut agents {
        agent.run().await;
    }
    assert_eq!(reason(&rig.until_ended(&key).await), "Succeeded");
    rig.until_quiet().await;
}

#[tokio::test]
async fn deleting_a_pipeline_run_in_the_foreground_waits_for_all_that_it_owns() {
    let rig = Rig::new();
    let key = rig.submit(chain("owner")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    agent.start(&order.attempt, super::rig::status(&order, "waiting", 0)).await;
    let mut seen = agent.report(&order.attempt, super::rig::status(&order, "running", 0), false).await;
    rig.edit(&key, &key, |run| {
        run["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        run["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    })
    .await;
    while seen.stop.is_none() {
        seen = agent.watch(&order.attempt, seen).await;
    }
    agent.report(&order.attempt, super::rig::status(&order, "terminated", 143), true).await;
    rig.until_quiet().await;
    assert!(rig.get(&key).await.is_none());
    assert!(rig.get(&child(&key, "one")).await.is_none());
    assert!(rig.pods().await.is_empty());
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_and_goes() {
    let rig = Rig::new();
    let namespace = ObjectKey {
        tenant: TENANT.into(),
        kind: "namespaces".into(),
        namespace: String::new(),
        name: "default".into(),
    };
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "default", "uid": "n", "deletionTimestamp": "2030-01-01T00:00:00Z"}});
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}});
    let config = rig.submit(config).await;
    let run = rig.submit(super::rig::one_step("one")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    agent.start(&order.attempt, super::rig::status(&order, "waiting", 0)).await;
    let mut seen = agent.report(&order.attempt, super::rig::status(&order, "running", 0), false).await;
    let put = store::object::put(&namespace, store::backend::Pre::Absent, &object, None);
    rig.write(vec![put, store::records::due::put(CELL, &namespace, 0)]).await;
    while seen.stop.is_none() {
        seen = agent.watch(&order.attempt, seen).await;
    }
    agent.report(&order.attempt, super::rig::status(&order, "terminated", 143), true).await;
    rig.until_quiet().await;
    for key in [&namespace, &config, &run] {
        assert!(rig.get(key).await.is_none(), "{} is still there", key.name);
    }
}

/// What a run counts for its tenant's limit, it gives back once: when it has ended. What it runs counts nothing.
#[tokio::test]
async fn a_run_that_is_counted_gives_its_place_back_when_it_ends() {
    let rig = Rig::new();
    let counter = store::quota::counter(TENANT);
    let add = store::backend::Op::Add { counter: counter.clone(), delta: 2, max: None };
    rig.write(vec![add]).await;
    let mut run = chain("counted");
    run["metadata"]["annotations"] = json!({store::quota::COUNTED: "true"});
    let key = rig.submit(run).await;
    for task in ["one", "two", "three"] {
        assert_eq!(rig.store.counter(&counter).await, Ok(2));
        rig.agent().await.run().await;
        let child = rig.until_ended(&child(&key, task)).await;
        assert!(child["metadata"]["annotations"][store::quota::COUNTED].is_null());
    }
    let run = rig.until_ended(&key).await;
    assert!(run["metadata"]["annotations"][store::quota::COUNTED].is_null());
    rig.until_quiet().await;
    assert_eq!(rig.store.counter(&counter).await, Ok(1));
}
