//! What goes well.

use std::collections::BTreeMap;

use agent::Outcome;
use protocol::message::{StartAnswer, Stop};
use protocol::order::{File, Volume};
use serde_json::json;

use crate::cell::{Cell, order, pod, sh};
use crate::host::{config, eventually, machine};

#[tokio::test]
async fn a_pod_runs_and_is_reported_to_its_end() {
    let script = "echo hello; echo oops >&2; printf open; printf result > /dev/termination-log";
    let (cell, outcome) =
        pod("life", order(json!({"containers": [sh("step-a", script)]}), BTreeMap::new())).await;
    assert_eq!(outcome, Outcome::Reported, "{}", cell.status());
    let mut lines: Vec<_> = cell.text("step-a").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["hello", "oops", "open"]);
    let state = cell.state("step-a");
    assert_eq!(state["terminated"]["exitCode"], 0, "{state}");
    assert_eq!(state["terminated"]["reason"], "Completed");
    assert_eq!(state["terminated"]["message"], "result");
    assert_eq!(cell.status()["phase"], "Succeeded");
    let image = cell.status()["containerStatuses"][0]["imageID"].as_str().unwrap().to_owned();
    assert!(image.starts_with("docker.io/library/busybox@sha256:"), "{image}");
    let told = cell.told.lock().unwrap();
    assert!(told.reports.last().unwrap().last && told.reports.len() <= 2, "{}", told.reports.len());
    for timing in ["booted", "pulled", "created", "gate", "first_step", "done"] {
        assert!(told.reports.last().unwrap().timings.contains_key(timing), "{timing}");
    }
}
