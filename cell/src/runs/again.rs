//! Further attempts of a Try: what they wait for, and what the run says of them.

use apimachinery::meta;
use apimachinery::time::Micros;
use serde_json::{Value, json};
use store::cell::apply::{EventWrite, RunWrite};
use store::cell::machines::{BOOTS_MAX, MACHINE_LOST};
use store::cell::view::View;
use store::cell::{INFRA_REASON, INFRA_RETRIES, RERUNS, WAITING, again_after, retry_of};
use store::records::attempt::{Again, Attempt, Block};
use tekton::engine::decide::Decision;

use super::effects::metadata_of;

/// The decision, without a Pod that would be one too many: an earlier attempt of the Try may be running still. The
/// run says so, and is looked at when that is over.
pub(super) fn fenced(view: &View, mut decision: Decision, now_us: i64) -> Decision {
    let status = decision.status.as_ref().unwrap_or(&view.run.value["status"]);
    let Some((attempt, block)) = view.fence(retry_of(status), now_us) else { return decision };
    let makes_pod = decision.creates.iter().any(|object| object["kind"] == "Pod");
    if !makes_pod {
        return decision;
    }
    decision.creates.retain(|object| object["kind"] != "Pod");
    let mut status = view.run.value["status"].clone();
    if let Some(map) = status.as_object_mut() {
        for gone in ["podName", "steps", "sidecars", "results"] {
            map.remove(gone);
        }
    }
    let until = match block {
        Block::Proof => "its provider confirms that it is deleted".to_owned(),
        Block::Until(at_us) => {
            let at_us = at_us.max(now_us + 1);
            let sooner = decision.requeue_after_us.unwrap_or(i64::MAX).min(at_us - now_us);
            decision.requeue_after_us = Some(sooner);
            let last = Micros(at_us).rfc3339();
            format!("its provider confirms that it is deleted, or its lease has surely run out, at {last}")
        }
    };
    let message =
        format!("waits to be run again until machine {} runs nothing any more: {until}", attempt.machine);
    pending(&mut status, &message, now_us);
    decision.events.clear();
    decision.status = (status != view.run.value["status"]).then_some(status);
    decision
}

fn pending(status: &mut Value, message: &str, now_us: i64) {
    let conditions = status["conditions"].as_array_mut();
    let found = conditions.and_then(|all| all.iter_mut().find(|c| c["type"] == "Succeeded"));
    let Some(condition) = found else { return };
    if condition["status"] == "Unknown" && condition["reason"] == "Pending" && condition["message"] == message
    {
        return;
    }
    *condition = json!({
        "type": "Succeeded", "status": "Unknown", "reason": "Pending", "message": message,
        "lastTransitionTime": Micros(now_us).rfc3339(),
    });
}

/// Writes onto the run how often the infrastructure has lost an attempt of it, and how often a user asked for a
/// rerun: neither is one of the user's retries. A run that is looked at by its own cell waits for nothing that the
/// place loop would say, if `settled`.
pub(super) fn tell(view: &View, write: &mut RunWrite, settled: bool) {
    let run = &view.run.value;
    let mut annotations = Vec::new();
    let infra: Vec<&Attempt> = view.attempts.iter().map(|(a, _)| a).filter(|a| a.is_infra()).collect();
    if let Some(last) = infra.last() {
        let why = last.why.clone().unwrap_or_default();
        if told(run, INFRA_RETRIES) < infra.len() {
            let message = format!(
                "the infrastructure lost attempt {} of {BOOTS_MAX} on machine {}: {why}; this is no retry of the run's",
                last.infra + 1,
                last.machine
            );
            write.events.push(EventWrite { kind: "Warning", reason: MACHINE_LOST.into(), message });
        }
        annotations.push((INFRA_RETRIES, infra.len().to_string()));
        annotations.push((INFRA_REASON, why));
    }
    let asked = asked(view, write);
    if asked > told(run, RERUNS) {
        let message = "its Pod was deleted, which asks to run it again".to_owned();
        write.events.push(EventWrite { kind: "Normal", reason: "Rerun".into(), message });
        annotations.push((RERUNS, asked.to_string()));
    }
    let waits = meta::annotation(run, WAITING).is_some() && (settled || view.has_begun());
    let news = annotations.iter().any(|(key, value)| meta::annotation(run, key) != Some(value));
    if news || waits {
        let (_, all) = write.metadata.get_or_insert_with(|| metadata_of(run));
        all.extend(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)));
        if waits {
            all.remove(WAITING);
        }
    }
}

fn told(run: &Value, annotation: &str) -> usize {
    meta::annotation(run, annotation).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// How many attempts there are because a user deleted a Pod, with the one that is made now.
fn asked(view: &View, write: &RunWrite) -> usize {
    let before = view.attempts.iter().filter(|(attempt, _)| attempt.again == Some(Again::Asked)).count();
    let status = write.status.as_ref().unwrap_or(&view.run.value["status"]);
    let mut of_try = view.attempts.iter().filter(|(attempt, _)| attempt.retry == retry_of(status));
    let makes_pod = write.creates.iter().any(|create| create.machine.is_some());
    let now = makes_pod && of_try.next_back().is_some_and(|(last, _)| again_after(last) == Again::Asked);
    before + usize::from(now)
}
