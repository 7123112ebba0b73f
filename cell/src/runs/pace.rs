//! Large runs. A look at a run of many children costs what all of them cost together, and so does its status in the
//! log: looks at it come with pauses that grow with what a look takes, and a status that has only counted further is
//! written in steps. What starts, stops or ends is written at once, whatever the size.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use base::host::Mono;
use serde_json::Value;
use store::cell::view::View;
use store::object::ObjectKey;
use tekton::engine::decide::Decision;

use super::{is_done, lock};

/// Children from which on a run is large.
const LARGE: usize = 32;
/// The pause after a look, in times of what the look took, and at most.
const PAUSE: u32 = 2;
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A status that has counted this part of what there is to count further is written.
const STEP: usize = 4;
/// It is written after this time in any case, for each hundred of children: so the log of a child grows no faster in
/// a large run than in a small one.
const LATEST: Duration = Duration::from_secs(1);
const LATEST_FOR: usize = 100;
/// What counting changes in a status.
const COUNTED: [&str; 3] = ["conditions", "childReferences", "skippedTasks"];

/// How far large runs were told, and when. It may be lost: then the next status is written.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<ObjectKey, (Mono, usize)>>);

impl Told {
    /// Takes the status out of a decision that has only counted further, if it is not yet time to tell it.
    pub(super) fn hold_back(&self, view: &View, decision: &mut Decision, now: Mono) {
        let Some(new) = &decision.status else { return };
        let mut told = lock(&self.0);
        if view.owned.len() < LARGE || is_done(new) {
            told.remove(&view.run.key);
            return;
        }
        let done = view.owned.iter().filter(|child| is_done(&child.value["status"])).count();
        let counted = done + view.owned.len();
        // Each child counts when it is made, and when it has ended.
        let all = 2 * view.owned.len().max(tasks_of(new));
        let latest = LATEST * u32::try_from(all / 2 / LATEST_FOR).unwrap_or(u32::MAX).max(1);
        if let Some((at, before)) = told.get(&view.run.key) {
            let waited = now.since(*at);
            let small = counted.saturating_sub(*before) < all / STEP;
            if small
                && waited < latest
                && decision.metadata.is_none()
                && only_counted(&view.run.value["status"], new)
            {
                let reason = &new["conditions"][0]["reason"];
                decision.events.retain(|event| event.kind != "Normal" || *reason != event.reason.as_str());
                let left = i64::try_from((latest - waited).as_micros()).unwrap_or(0);
                decision.also_after_us = Some(decision.also_after_us.map_or(left, |other| other.min(left)));
                decision.status = None;
                decision.cloud_events.clear();
                return;
            }
        }
        told.insert(view.run.key.clone(), (now, counted));
    }
}

/// How many tasks the run's pipeline has.
fn tasks_of(status: &Value) -> usize {
    let parts = ["tasks", "finally"].into_iter().map(|part| &status["pipelineSpec"][part]);
    parts.filter_map(Value::as_array).map(Vec::len).sum()
}

/// Whether two statuses of a run that goes on differ in numbers only.
fn only_counted(old: &Value, new: &Value) -> bool {
    let same_kind = ["type", "status", "reason"]
        .into_iter()
        .all(|field| old["conditions"][0][field] == new["conditions"][0][field]);
    same_kind && rest(old).eq(rest(new))
}

/// The members of a status that counting leaves alone.
fn rest(status: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let members = status.as_object().into_iter().flatten();
    members.filter(|(name, _)| !COUNTED.contains(&name.as_str()))
}

/// The pause after a look at a run with so many children, which took so long.
pub(super) fn pause(children: usize, took: Duration) -> Duration {
    if children < LARGE { Duration::ZERO } else { PAUSE_MAX.min(took * PAUSE) }
}
