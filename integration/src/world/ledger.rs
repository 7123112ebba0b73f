//! What was committed, transaction by transaction, as the store itself saw it: the facts that the checkers compare
//! with what processes, machines and watchers say. Transitions are counted here, and those that must not be are found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use serde::de::IgnoredAny;
use store::backend::{ChangeKind, Committed, Op, RequestId, Revision, RowKey, Table, Txn};
use store::cell::machines::{MACHINE_LOST, MACHINES_EXHAUSTED};
use store::cell::{CELL, EPOCH};
use store::records;
use store::records::attempt::{Attempt, Phase};
use store::records::machine::{self, Machine};

use super::{World, locked};

/// Label of a run: which submit of which user made it.
pub const SUBMIT: &str = "world/submit";
const TASKRUNS: &str = "taskruns.tekton.dev";
const PIPELINERUNS: &str = "pipelineruns.tekton.dev";

/// All that was committed.
#[derive(Default)]
pub struct Ledger(Mutex<Facts>);

/// What is known.
#[derive(Default)]
pub struct Facts {
    /// Attempts by id.
    pub attempts: BTreeMap<String, AttemptSeen>,
    /// Runs by uid.
    pub runs: BTreeMap<String, RunSeen>,
    /// Machines that have a row, by id.
    pub machines: BTreeMap<String, machine::Phase>,
    /// Cells that have spoken.
    pub cells: BTreeSet<String>,
    /// Pods that users wanted to be deleted, by name.
    pub pods_deleted: BTreeSet<String>,
    /// What a watcher of a scope must be shown, in order.
    pub logs: BTreeMap<String, Vec<(Revision, ChangeKind, String)>>,
    attempt_rows: BTreeMap<RowKey, String>,
    run_rows: BTreeMap<RowKey, String>,
    nonces: BTreeMap<String, String>,
    there: BTreeSet<RowKey>,
    requests: BTreeMap<RequestId, (&'static str, usize)>,
}

/// An attempt as it was committed, and what became of it.
#[derive(Clone, Debug)]
pub struct AttemptSeen {
    /// Its row.
    pub row: Attempt,
    /// It was `started` at some time.
    pub started: bool,
    /// When it was first over, µs.
    pub over_us: Option<u64>,
    /// How its user code ended, if it did.
    pub ending: Option<Ending>,
}

/// How the containers of a pod ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// By themselves.
    Exit(i32),
    /// They were told to.
    Stopped,
    /// An image cannot be had.
    Unpullable,
}

/// A run as it was committed.
#[derive(Clone, Debug, Default)]
pub struct RunSeen {
    /// Tenant.
    pub tenant: String,
    /// `taskruns.tekton.dev`, `pipelineruns.tekton.dev`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Uid of the PipelineRun that it belongs to.
    pub owner: Option<String>,
    /// Which submit made it.
    pub submit: Option<String>,
    /// Placement.
    pub epoch: u64,
    /// Placement.
    pub cell: String,
    /// Tries that were archived.
    pub retried: usize,
    /// Its condition: status, reason, message.
    pub condition: (String, String, String),
    /// When it was ended, µs.
    pub ended_us: Option<u64>,
    /// When it was made, and when its present try began, µs.
    pub made_us: u64,
    /// When its present try began, µs.
    pub tried_us: u64,
    /// It was deleted.
    pub gone: bool,
}

#[derive(Deserialize)]
struct Head {
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Meta {
    uid: String,
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default, rename = "ownerReferences")]
    owners: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default, rename = "retriesStatus")]
    retries: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What is known.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        locked(&self.0)
    }

    /// Takes in a transaction that was committed.
    pub fn committed(&self, world: &World, txn: &Txn, done: &Committed) {
        let mut facts = self.facts();
        let shape = (txn.name, txn.ops.len());
        if let Some(before) = facts.requests.insert(txn.id, shape) {
            if before != shape {
                world.fail(|| format!("two transactions have one id: {before:?} and {shape:?}"));
            }
            return;
        }
        for (op, revision) in txn.ops.iter().zip(&done.revisions) {
            match op {
                Op::Put { key, body, .. } => {
                    let fresh = facts.there.insert(key.clone());
                    match key.table {
                        Table::Object => facts.object(world, key, body, *revision, fresh),
                        Table::Attempt => facts.attempt(world, key, body),
                        Table::Machine => facts.machine(world, body),
                        Table::Cell => drop(facts.cells.insert(key.key.clone())),
                        _ => {}
                    }
                }
                Op::Delete { key, .. } if facts.there.remove(key) => facts.removed(world, key, *revision),
                Op::Delete { .. } | Op::Check { .. } | Op::Add { .. } => {}
            }
        }
    }

    /// User code of an attempt begins. Answers whether a user has asked for that by deleting the Pod before it.
    pub fn begins(&self, world: &World, attempt: &str, who: &str) -> bool {
        let facts = self.facts();
        let seen = facts.attempts.get(attempt);
        let started = seen.is_some_and(|seen| seen.started);
        let asked = seen.is_some_and(|seen| facts.pods_deleted.contains(&seen.row.pod));
        drop(facts);
        if !started {
            world.fail(|| format!("user code of attempt {attempt} begins on {who}, and no commit says so"));
        }
        asked
    }

    /// A user asks for a Pod to be deleted.
    pub fn pod_deleted(&self, pod: &str) {
        self.facts().pods_deleted.insert(pod.to_owned());
    }

    /// How user code of an attempt ended.
    pub fn ends(&self, attempt: &str, ending: Ending) {
        if let Some(seen) = self.facts().attempts.get_mut(attempt) {
            seen.ending = Some(ending);
        }
    }
}

impl Facts {
    /// The run that a run belongs to in the end.
    pub fn root<'a>(&'a self, run: &'a RunSeen) -> &'a RunSeen {
        run.owner.as_ref().and_then(|owner| self.runs.get(owner)).map_or(run, |owner| self.root(owner))
    }

    /// Attempts of a run, the last one last.
    pub fn attempts_of(&self, run: &str) -> Vec<&AttemptSeen> {
        let mut all: Vec<_> = self.attempts.values().filter(|seen| seen.row.run_uid == run).collect();
        all.sort_by_key(|seen| (seen.row.retry, seen.row.ordinal));
        all
    }

    fn object(&mut self, world: &World, key: &RowKey, body: &[u8], revision: Revision, fresh: bool) {
        let kind = if fresh { ChangeKind::Created } else { ChangeKind::Updated };
        self.logs.entry(key.partition.clone()).or_default().push((revision, kind, key.key.clone()));
        let Some((tenant, kind)) = key.partition.split_once('/') else { return };
        if kind != TASKRUNS && kind != PIPELINERUNS {
            return;
        }
        let Ok(head) = serde_json::from_slice::<Head>(body.get(1..).unwrap_or_default()) else {
            return world.fail(|| format!("{key:?} holds no run"));
        };
        let annotation = |name: &str| head.metadata.annotations.get(name).cloned().unwrap_or_default();
        let condition = head.status.conditions.into_iter().find(|c| c.kind == "Succeeded");
        let condition = condition.map(|c| (c.status, c.reason, c.message)).unwrap_or_default();
        let now = world.now_us();
        let mut run = RunSeen {
            tenant: tenant.to_owned(),
            kind: kind.to_owned(),
            name: head.metadata.name,
            uid: head.metadata.uid,
            owner: head.metadata.owners.into_iter().next().map(|owner| owner.uid),
            submit: head.metadata.labels.get(SUBMIT).cloned(),
            epoch: annotation(EPOCH).parse().unwrap_or(0),
            cell: annotation(CELL),
            retried: head.status.retries.len(),
            condition,
            ended_us: None,
            made_us: now,
            tried_us: now,
            gone: false,
        };
        let before = self.runs.get(&run.uid);
        if let Some(before) = before {
            run.made_us = before.made_us;
            run.tried_us = if run.retried == before.retried { before.tried_us } else { now };
            run.ended_us = before.ended_us;
            moved(world, before, &run);
        } else {
            world.note("run: made", &run.name);
        }
        told(world, before, &run);
        if matches!(run.condition.0.as_str(), "True" | "False") {
            run.ended_us.get_or_insert(now);
        }
        self.run_rows.insert(key.clone(), run.uid.clone());
        self.runs.insert(run.uid.clone(), run);
    }

    fn attempt(&mut self, world: &World, key: &RowKey, body: &[u8]) {
        let Ok(row) = records::decode::<Attempt>(body) else {
            return world.fail(|| format!("{key:?} holds no attempt"));
        };
        let before = self.attempts.get(&row.id);
        let from = before.map(|seen| seen.row.phase);
        if from != Some(row.phase) {
            match attempt_step(from, row.phase) {
                Some(step) => world.note(step, &row.id),
                None => world.fail(|| format!("attempt {} went from {from:?} to {:?}", row.id, row.phase)),
            }
        }
        if before.is_none()
            && let Some(run) = self.runs.get(&row.run_uid)
            && (run.cell != row.cell || run.epoch != row.epoch)
        {
            let (cell, epoch) = (&run.cell, run.epoch);
            world.fail(|| {
                format!(
                    "cell {} makes an attempt of {} under epoch {}, which is {cell}'s under epoch {epoch}",
                    row.cell, row.run, row.epoch
                )
            });
        }
        let over = matches!(row.phase, Phase::Revoked | Phase::Lost | Phase::Done);
        let now = world.now_us();
        let started = row.phase == Phase::Started || before.is_some_and(|seen| seen.started);
        let over_us = before.and_then(|seen| seen.over_us).or(over.then_some(now));
        let ending = before.and_then(|seen| seen.ending);
        self.attempt_rows.insert(key.clone(), row.id.clone());
        self.attempts.insert(row.id.clone(), AttemptSeen { row, started, over_us, ending });
    }

    fn machine(&mut self, world: &World, body: &[u8]) {
        let Ok(row) = records::decode::<Machine>(body) else { return };
        let from = self.machines.insert(row.id.clone(), row.phase);
        if from != Some(row.phase) {
            match machine_step(from, row.phase) {
                Some(step) => world.note(step, &row.id),
                None => world.fail(|| format!("machine {} went from {from:?} to {:?}", row.id, row.phase)),
            }
        }
        if let Some(nonce) = row.nonce
            && let Some(first) = self.nonces.insert(row.id.clone(), nonce.clone())
            && first != nonce
        {
            world.fail(|| format!("machine {} is two boots'", row.id));
        }
    }

    fn removed(&mut self, world: &World, key: &RowKey, revision: Revision) {
        match key.table {
            Table::Object => {
                let log = self.logs.entry(key.partition.clone()).or_default();
                log.push((revision, ChangeKind::Deleted, key.key.clone()));
                if let Some(uid) = self.run_rows.remove(key)
                    && let Some(run) = self.runs.get_mut(&uid)
                {
                    run.gone = true;
                    world.note("run: deleted", &run.name);
                }
            }
            Table::Attempt => {
                if let Some(id) = self.attempt_rows.remove(key)
                    && let Some(seen) = self.attempts.get_mut(&id)
                {
                    seen.over_us.get_or_insert(world.now_us());
                }
            }
            Table::Machine => {
                if let Some(phase) = self.machines.remove(&key.key) {
                    world.note(machine_gone(phase), &key.key);
                }
            }
            _ => {}
        }
    }
}

/// A run has another version: its placement goes forward, and its end is for good.
fn moved(world: &World, before: &RunSeen, run: &RunSeen) {
    if run.epoch < before.epoch || (run.epoch == before.epoch && run.cell != before.cell) {
        world.fail(|| {
            format!(
                "run {} went from {} (epoch {}) to {} (epoch {})",
                run.name, before.cell, before.epoch, run.cell, run.epoch
            )
        });
    }
    if run.epoch > before.epoch {
        world.note("run: placed anew", &run.name);
    }
    let (old, new) = (&before.condition, &run.condition);
    if before.ended_us.is_some() && (&old.0, &old.1) != (&new.0, &new.1) {
        world.fail(|| format!("{} ended twice: {} {}, then {} {}", run.name, old.0, old.1, new.0, new.1));
    }
}

/// Notes what a run's condition has come to.
fn told(world: &World, before: Option<&RunSeen>, run: &RunSeen) {
    let reason = run.condition.1.as_str();
    if before.is_some_and(|before| before.condition.1 == reason) || reason.is_empty() {
        return;
    }
    world.note(run_step(run.kind == TASKRUNS, reason), &run.name);
}

fn attempt_step(from: Option<Phase>, to: Phase) -> Option<&'static str> {
    Some(match (from, to) {
        (None, Phase::Free) => "attempt: made free",
        (Some(Phase::Free), Phase::Claimed) => "attempt: free > claimed",
        (Some(Phase::Free), Phase::Revoked) => "attempt: free > revoked",
        (Some(Phase::Claimed), Phase::Started) => "attempt: claimed > started",
        (Some(Phase::Claimed), Phase::Revoked) => "attempt: claimed > revoked",
        (Some(Phase::Claimed), Phase::Done) => "attempt: claimed > done",
        (Some(Phase::Started), Phase::Lost) => "attempt: started > lost",
        (Some(Phase::Started), Phase::Done) => "attempt: started > done",
        _ => return None,
    })
}

fn machine_step(from: Option<machine::Phase>, to: machine::Phase) -> Option<&'static str> {
    use machine::Phase::{Burnt, Claimed, Provisioning, Ready};
    Some(match (from, to) {
        (None, Provisioning) => "machine: wanted",
        (Some(Provisioning | Ready), Claimed) => "machine: wanted > claimed",
        (Some(Provisioning), Ready) => "machine: wanted > ready",
        (Some(Provisioning | Ready), Burnt) => "machine: wanted > burnt",
        (Some(Claimed), Burnt) => "machine: claimed > burnt",
        _ => return None,
    })
}

fn machine_gone(phase: machine::Phase) -> &'static str {
    match phase {
        machine::Phase::Provisioning | machine::Phase::Ready => "machine: wanted > gone",
        machine::Phase::Claimed => "machine: claimed > gone",
        machine::Phase::Burnt => "machine: burnt > gone",
    }
}

fn run_step(task: bool, reason: &str) -> &'static str {
    match (task, reason) {
        (true, "Pending") => "taskrun: Pending",
        (true, "Running") => "taskrun: Running",
        (true, "ToBeRetried") => "taskrun: ToBeRetried",
        (true, "Succeeded") => "taskrun: Succeeded",
        (true, MACHINE_LOST) => "taskrun: MachineLost",
        (true, MACHINES_EXHAUSTED) => "taskrun: MachineRetriesExhausted",
        (true, "StepFailed") => "taskrun: StepFailed",
        (true, "TaskRunCancelled") => "taskrun: Cancelled",
        (true, "TaskRunTimeout") => "taskrun: Timeout",
        (true, "TaskRunImagePullFailed") => "taskrun: ImagePullFailed",
        (false, "Running") => "pipelinerun: Running",
        (false, "Succeeded") => "pipelinerun: Succeeded",
        (false, "Completed") => "pipelinerun: Completed",
        (false, "Failed") => "pipelinerun: Failed",
        (false, "Cancelled") => "pipelinerun: Cancelled",
        (false, "PipelineRunTimeout") => "pipelinerun: Timeout",
        (true, _) => "taskrun: other",
        (false, _) => "pipelinerun: other",
    }
}
