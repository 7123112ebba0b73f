use serde_json::{Value, json};

use super::*;

fn members() -> Members {
    let pod: Pod = serde_json::from_value(json!({
        "spec": {
            "initContainers": [
                {"name": "first"},
                {"name": "proxy", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "a", "image": "busybox"}, {"name": "b"}],
        },
    }))
    .unwrap();
    Members::of(&pod, &["prepare".into()], 1_700_000_000_000_000)
}

fn end(code: i32) -> State {
    let reason = if code == 0 { "Completed" } else { "Error" };
    State::Terminated(End { code, reason, message: "m".into(), started: 1, finished: 2 })
}

fn set(members: &mut Members, name: &str, state: State) {
    members.get_mut(name).unwrap().state = state;
}

fn phase(members: &Members) -> String {
    members.status().phase.unwrap()
}

#[test]
fn phases_follow_the_containers() {
    let mut members = members();
    assert_eq!(phase(&members), "Pending");
    set(&mut members, "first", end(0));
    set(&mut members, "proxy", State::Running(5));
    assert_eq!(phase(&members), "Pending");
    set(&mut members, "a", State::Running(5));
    assert_eq!(phase(&members), "Running");
    set(&mut members, "a", end(0));
    set(&mut members, "b", end(3));
    assert!(members.mains_ended() && !members.ended());
    assert_eq!(phase(&members), "Running");
    set(&mut members, "proxy", end(143));
    assert!(members.ended());
    assert_eq!(phase(&members), "Failed");
    set(&mut members, "b", end(0));
    assert_eq!(phase(&members), "Succeeded");
}

#[test]
fn a_failed_init_container_ends_the_pod() {
    let mut members = members();
    set(&mut members, "first", end(1));
    assert!(members.ended());
    assert_eq!(phase(&members), "Failed");
}

#[test]
fn a_stopped_pod_that_never_began_has_failed() {
    let mut members = members();
    members.stopped = true;
    assert!(members.ended());
    assert_eq!(phase(&members), "Failed");
}

#[test]
fn statuses_have_the_form_of_a_kubelets() {
    let mut members = members();
    set(&mut members, "a", end(3));
    let a = members.get_mut("a").unwrap();
    a.image_id = "docker.io/library/busybox@sha256:00".into();
    let status: Value = serde_json::to_value(members.status()).unwrap();
    let a = &status["containerStatuses"][0];
    assert_eq!(a["imageID"], "docker.io/library/busybox@sha256:00");
    assert_eq!(a["state"]["terminated"]["exitCode"], 3);
    assert_eq!(a["state"]["terminated"]["message"], "m");
    assert_eq!(status["containerStatuses"][1]["state"]["waiting"]["reason"], "PodInitializing");
    let inits: Vec<_> =
        status["initContainerStatuses"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(inits, ["prepare", "first", "proxy"]);
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
}
