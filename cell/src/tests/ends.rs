//! Runs that end as they should, and what that costs.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use protocol::message::{Desired, StartAnswer};
use protocol::order::Volume;
use serde_json::json;
use store::backend::Table;
use store::cell::TIMINGS;

use super::rig::{Rig, TENANT, one_step, reason, status};

#[tokio::test]
async fn a_one_step_taskrun_ends_within_its_budget_of_commits() {
    let rig = Rig::new();
    let key = rig.submit(one_step("one")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    assert_eq!(order.done_by_agent, ["prepare", "place-scripts"]);
    assert_eq!(agent.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Go);
    let before_first_byte = rig.store.commits.load(Ordering::Relaxed);
    agent.report(&order.attempt, status(&order, "running", 0), false).await;
    let line = "2030-01-01T00:00:00.000000000Z stdout F hello\n";
    assert_eq!(agent.log(&order.attempt, "step-a", 0, line).await, line.len() as u64);
    rig.until(&key, |run| reason_is(run, "Running")).await;
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    let run = rig.until_ended(&key).await;
    assert_eq!(reason(&run), "Succeeded");
    rig.until_quiet().await;
    let names = rig.store.names.lock().unwrap().clone();
    let commits = rig.store.commits.load(Ordering::Relaxed);
    assert!(before_first_byte <= 5, "{before_first_byte} commits before the first byte: {names:?}");
    assert!(commits <= 12, "{commits} commits: {names:?}");
    assert!(!rig.provider.is_running(&agent.spec.id));
    assert_eq!(rig.log(&order.attempt, "step-a").await, (StatusCode::OK, line.to_owned()));
    let timings: serde_json::Value =
        serde_json::from_str(run["metadata"]["annotations"][TIMINGS].as_str().unwrap()).unwrap();
    for instant in ["queued", "placed", "booted", "pulled", "gate", "first_step", "done"] {
        assert!(timings[instant].is_i64(), "no {instant} in {timings}");
    }
    let events = rig.scan(Table::Object, &format!("{TENANT}/events")).await;
    assert!((2..=6).contains(&events.len()), "{} events", events.len());
}

fn reason_is(run: &serde_json::Value, wanted: &str) -> bool {
    run["status"]["conditions"].is_array() && reason(run) == wanted
}

#[tokio::test]
async fn many_runs_at_once_all_end() {
    let rig = Rig::new();
    let mut keys = Vec::new();
    for index in 0..40 {
        keys.push(rig.submit(one_step(&format!("run-{index}"))).await);
    }
    for _ in 0..40 {
        rig.agent().await.run().await;
    }
    for key in &keys {
        assert_eq!(reason(&rig.until_ended(key).await), "Succeeded");
    }
    rig.until_quiet().await;
}

#[tokio::test]
async fn runs_end_on_the_store_of_a_laptop_too() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::on_disk(folder.path());
    let mut keys = Vec::new();
    for index in 0..8 {
        keys.push(rig.submit(one_step(&format!("run-{index}"))).await);
    }
    for _ in 0..8 {
        rig.agent().await.run().await;
    }
    for key in &keys {
        assert_eq!(reason(&rig.until_ended(key).await), "Succeeded");
    }
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_cancelled_run_stops_its_agent_and_its_pod_goes_when_the_agent_has_ended() {
    let rig = Rig::new();
    let key = rig.submit(one_step("cancelled")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    agent.start(&order.attempt, status(&order, "waiting", 0)).await;
    let seen = agent.report(&order.attempt, status(&order, "running", 0), false).await;
    assert_eq!(seen.stop, None);
    let waiting = {
        let (agent, attempt) = (agent.clone(), order.attempt.clone());
        async move { agent.watch(&attempt, seen).await }
    };
    let cancel = rig.edit(&key, &key, |run| run["spec"]["status"] = json!("TaskRunCancelled"));
    let (mut desired, ()) = futures_util::future::join(waiting, cancel).await;
    while desired.stop.is_none() {
        desired = agent.watch(&order.attempt, desired).await;
    }
    assert_eq!(desired.stop.as_ref().map(|stop| stop.reason.as_str()), Some("cancelled"));
    assert_eq!(reason(&rig.until_ended(&key).await), "TaskRunCancelled");
    assert_eq!(rig.pods().await.len(), 1, "the pod stays while its containers do");
    agent.report(&order.attempt, status(&order, "terminated", 143), true).await;
    rig.until_quiet().await;
    assert!(rig.pods().await.is_empty());
}

#[tokio::test]
async fn a_run_cancelled_before_the_gate_never_starts() {
    let rig = Rig::new();
    let key = rig.submit(one_step("early")).await;
    let agent = rig.agent().await;
    let order = agent.order().await;
    rig.edit(&key, &key, |run| run["spec"]["status"] = json!("TaskRunCancelled")).await;
    assert_eq!(agent.start(&order.attempt, status(&order, "waiting", 0)).await, StartAnswer::Revoked);
    assert_eq!(reason(&rig.until_ended(&key).await), "TaskRunCancelled");
    rig.until_quiet().await;
    assert!(rig.pods().await.is_empty());
}

#[tokio::test]
async fn contents_of_config_maps_and_secrets_reach_the_order_and_secrets_stay_apart() {
    let rig = Rig::new();
    rig.submit(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"k": "v"}}),
    )
    .await;
    rig.submit(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec"}, "data": {"p": "aHVudGVy"}}),
    )
    .await;
    let mut run = one_step("contents");
    let task = &mut run["spec"]["taskSpec"];
    task["steps"][0]["env"] = json!([
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "k"}}},
        {"name": "B", "value": "$(A)-$(P)"},
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "p"}}},
    ]);
    task["steps"][0]["volumeMounts"] = json!([{"name": "c", "mountPath": "/c"}]);
    task["volumes"] = json!([{"name": "c", "configMap": {"name": "conf"}}]);
    rig.submit(run).await;
    let agent = rig.agent().await;
    let order = agent.order().await;
    let step = &order.pod.spec.as_ref().unwrap().containers[0];
    let env = serde_json::to_value(&step.env).unwrap();
    assert_eq!(env, json!([{"name": "A", "value": "v"}, {"name": "B", "value": "v-$(P)"}]));
    assert_eq!(order.secret_env["step-a"]["P"], "hunter");
    assert!(
        matches!(&order.volumes["c"], Volume::Files { files, secret: false } if files[0].content == "dg==")
    );
    assert!(
        matches!(&order.volumes["tekton-internal-scripts"], Volume::Files { files, .. } if files[0].mode == 0o755)
    );
    assert!(matches!(order.volumes["tekton-internal-bin"], Volume::Entrypoint));
    assert!(!serde_json::to_string(&order.pod).unwrap().contains("hunter"));
}

#[tokio::test]
async fn a_missing_config_map_fails_the_run_in_the_words_of_a_kubelet() {
    let rig = Rig::new();
    let mut run = one_step("missing");
    run["spec"]["taskSpec"]["steps"][0]["envFrom"] = json!([{"configMapRef": {"name": "nope"}}]);
    let key = rig.submit(run).await;
    let agent = rig.agent().await;
    let (_, ended) = futures_util::future::join(agent.hello(), rig.until_ended(&key)).await;
    assert_eq!(reason(&ended), "CreateContainerConfigError");
    let why = ended["status"]["steps"][0]["waiting"]["message"].as_str().unwrap();
    assert!(why.contains("configmap \"nope\" not found"), "{why}");
    rig.until_quiet().await;
}

#[tokio::test]
async fn sidecars_are_to_stop_when_all_steps_have_ended() {
    let rig = Rig::new();
    let mut run = one_step("sidecar");
    run["spec"]["taskSpec"]["sidecars"] = json!([{"name": "s", "image": "busybox", "script": "sleep 100"}]);
    let key = rig.submit(run).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    agent.start(&order.attempt, status(&order, "waiting", 0)).await;
    // The steps wait for this annotation, which says that the sidecar is ready.
    let mut seen = agent.report(&order.attempt, status(&order, "running", 0), false).await;
    while !seen.annotations.contains_key("tekton.dev/ready") {
        seen = agent.watch(&order.attempt, seen).await;
    }
    let mut half = status(&order, "running", 0);
    for container in half["containerStatuses"].as_array_mut().unwrap() {
        if container["name"] == "step-a" {
            *container = status(&order, "terminated", 0)["containerStatuses"][0].clone();
            container["name"] = json!("step-a");
        }
    }
    let seen = agent.report(&order.attempt, half, false).await;
    assert!(seen.stop_sidecars);
    assert_ne!(seen, Desired::default());
    rig.until_ended(&key).await;
    agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    rig.until_quiet().await;
}

#[tokio::test]
async fn a_follower_that_comes_before_the_first_byte_gets_every_byte_and_the_end() {
    let rig = Rig::new();
    rig.submit(one_step("followed")).await;
    let mut agent = rig.agent().await;
    let order = agent.order().await;
    let play = async {
        agent.start(&order.attempt, status(&order, "waiting", 0)).await;
        agent.report(&order.attempt, status(&order, "running", 0), false).await;
        let next = agent.log(&order.attempt, "step-a", 0, "one\n").await;
        agent.log(&order.attempt, "step-a", next, "two\n").await;
        agent.report(&order.attempt, status(&order, "terminated", 0), true).await;
    };
    let ((code, text), ()) = futures_util::future::join(rig.log(&order.attempt, "step-a"), play).await;
    assert_eq!((code, text.as_str()), (StatusCode::OK, "one\ntwo\n"));
    rig.until_quiet().await;
    assert_eq!(rig.log(&order.attempt, "step-a").await.1, "one\ntwo\n", "it is kept");
    assert_eq!(rig.log("nobody", "step-a").await.0, StatusCode::NOT_FOUND);
}
