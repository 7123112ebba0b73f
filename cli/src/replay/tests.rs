use serde_json::json;

use super::*;

fn snapshot() -> Value {
    json!({
        "format": FORMAT,
        "nowUs": 1_893_456_000_000_000_i64,
        "run": {
            "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
            "metadata": {"name": "one", "namespace": "default", "uid": "u", "creationTimestamp": "2030-01-01T00:00:00Z"},
            "spec": {"timeout": "1h0m0s", "serviceAccountName": "default",
                "taskSpec": {"steps": [{"name": "a", "image": "busybox", "script": "true"}]}},
        },
        "owned": [], "objects": [], "limitRanges": [], "images": [], "lost": [],
        "featureFlags": {}, "configDefaults": {}, "otherSettings": {},
    })
}

fn replayed(snapshot: Value) -> Result<Value> {
    run(&serde_json::from_value(snapshot).unwrap())
}

#[test]
fn a_snapshot_gives_the_same_decision_every_time_and_says_what_is_missing_in_it() {
    let mut full = snapshot();
    let error = replayed(full.clone()).unwrap_err().to_string();
    assert!(error.contains("does not hold"), "{error}");
    full["objects"] =
        json!([{"kind": "ServiceAccount", "namespace": "default", "name": "default", "object": null}]);
    let decided = replayed(full.clone()).unwrap();
    assert_eq!(decided["creates"][0]["kind"], "Pod");
    assert_eq!(replayed(full.clone()).unwrap(), decided);
    full["format"] = json!(FORMAT + 1);
    assert!(replayed(full).unwrap_err().to_string().contains("form"));
}

#[test]
fn a_lost_machine_ends_the_run_in_the_replay_as_in_the_cell() {
    let attempt = json!({
        "id": "p", "cell": "here", "namespace": "default", "run": "one", "run_uid": "u", "retry": 0, "ordinal": 0,
        "pod": "one-pod", "machine": "m", "phase": "lost", "epoch": 1, "cause": "machine", "why": "it was switched off",
    });
    let lost = lost(&json!([attempt])).unwrap();
    assert_eq!((lost[0].0.as_str(), lost[0].1.as_str()), ("p", MACHINE_LOST));
    let mut snapshot = snapshot();
    snapshot["lost"] = json!(lost);
    snapshot["owned"] = json!([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one-pod", "namespace": "default", "uid": "p"}}]);
    snapshot["run"]["status"] = json!({"startTime": "2030-01-01T00:00:00Z", "podName": "one-pod",
        "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}]});
    let decided = replayed(snapshot).unwrap();
    assert_eq!(decided["status"]["conditions"][0]["reason"], MACHINE_LOST);
}
