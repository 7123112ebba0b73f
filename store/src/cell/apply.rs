//! Writing what was decided about a run: its status, its children, events, timers, in one transaction that also
//! consumes the Due rows which made the cell look.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::meta;
use apimachinery::time::Micros;
use serde_json::{Value, json};

use super::outbox::{self, Message};
use super::pods::{self, MachineSize, Wish};
use super::view::View;
use super::{
    CELL, CellError, CellStore, EPOCH, REGION, RERUN, Seen, TRACEPARENT, derived_uid, key_of, of_txn,
    owner_key, replace, seen,
};
use crate::backend::{Op, Pre, Read, Revision, RowKey, TxnError};
use crate::object::{self, ObjectKey};
use crate::quota;
use crate::records::due;

/// Annotations that everything of a run inherits from it.
const INHERITED: [&str; 4] = [CELL, REGION, EPOCH, TRACEPARENT];

/// What shall be written about a run. There is no way to say a new spec.
#[derive(Clone, Debug, Default)]
pub struct RunWrite {
    /// The run's new status.
    pub status: Option<Value>,
    /// All labels and all annotations that the run shall have.
    pub metadata: Option<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    /// Objects to create, complete but for uid, times and what is inherited.
    pub creates: Vec<Create>,
    /// Children as they shall be.
    pub updates: Vec<(ObjectKey, Value)>,
    /// Children to delete.
    pub deletes: Vec<ObjectKey>,
    /// Events about the run.
    pub events: Vec<EventWrite>,
    /// What shall be said to the world outside, in order: an id and a content.
    pub messages: Vec<(String, Value)>,
    /// When to look again, µs since 1970.
    pub timer_us: Option<i64>,
    /// Timers of this run that exist, as far as the caller knows, µs since 1970.
    pub timers_known_us: BTreeSet<i64>,
    /// A new machine is counted in the cell's capacity at once, when the cell has fewer than so many; otherwise, or
    /// when there is no room, it waits for its turn.
    pub reserve: Option<u32>,
}

/// An object to create.
#[derive(Clone, Debug)]
pub struct Create {
    /// The object.
    pub object: Value,
    /// For a Pod: the machine that its attempt gets.
    pub machine: Option<MachineSize>,
}

/// An event about a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventWrite {
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}

/// What a write did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Anything was written.
    pub committed: bool,
    /// The run's document as it is now, without a resourceVersion; `None`: unchanged.
    pub run: Option<Value>,
}

/// What is known of events that are to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Events {
    /// Nothing. Nearly all are new: it is cheaper to find out by writing them that one is not.
    New,
    /// They are looked for first.
    Read,
}

/// Why a write was not done.
enum Refused {
    /// One of its events was said before.
    Said,
    /// Anything else.
    Write(CellError),
}

impl From<CellError> for Refused {
    fn from(error: CellError) -> Self {
        Self::Write(error)
    }
}

impl CellStore {
    /// Writes `write` about the run of `view`.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when anything has changed since `view`, or the run is another cell's by now;
    /// [`CellError::Foreign`] when something is to be written that isn't the run's.
    pub async fn run_apply(&self, view: &View, mut write: RunWrite) -> Result<Applied, CellError> {
        let mut events = Events::New;
        loop {
            match self.run_apply_once(view, &write, events).await {
                // No room: its machine stands in line.
                Err(Refused::Write(CellError::Limit)) if write.reserve.take().is_some() => {}
                Err(Refused::Said) => events = Events::Read,
                Err(Refused::Write(error)) => return Err(error),
                Ok(applied) => return Ok(applied),
            }
        }
    }

    /// The run's row says which cell it is placed on and in which epoch. Every write here depends on that row's
    /// revision, so that none of a cell that lost the run gets through.
    async fn run_apply_once(
        &self,
        view: &View,
        write: &RunWrite,
        events: Events,
    ) -> Result<Applied, Refused> {
        if meta::annotation(&view.run.value, CELL).is_some_and(|cell| cell != self.cell()) {
            return Err(CellError::Conflict { what: "the placement".into() }.into());
        }
        let now = Micros(self.host().clock.utc().0);
        let mut ops: Vec<Op> = consume(view, write);
        let consumed = ops.len();
        self.timer_ops(view, write, &mut ops);
        let run = self.run_op(view, write, &mut ops);
        for create in &write.creates {
            self.create(view, create, now, write, &mut ops)?;
        }
        for (key, value) in &write.updates {
            ops.push(replace(owned(view, key)?, value));
            if is_run(&key.kind) {
                // A child that is still on its way here from another cell is that one's to look at.
                let cell = meta::annotation(value, CELL).unwrap_or(self.cell());
                ops.push(due::put(cell, key, 0));
            }
        }
        for key in &write.deletes {
            if view.owned.iter().any(|o| o.key == *key) {
                self.child_delete(view, owned(view, key)?, now, &mut ops);
            }
        }
        let before = ops.len();
        self.events(view, &write.events, events, now, &mut ops).await?;
        let of_events = before..ops.len();
        for (order, (id, content)) in (0_i64..).zip(&write.messages) {
            let message = Message { id: id.clone(), content: content.clone(), tries: 0, since_us: now.0 };
            ops.push(outbox::put(self.cell(), &view.run.key, &message, now.0 + order));
        }
        if ops.is_empty() {
            return Ok(Applied::default());
        }
        if run.is_none() && ops.len() > consumed {
            ops.push(Op::Check { key: view.run.key.row(), pre: Pre::Rev(view.run.revision) });
        }
        match self.transact("run_apply", &ops).await? {
            Ok(_) => Ok(Applied { committed: true, run }),
            Err(TxnError::Conflict { op, .. }) if events == Events::New && of_events.contains(&op) => {
                Err(Refused::Said)
            }
            Err(error) => Err(of_txn(error, &ops).into()),
        }
    }

    /// Consumes Due rows of `run` that ask for nothing any more, and its timers.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when one was written again.
    pub async fn due_consume(
        &self,
        run: &ObjectKey,
        rows: &[(RowKey, Revision)],
        timers: &BTreeSet<i64>,
    ) -> Result<(), CellError> {
        let mut ops: Vec<Op> = rows.iter().map(consume_op).collect();
        ops.extend(self.timers_delete(run, timers, rows));
        if ops.is_empty() { Ok(()) } else { self.commit("due_consume", ops).await.map(drop) }
    }

    fn timer_ops(&self, view: &View, write: &RunWrite, ops: &mut Vec<Op>) {
        let others = write.timers_known_us.iter().filter(|at_us| write.timer_us != Some(**at_us));
        ops.extend(self.timers_delete(&view.run.key, others, &view.due));
        if let Some(at_us) = write.timer_us
            && !write.timers_known_us.contains(&at_us)
        {
            ops.push(due::put(self.cell(), &view.run.key, at_us));
        }
    }

    /// Ops that remove timers of `run`, but for those that are consumed as Due rows anyway.
    pub(super) fn timers_delete<'a>(
        &self,
        run: &ObjectKey,
        timers: impl IntoIterator<Item = &'a i64>,
        consumed: &[(RowKey, Revision)],
    ) -> Vec<Op> {
        let keys = timers.into_iter().map(|at_us| due::key(self.cell(), run, *at_us));
        let left = keys.filter(|key| consumed.iter().all(|(c, _)| c != key));
        left.map(|key| Op::Delete { key, pre: Pre::Any, last: None }).collect()
    }

    /// The op that writes the run itself, and one that makes the cell look at its owner when that matters to it.
    fn run_op(&self, view: &View, write: &RunWrite, ops: &mut Vec<Op>) -> Option<Value> {
        let old = &view.run.value;
        let status = write.status.as_ref().filter(|status| **status != old["status"]);
        if status.is_none() && write.metadata.is_none() {
            return None;
        }
        let mut new = match status {
            // Only the other members are copied: the status is most of a large run.
            Some(status) => with_status(old, status),
            None => old.clone(),
        };
        if let Some((labels, annotations)) = &write.metadata {
            set_map(&mut new, "labels", labels);
            set_map(&mut new, "annotations", annotations);
        }
        ops.extend(quota::given_back_at_end(&view.run.key, &mut new));
        if new == *old {
            return None;
        }
        ops.push(replace(&view.run, &new));
        let concerns_owner = outcome(old) != outcome(&new);
        if concerns_owner && let Some((owner, _)) = owner_key(&view.run.key.tenant, &new) {
            ops.push(due::put(self.cell(), &owner, 0));
        }
        Some(new)
    }

    fn create(
        &self,
        view: &View,
        create: &Create,
        now: Micros,
        write: &RunWrite,
        ops: &mut Vec<Op>,
    ) -> Result<(), CellError> {
        let mut child = create.object.clone();
        let run = &view.run;
        meta::set(&mut child, "namespace", run.key.namespace.as_str());
        let key = key_of(&run.key.tenant, &child)
            .ok_or_else(|| CellError::Foreign(format!("an object of kind {}", child["kind"])))?;
        let revision = run.revision.to_string();
        // The run need not have changed since its last Pod was made: the attempts since then tell the two apart.
        let attempts = view.attempts.len().to_string();
        let uid = derived_uid(&[meta::uid(&run.value), &revision, &key.kind, &key.name, &attempts]);
        meta::set(&mut child, "uid", uid.as_str());
        meta::set(&mut child, "creationTimestamp", now.rfc3339());
        if apimachinery::kind::by_id(&key.kind).is_some_and(|kind| kind.custom) {
            meta::set(&mut child, "generation", 1);
        }
        for annotation in INHERITED {
            if let Some(value) = meta::annotation(&run.value, annotation) {
                meta::set_annotation(&mut child, annotation, value);
            }
        }
        if meta::annotation(&child, RERUN).is_none()
            && let Some(value) = meta::annotation(&run.value, RERUN)
        {
            meta::set_annotation(&mut child, RERUN, value);
        }
        // Annotations of a run are handed down; its place is the root's alone.
        if let Some(map) = child["metadata"]["annotations"].as_object_mut() {
            map.remove(quota::COUNTED);
        }
        if key.kind == "persistentvolumeclaims" {
            child["status"] = json!({"phase": "Pending"});
        }
        if let Some(size) = &create.machine {
            let status = write.status.as_ref().unwrap_or(&run.value["status"]);
            let claims = pods::claims_of(&child);
            // One that may wait for a volume takes no place from others meanwhile.
            let reserve = write.reserve.filter(|_| claims.is_empty());
            let wish = Wish { size: *size, reserve };
            self.attempt_create(view, &key, &uid, &wish, status, claims, now, ops)?;
        }
        ops.push(object::put(&key, Pre::Absent, &child, None));
        if is_looked_at(&key.kind) {
            ops.push(due::put_with_uid(self.cell(), &key, &uid));
        }
        Ok(())
    }

    fn child_delete(&self, view: &View, child: &Seen, now: Micros, ops: &mut Vec<Op>) {
        if child.key.kind == "pods" {
            let attempt = view.attempt(meta::uid(&child.value));
            self.pod_delete(child, attempt, now, ops);
            return;
        }
        self.remove_with_dependents(child, ops);
    }

    /// Events are told apart by what they say; one that was said before is counted, as Kubernetes does.
    pub(super) async fn events(
        &self,
        view: &View,
        events: &[EventWrite],
        told: Events,
        now: Micros,
        ops: &mut Vec<Op>,
    ) -> Result<(), CellError> {
        if events.is_empty() {
            return Ok(());
        }
        let run = &view.run;
        let mut by_key: BTreeMap<ObjectKey, &EventWrite> = BTreeMap::new();
        for event in events {
            by_key.insert(event_key(run, event), event);
        }
        let mut there = Vec::new();
        if told == Events::Read {
            let reads = by_key.keys().map(|key| Read::Get(key.row())).collect();
            there = self.snapshot(reads).await?.answers;
        }
        for (n, (key, event)) in by_key.into_iter().enumerate() {
            match there.get(n).map(|rows| seen(&key, rows)).transpose()?.flatten() {
                Some(old) => {
                    let mut new = old.value.clone();
                    new["count"] = json!(old.value["count"].as_i64().unwrap_or(1) + 1);
                    new["lastTimestamp"] = json!(now.rfc3339());
                    ops.push(replace(&old, &new));
                }
                None => ops.push(object::put(&key, Pre::Absent, &event_object(run, &key, event, now), None)),
            }
        }
        Ok(())
    }
}

/// Where an event stands: two that say the same are one.
pub(super) fn event_key(run: &Seen, event: &EventWrite) -> ObjectKey {
    let id = derived_uid(&[meta::uid(&run.value), event.kind, &event.reason, &event.message]);
    let digits: String = id.chars().filter(|c| *c != '-').take(16).collect();
    ObjectKey { kind: "events".into(), name: format!("{}.{digits}", run.key.name), ..run.key.clone() }
}

pub(super) fn event_object(run: &Seen, key: &ObjectKey, event: &EventWrite, now: Micros) -> Value {
    json!({
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "uid": derived_uid(&[meta::uid(&run.value), &key.name, &now.0.to_string()]),
            "creationTimestamp": now.rfc3339(),
        },
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": run.value["apiVersion"],
            "kind": run.value["kind"],
            "namespace": key.namespace,
            "name": run.key.name,
            "uid": meta::uid(&run.value),
            "resourceVersion": run.revision.to_string(),
        },
        "type": event.kind,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": run.value["kind"]},
        "reportingComponent": run.value["kind"],
        "reportingInstance": "",
        "firstTimestamp": now.rfc3339(),
        "lastTimestamp": now.rfc3339(),
        "eventTime": null,
        "count": 1,
    })
}

/// Kinds that the runs loop looks at.
pub fn is_run(kind: &str) -> bool {
    matches!(kind, "taskruns.tekton.dev" | "pipelineruns.tekton.dev")
}

/// Kinds that one of a cell's loops looks at: among them the runs that others run, about which it tells the world.
pub fn is_looked_at(kind: &str) -> bool {
    is_run(kind) || kind == super::requests::KIND || kind == "customruns.tekton.dev"
}

/// What the owner of a run waits for: whether it has ended, how, and how often it was tried.
fn outcome(run: &Value) -> (Option<&str>, usize) {
    let conditions = run["status"]["conditions"].as_array();
    let succeeded = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Succeeded"));
    let ended = succeeded.and_then(|c| c["status"].as_str()).filter(|status| *status != "Unknown");
    (ended, run["status"]["retriesStatus"].as_array().map_or(0, Vec::len))
}

fn owned<'a>(view: &'a View, key: &ObjectKey) -> Result<&'a Seen, CellError> {
    view.owned
        .iter()
        .find(|o| o.key == *key)
        .ok_or_else(|| CellError::Foreign(format!("{} {}/{}", key.kind, key.namespace, key.name)))
}

fn consume(view: &View, write: &RunWrite) -> Vec<Op> {
    // A timer that is wanted again at the very same moment stays where it is.
    let wanted = write.timer_us.map(|at_us| due_key_suffix(at_us, &view.run.key));
    let stays = |key: &RowKey| wanted.as_ref().is_some_and(|w| key.key == *w);
    view.due.iter().filter(|(key, _)| !stays(key)).map(consume_op).collect()
}

fn due_key_suffix(at_us: i64, run: &ObjectKey) -> String {
    due::key("", run, at_us).key
}

pub(super) fn consume_op((key, revision): &(RowKey, Revision)) -> Op {
    Op::Delete { key: key.clone(), pre: Pre::Rev(*revision), last: None }
}

/// A run with another status.
fn with_status(run: &Value, status: &Value) -> Value {
    let members = run.as_object().into_iter().flatten().filter(|(name, _)| *name != "status");
    let mut out: serde_json::Map<_, _> = members.map(|(name, value)| (name.clone(), value.clone())).collect();
    out.insert("status".into(), status.clone());
    Value::Object(out)
}

fn set_map(object: &mut Value, member: &str, map: &BTreeMap<String, String>) {
    if map.is_empty() {
        meta::unset(object, member);
    } else {
        meta::set(object, member, json!(map));
    }
}
