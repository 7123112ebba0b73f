//! Cells of pods.

use serde_json::Value;

use super::NONE;
use crate::meta;
use crate::time::{Micros, human_duration};

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn runs_and_is_ready(status: &Value) -> bool {
    status["ready"] == true && status["state"]["running"].is_object()
}

/// An init container that keeps running beside the others.
fn is_sidecar(pod: &Value, name: &Value) -> bool {
    let found = list(pod, "/spec/initContainers").iter().find(|c| c["name"] == *name);
    found.is_some_and(|c| c["restartPolicy"] == "Always")
}

pub(super) fn ready(pod: &Value) -> String {
    let sidecars =
        list(pod, "/spec/initContainers").iter().filter(|c| c["restartPolicy"] == "Always").count();
    let total = list(pod, "/spec/containers").len() + sidecars;
    let ready = list(pod, "/status/containerStatuses").iter().filter(|s| runs_and_is_ready(s)).count();
    let ready_sidecars = list(pod, "/status/initContainerStatuses")
        .iter()
        .filter(|s| is_sidecar(pod, &s["name"]) && runs_and_is_ready(s))
        .count();
    format!("{}/{total}", ready + ready_sidecars)
}

pub(super) fn status(pod: &Value) -> String {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let phase = text("/status/phase");
    let mut reason =
        if text("/status/reason").is_empty() { phase } else { text("/status/reason") }.to_owned();
    match initialising(pod) {
        Some(found) => reason = found,
        None => {
            if let Some(found) = of_containers(pod, &reason) {
                reason = found;
            }
        }
    }
    if meta::is_deleting(pod) {
        if text("/status/reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !matches!(phase, "Succeeded" | "Failed") {
            return "Terminating".to_owned();
        }
    }
    reason
}

/// What the first init container that is not through says.
fn initialising(pod: &Value) -> Option<String> {
    let total = list(pod, "/spec/initContainers").len();
    for (i, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        let state = &status["state"];
        if state["terminated"]["exitCode"] == 0 {
            continue;
        }
        if is_sidecar(pod, &status["name"]) && status["started"] == true {
            continue;
        }
        if state["terminated"].is_object() {
            return Some(format!("Init:{}", ended(&state["terminated"])));
        }
        return match state["waiting"]["reason"].as_str().unwrap_or("") {
            "" | "PodInitializing" => Some(format!("Init:{i}/{total}")),
            reason => Some(format!("Init:{reason}")),
        };
    }
    None
}

fn ended(terminated: &Value) -> String {
    match (terminated["reason"].as_str().unwrap_or(""), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// What the containers say; the first one has the last word.
fn of_containers(pod: &Value, reason: &str) -> Option<String> {
    let mut found: Option<String> = None;
    let mut has_running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        let state = &status["state"];
        let waiting = state["waiting"]["reason"].as_str().unwrap_or("");
        if !waiting.is_empty() {
            found = Some(waiting.to_owned());
        } else if state["terminated"].is_object() {
            found = Some(ended(&state["terminated"]));
        } else if runs_and_is_ready(status) {
            has_running = true;
        }
    }
    if found.as_deref().unwrap_or(reason) == "Completed" && has_running {
        let ready =
            list(pod, "/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        found = Some(if ready { "Running" } else { "NotReady" }.to_owned());
    }
    found
}

pub(super) fn restarts(pod: &Value, now: Micros) -> String {
    let (mut count, mut last) = (0, None);
    for status in list(pod, "/status/containerStatuses") {
        count += status["restartCount"].as_i64().unwrap_or(0);
        let ended = status.pointer("/lastState/terminated/finishedAt").and_then(Value::as_str);
        last = last.max(ended.and_then(Micros::parse));
    }
    match last {
        Some(time) if count > 0 => format!("{count} ({} ago)", human_duration(now.0 - time.0)),
        _ => count.to_string(),
    }
}

pub(super) fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let conditions = list(pod, "/status/conditions");
    let met = |gate: &&Value| {
        conditions.iter().any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(met).count(), gates.len())
}
