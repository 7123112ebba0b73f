use std::collections::BTreeMap;

use super::*;

fn config(sink: &str) -> TenantConfig {
    let data = BTreeMap::from([("sink".to_owned(), sink.to_owned())]);
    let others = BTreeMap::from([("config-events".to_owned(), data)]);
    TenantConfig { others, ..TenantConfig::default() }
}

fn status(truth: &str, reason: &str) -> Value {
    json!({"conditions": [{"type": "Succeeded", "status": truth, "reason": reason}]})
}

fn run(kind: &str, status: &Value) -> Value {
    let version = if kind == "CustomRun" { "tekton.dev/v1beta1" } else { "tekton.dev/v1" };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "r", "namespace": "ns", "uid": "u"}, "status": status})
}

#[test]
fn the_type_is_that_of_the_condition() {
    for (kind, truth, reason, word) in [
        ("TaskRun", "Unknown", "Started", "taskrun.started"),
        ("TaskRun", "Unknown", "Running", "taskrun.running"),
        ("TaskRun", "Unknown", "Pending", "taskrun.unknown"),
        ("TaskRun", "False", "StepFailed", "taskrun.failed"),
        ("PipelineRun", "True", "Completed", "pipelinerun.successful"),
        ("CustomRun", "Unknown", "Whatever", "customrun.running"),
        ("CustomRun", "False", "Whatever", "customrun.failed"),
    ] {
        let event = of(&run(kind, &status(truth, reason)), "http://sink").unwrap();
        assert_eq!(event.kind, format!("dev.tekton.event.{word}.v1"));
    }
    assert_eq!(of(&run("TaskRun", &Value::Null), "s").unwrap().kind, "dev.tekton.event.taskrun.queued.v1");
    assert_eq!(
        of(&run("CustomRun", &Value::Null), "s").unwrap().kind,
        "dev.tekton.event.customrun.started.v1"
    );
    let event = of(&run("TaskRun", &status("True", "Succeeded")), "http://sink").unwrap();
    assert_eq!(event.source, "/apis/tekton.dev/v1/namespaces/ns/TaskRun/r");
    assert_eq!((event.subject.as_str(), event.sink.as_str()), ("r", "http://sink"));
    assert_eq!(event.data["taskRun"]["metadata"]["uid"], "u");
}

#[test]
fn a_first_look_tells_all_that_has_happened() {
    let kinds = |events: Vec<CloudEvent>| -> Vec<String> {
        let words = events.iter().map(|e| e.kind.trim_start_matches("dev.tekton.event.taskrun.").to_owned());
        words.collect()
    };
    let (started, running) = (status("Unknown", "Started"), status("Unknown", "Running"));
    let fresh = run("TaskRun", &Value::Null);
    let events = between(&fresh, Some(&started), &running, &config("http://sink"));
    assert_eq!(kinds(events), ["queued.v1", "started.v1", "running.v1"]);
    let known = run("TaskRun", &running);
    assert!(between(&known, None, &running, &config("http://sink")).is_empty(), "nothing has changed");
    assert_eq!(
        kinds(between(&known, None, &status("True", "Succeeded"), &config(" http://sink "))),
        ["successful.v1"]
    );
    assert!(between(&fresh, None, &running, &TenantConfig::default()).is_empty(), "there is no sink");
}

#[test]
fn the_older_setting_counts_where_the_newer_says_nothing() {
    let mut config = config("");
    config.config_defaults.insert("default-cloud-events-sink".into(), "http://old".into());
    assert_eq!(sink(&config), Some("http://old"));
    let events = config.others.get_mut("config-events").unwrap();
    events.insert("formats".into(), "other".into());
    assert_eq!(sink(&config), None, "in a format that nobody knows, nothing is sent");
}

#[test]
fn the_same_change_has_the_same_id() {
    let of = |status: Value| of(&run("TaskRun", &status), "s").unwrap().id;
    assert_eq!(of(status("True", "Succeeded")), of(status("True", "Succeeded")));
    assert_ne!(of(status("True", "Succeeded")), of(status("False", "Failed")));
}

#[test]
fn a_run_is_told_as_v1beta1_and_named_as_it_is() {
    let mut of_task = run("TaskRun", &status("True", "Succeeded"));
    of_task["spec"] = json!({"taskSpec": {"steps": [{"name": "s", "image": "i", "computeResources": {}}]}});
    of_task["status"]["results"] = json!([{"name": "r", "type": "string", "value": "v"}]);
    let event = of(&of_task, "s").unwrap();
    let told = &event.data["taskRun"];
    assert_eq!(told["apiVersion"], "tekton.dev/v1beta1");
    assert_eq!(told["status"]["taskResults"][0]["value"], "v", "v1beta1 has another name for results");
    assert!(told["status"]["results"].is_null());
    assert!(told["spec"]["taskSpec"]["steps"][0]["resources"].is_object());
    assert_eq!(event.source, "/apis/tekton.dev/v1/namespaces/ns/TaskRun/r");
    let of_pipeline = of(&run("PipelineRun", &status("True", "Succeeded")), "s").unwrap();
    assert_eq!(of_pipeline.data["pipelineRun"]["apiVersion"], "tekton.dev/v1beta1");
    let custom = of(&run("CustomRun", &Value::Null), "s").unwrap();
    assert_eq!(custom.data["customRun"]["apiVersion"], "tekton.dev/v1beta1");
}
