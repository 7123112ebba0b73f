//! What the cell wants of an attempt, read off the store.

use apimachinery::meta;
use protocol::message::{Desired, Stop};
use serde_json::Value;
use store::cell::session::{Session, grace_ms};
use store::records::attempt::Phase;
use store::records::machine;

/// What is wanted of `attempt`, which `nonce` runs. `status` is newer than the one in the store, if given.
pub(super) fn of(session: &Session, attempt: &str, nonce: &str, status: Option<&Value>) -> Desired {
    let Some((claimed, _)) = session.claimed(attempt, nonce) else { return stop("revoked", 0) };
    match claimed.phase {
        Phase::Claimed | Phase::Started => {}
        Phase::Done => return Desired::default(),
        Phase::Free | Phase::Revoked | Phase::Lost => return stop("revoked", 0),
    }
    if session.machine.phase == machine::Phase::Burnt {
        return stop("revoked", 0);
    }
    let Some(pod) = &session.pod else { return stop("deleted", 0) };
    let mut desired = Desired {
        annotations: super::shown_annotations(&pod.value),
        stop_sidecars: steps_ended(status.unwrap_or(&pod.value["status"])),
        stop: None,
    };
    if meta::is_deleting(&pod.value) {
        let stop = Stop { reason: why(session).into(), grace_ms: grace_ms(&pod.value) };
        desired.stop = Some(stop);
    }
    desired
}

fn stop(reason: &str, grace_ms: u64) -> Desired {
    Desired { stop: Some(Stop { reason: reason.into(), grace_ms }), ..Desired::default() }
}

fn why(session: &Session) -> &'static str {
    let Some(run) = &session.run else { return "deleted" };
    let conditions = run.value["status"]["conditions"].as_array().into_iter().flatten();
    let reason = conditions.filter(|c| c["type"] == "Succeeded").find_map(|c| c["reason"].as_str());
    match reason {
        Some("TaskRunCancelled") => "cancelled",
        Some("TaskRunTimeout") => "timeout",
        _ => "deleted",
    }
}

/// There are steps, and all of them have ended.
fn steps_ended(status: &Value) -> bool {
    let all = status["containerStatuses"].as_array().into_iter().flatten();
    let mut steps =
        all.filter(|c| c["name"].as_str().is_some_and(|name| name.starts_with("step-"))).peekable();
    steps.peek().is_some() && steps.all(|c| c["state"]["terminated"].is_object())
}
