//! Why a Pod failed, and why it does not start yet.

use serde_json::Value;

use super::containers;
use crate::engine::doc::{list, text};
use crate::engine::termination;

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
    for container in list(status, "initContainerStatuses").iter().chain(list(status, "containerStatuses")) {
        if !failed(container) && !out_of_memory(container) {
            continue;
        }
        let Some(t) = terminated(container) else { continue };
        let (name, code) = (text(container, "name"), t["exitCode"].as_i64().unwrap_or(0));
        let told = termination::parse(text(t, "message")).unwrap_or_default();
        if told.iter().any(|e| e.key == "Reason" && e.value == "TimeoutExceeded") {
            let step = name.trim_start_matches("step-");
            return format!(
                "{:?} exited because the step exceeded the specified timeout limit",
                format!("step-{step}")
            );
        }
        return match text(t, "reason") {
            "" => format!("{name:?} exited with code {code}"),
            "OOMKilled" => format!("{name:?} exited with code {code}: OOMKilled"),
            reason => format!("{name:?} exited with code {code}: {reason}"),
        };
    }
    match text(&pod["status"], "message") {
        "" => "build failed for unspecified reasons.".into(),
        message => message.to_owned(),
    }
}

/// Reason and message of a Pod that is still pending.
pub fn pending(pod: &Value) -> (String, String) {
    let unschedulable = list(&pod["status"], "conditions").iter().any(|c| {
        text(c, "type") == "PodScheduled"
            && text(c, "reason") == "Unschedulable"
            && text(c, "status") == "False"
    });
    if unschedulable {
        let message = "TaskRun Pod exceeded available resources".to_owned();
        return ("ExceededNodeResources".into(), message);
    }
    let all = || {
        list(&pod["status"], "initContainerStatuses").iter().chain(list(&pod["status"], "containerStatuses"))
    };
    for container in all() {
        let waiting = &container["state"]["waiting"];
        let (name, why) = (text(container, "name"), text(waiting, "message"));
        match text(waiting, "reason") {
            "CreateContainerConfigError" => {
                return (
                    "CreateContainerConfigError".into(),
                    "Failed to create pod due to config error".into(),
                );
            }
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" => {
                return (
                    "PullImageFailed".into(),
                    format!("build step {name:?} is pending with reason {why:?}"),
                );
            }
            _ => {}
        }
        if !why.is_empty() {
            return ("Pending".into(), format!("build step {name:?} is pending with reason {why:?}"));
        }
    }
    for condition in list(&pod["status"], "conditions") {
        if text(condition, "status") != "True" && !text(condition, "message").is_empty() {
            let (kind, message) = (text(condition, "type"), text(condition, "message"));
            return (
                "Pending".into(),
                format!("pod status {:?}:{:?}; message: {message:?}", kind, text(condition, "status")),
            );
        }
    }
    match text(&pod["status"], "message") {
        "" => ("Pending".into(), "Pending".into()),
        message => ("Pending".into(), message.to_owned()),
    }
}
