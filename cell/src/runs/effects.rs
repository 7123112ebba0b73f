//! From a decision to the rows that say it.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::{kind, meta, patch};
use serde_json::{Value, json};
use store::cell::apply::{Create, EventWrite, RunWrite};
use store::cell::view::View;
use store::cell::{CellError, TIMINGS};
use store::object::ObjectKey;
use tekton::api::config::TenantConfig;
use tekton::api::defaults;
use tekton::engine::decide::{ChildPatch, Decision, PatchKind};

use super::{is_done, object_key};
use crate::{lower, outbox};

/// No timer is nearer than this, µs: a pass must not make itself run at once.
const TIMER_MIN_US: i64 = 1000;

pub(super) fn write(
    view: &View,
    decision: Decision,
    timers_known_us: BTreeSet<i64>,
    settings: &TenantConfig,
    now_us: i64,
) -> Result<RunWrite, CellError> {
    let ended = decision.status.as_ref().is_some_and(|s| is_done(s) && !is_done(&view.run.value["status"]));
    let mut metadata = decision.metadata.map(|update| (update.labels, update.annotations));
    if ended && let Some(timings) = timings(view) {
        let (labels, annotations) = metadata.take().unwrap_or_else(|| metadata_of(&view.run.value));
        metadata = Some((labels, with(annotations, TIMINGS, timings)));
    }
    let mut updates: BTreeMap<ObjectKey, Value> = BTreeMap::new();
    for change in &decision.patches {
        patched(view, change, &mut updates)?;
    }
    // A PipelineRun that is overdue waits for something else than time: its children to end.
    let waits = |after: &i64| *after > 0 || view.run.key.kind != "pipelineruns.tekton.dev";
    let after = [decision.requeue_after_us.filter(waits), decision.also_after_us].into_iter().flatten().min();
    let tenant = &view.run.key.tenant;
    let mut deletes: Vec<ObjectKey> =
        decision.deletes.iter().filter_map(|key| object_key(tenant, key)).collect();
    if ended {
        let idle = idle_pods(view).filter(|key| !deletes.contains(key)).collect::<Vec<_>>();
        deletes.extend(idle);
    }
    let creates = decision.creates.into_iter().flat_map(|object| storable(view, object)).map(|mut object| {
        // Children are objects like any other: they are stored as admission would have left them.
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        defaults::apply(&kind, &mut object, settings);
        let machine = (object["kind"] == "Pod").then(|| lower::size::machine(&object));
        Create { object, machine }
    });
    let events = decision.events.into_iter().map(|event| EventWrite {
        kind: event.kind,
        reason: event.reason,
        message: event.message,
    });
    Ok(RunWrite {
        status: decision.status,
        metadata,
        creates: creates.collect(),
        updates: updates.into_iter().collect(),
        deletes,
        events: events.collect(),
        messages: decision.cloud_events.into_iter().map(outbox::message).collect(),
        timer_us: after.map(|after| now_us.saturating_add(after.max(TIMER_MIN_US))),
        timers_known_us,
        reserve: None,
    })
}

/// What a cell stores of an object: itself, but of a StatefulSet, which it has no nodes for, the claims that it would
/// make.
fn storable(view: &View, object: Value) -> Vec<Value> {
    if object["kind"] != "StatefulSet" {
        return vec![object];
    }
    let templates = object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let claims = templates.map(|template| {
        let name = [meta::name(template), meta::name(&object), "0"].join("-");
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "ownerReferences": object["metadata"]["ownerReferences"]},
            "spec": template["spec"],
        })
    });
    claims.filter(|claim| !view.owned.iter().any(|seen| seen.key.name == meta::name(claim))).collect()
}

/// Pods of the run that have not started: once it has ended they never will, and their machines are free.
fn idle_pods(view: &View) -> impl Iterator<Item = ObjectKey> {
    let pods = view.owned.iter().filter(|seen| seen.key.kind == "pods");
    pods.filter(|seen| seen.value["status"]["phase"] == "Pending").map(|seen| seen.key.clone())
}

fn patched(
    view: &View,
    change: &ChildPatch,
    updates: &mut BTreeMap<ObjectKey, Value>,
) -> Result<(), CellError> {
    let Some(key) = object_key(&view.run.key.tenant, &change.key) else {
        return Err(CellError::Foreign(format!("an object of kind {}", change.key.kind)));
    };
    // Gone meanwhile: nothing to patch; its going is a change that is looked at in its own right.
    let Some(child) = view.owned.iter().find(|child| child.key == key) else { return Ok(()) };
    let old = updates.get(&key).unwrap_or(&child.value);
    let mut new = old.clone();
    let done = match change.kind {
        PatchKind::Merge => patch::apply_merge(&mut new, &change.body),
        PatchKind::Json => patch::JsonPatch::parse(&change.body).and_then(|patch| patch.apply(&mut new)),
    };
    done.map_err(|status| {
        CellError::Foreign(format!(
            "{} {}: the patch cannot be applied: {status:?}",
            change.key.kind, key.name
        ))
    })?;
    let custom = kind::by_id(&key.kind).is_some_and(|kind| kind.custom);
    if custom && new["spec"] != child.value["spec"] {
        meta::set(&mut new, "generation", meta::generation(&child.value) + 1);
    }
    updates.insert(key, new);
    Ok(())
}

/// The instants of the run's last attempt, as the annotation has them.
fn timings(view: &View) -> Option<String> {
    let (attempt, _) = view.attempts.last()?;
    Some(json!(attempt.timings).to_string())
}

pub(super) type Metadata = (BTreeMap<String, String>, BTreeMap<String, String>);

pub(super) fn metadata_of(run: &Value) -> Metadata {
    let map = |member: &str| {
        let entries = run["metadata"][member].as_object().into_iter().flatten();
        entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    };
    (map("labels"), map("annotations"))
}

fn with(mut map: BTreeMap<String, String>, key: &str, value: String) -> BTreeMap<String, String> {
    map.insert(key.to_owned(), value);
    map
}
