//! Why a Pod failed, and why it does not start yet.

use serde_json::Value;

use super::containers;
use crate::engine::condition::Truth;
use crate::engine::doc::{list, text};
use crate::engine::termination::{self, Entry, Kind};

/// Reason and message of a failed Pod; `None` when it did not fail.
pub fn of(pod: &Value) -> Option<(&'static str, String)> {
    let status = &pod["status"];
    if !did_fail(pod) {
        return None;
    }
    Some((reason(pod), message(status, pod)))
}

fn terminated(container: &Value) -> Option<&Value> {
    Some(&container["state"]["terminated"]).filter(|t| !t.is_null())
}

fn failed(container: &Value) -> bool {
    terminated(container).is_some_and(|t| t["exitCode"].as_i64().unwrap_or(0) != 0)
}

fn out_of_memory(container: &Value) -> bool {
    terminated(container).is_some_and(|t| text(t, "reason") == "OOMKilled")
}

fn did_fail(pod: &Value) -> bool {
    text(&pod["status"], "phase") == "Failed"
        || containers(pod, "step-").any(|c| failed(c) || out_of_memory(c))
}

fn reason(pod: &Value) -> &'static str {
    let status = &pod["status"];
    let init = list(status, "initContainerStatuses");
    let is_sidecar = |c: &&Value| text(c, "name").starts_with("sidecar-");
    if text(status, "reason") == "Evicted" {
        "PodEvicted"
    } else if init.iter().filter(|c| !is_sidecar(c)).any(out_of_memory) {
        "InitContainerOOM"
    } else if init.iter().filter(is_sidecar).any(failed) {
        "SidecarFailed"
    } else if init.iter().any(failed) {
        "InitContainerFailed"
    } else if containers(pod, "sidecar-").any(out_of_memory) {
        "SidecarOOM"
    } else if containers(pod, "step-").any(out_of_memory) {
        "StepOOM"
    } else if containers(pod, "sidecar-").any(failed) {
        "SidecarFailed"
    } else if containers(pod, "step-").any(failed) {
        "StepFailed"
    } else {
        "Failed"
    }
}

fn message(status: &Value, pod: &Value) -> String {
    if text(status, "reason") == "Evicted" {
        return text(status, "message").to_owned();
    }
    if let Some(why) = list(status, "initContainerStatuses").iter().find_map(why) {
        return format!("init container failed, {why}");
    }
    if let Some(why) = list(status, "containerStatuses").iter().find_map(why) {
        return why;
    }
    match text(status, "message") {
        "" if containers(pod, "step-").any(out_of_memory) => "OOMKilled".into(),
        "" => "build failed for unspecified reasons.".into(),
        message => message.to_owned(),
    }
}

/// What a container that failed says of it.
fn why(container: &Value) -> Option<String> {
    let ended = terminated(container)?;
    let (name, code) = (text(container, "name"), ended["exitCode"].as_i64().unwrap_or(0));
    let told = termination::parse(text(ended, "message")).unwrap_or_default();
    let too_long = |e: &Entry| e.kind == Kind::Internal && e.key == "Reason" && e.value == "TimeoutExceeded";
    if told.iter().any(too_long) {
        return Some(format!("{name:?} exited because the step exceeded the specified timeout limit"));
    }
    match text(ended, "reason") {
        _ if code == 0 => None,
        "" => Some(format!("{name:?} exited with code {code}")),
        reason => Some(format!("{name:?} exited with code {code}: {reason}")),
    }
}

/// Whether no machine has room for the Pod.
pub fn exceeds_nodes(pod: &Value) -> bool {
    list(&pod["status"], "conditions")
        .iter()
        .any(|c| text(c, "reason") == "Unschedulable" && text(c, "message").contains("Insufficient"))
}

/// What keeps an image from being pulled, in a kubelet's words.
const UNPULLABLE: [&str; 6] = [
    "ImagePullBackOff",
    "ImageInspectError",
    "ErrImagePull",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "InvalidImageName",
];

/// What a Pod that is still pending means: the condition's status, reason and message. A container that could not
/// be created in time is still waited for when there is hope.
pub fn pending(pod: &Value, hopeful: bool) -> (Truth, &'static str, String) {
    let status = &pod["status"];
    let waiting = |container: &Value| container["state"]["waiting"].clone();
    let misconfigured = |container: &Value| {
        let waiting = waiting(container);
        let late = hopeful && text(&waiting, "message").contains("context deadline exceeded");
        text(&waiting, "reason") == "CreateContainerConfigError" && !late
    };
    let unmade = |container: &Value| {
        misconfigured(container)
            && text(&waiting(container), "message")
                .contains("failed to create subPath directory for volumeMount")
    };
    let all = || list(status, "initContainerStatuses").iter().chain(list(status, "containerStatuses"));
    let own = list(status, "containerStatuses");
    if exceeds_nodes(pod) {
        let message = "TaskRun Pod exceeded available resources";
        (Truth::Unknown, "ExceededNodeResources", message.into())
    } else if own.iter().any(unmade) {
        let message = "Waiting for subPath directory creation to complete";
        (Truth::Unknown, "Pending", message.into())
    } else if own.iter().any(misconfigured) {
        let message = "Failed to create pod due to config error";
        (Truth::False, "CreateContainerConfigError", message.into())
    } else if all().any(|c| UNPULLABLE.contains(&text(&waiting(c), "reason"))) {
        (Truth::Unknown, "PullImageFailed", waits_for(pod))
    } else {
        (Truth::Unknown, "Pending", waits_for(pod))
    }
}

fn waits_for(pod: &Value) -> String {
    let status = &pod["status"];
    for container in list(status, "containerStatuses") {
        let why = text(&container["state"]["waiting"], "message");
        if !why.is_empty() {
            return format!("build step {:?} is pending with reason {why:?}", text(container, "name"));
        }
    }
    if let Some(unmet) = list(status, "conditions").iter().find(|c| text(c, "status") != "True") {
        let (kind, truth, message) = (text(unmet, "type"), text(unmet, "status"), text(unmet, "message"));
        return format!("pod status {kind:?}:{truth:?}; message: {message:?}");
    }
    match text(status, "message") {
        "" => "Pending".into(),
        message => message.to_owned(),
    }
}
