//! The machines of a cell: what is wanted, what was lost, what can be forgotten.

use apimachinery::meta;
use serde_json::{Value, json};

use super::pods::{put_record, reserve};
use super::session::Session;
use super::{CellError, CellStore, RERUN, remove, replace};
use crate::backend::{Op, Pre, Read, Revision, RowKey, Table};
use crate::records;
use crate::records::attempt::{Attempt, Cause, Phase};
use crate::records::machine::{self, Machine};

/// Most machines of one cell.
const MACHINES_MAX: usize = 100_000;
/// After so many attempts of one Try that the infrastructure has lost the run fails instead of going on.
pub const BOOTS_MAX: u32 = 5;
/// Reason of a run whose machine was lost after its steps had started.
pub const MACHINE_LOST: &str = "MachineLost";
/// Reason of a run for which [`BOOTS_MAX`] machines were lost.
pub const MACHINES_EXHAUSTED: &str = "MachineRetriesExhausted";

/// Reason and message of a run whose Try ends with this attempt.
pub fn end_of(attempt: &Attempt) -> (&'static str, String) {
    let (pod, why) = (&attempt.pod, attempt.why.as_deref().unwrap_or("its machine was lost"));
    if attempt.cause == Some(Cause::Exhausted) {
        let message = format!(
            "{BOOTS_MAX} machines of pod {pod:?} were lost, and there are no more than {BOOTS_MAX} tries for failures \
             of the infrastructure, which do not count as retries; the last one: {why}"
        );
        return (MACHINES_EXHAUSTED, message);
    }
    let message = format!(
        "the machine of pod {pod:?} was lost after its steps had started ({why}); they are not run again on their \
         own: annotation {RERUN} \"true\" asks for that"
    );
    (MACHINE_LOST, message)
}

/// A machine that the store knows.
#[derive(Clone, Debug)]
pub struct MachineSeen {
    /// Its row.
    pub machine: Machine,
    /// The row's revision.
    pub revision: Revision,
    /// Its attempt.
    pub attempt: Option<Attempt>,
}

impl MachineSeen {
    /// It is to be deleted at the provider: nobody waits for it any more.
    pub fn is_over(&self) -> bool {
        let ended = match &self.attempt {
            Some(attempt) => matches!(attempt.phase, Phase::Revoked | Phase::Lost | Phase::Done),
            None => self.machine.attempt.is_some(),
        };
        ended || self.machine.phase == machine::Phase::Burnt && self.attempt.is_none()
    }

    /// It is burnt while its attempt still counts on it.
    pub fn is_lost(&self) -> bool {
        self.machine.phase == machine::Phase::Burnt && !self.is_over()
    }
}

/// What the loss of a machine meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing: its attempt had ended.
    Nothing,
    /// Another attempt goes: it was before the start gate, or the run is to be run again.
    Replaced,
    /// After the gate, or too often before it: the Try fails.
    Failed,
}

impl CellStore {
    /// All machines of this cell with their attempts.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn machines(&self) -> Result<Vec<MachineSeen>, CellError> {
        let scan = Read::Scan {
            table: Table::Machine,
            partition: self.cell().to_owned(),
            from: String::new(),
            to: String::new(),
            limit: MACHINES_MAX,
        };
        let rows = self.snapshot(vec![scan]).await?.answers.remove(0).rows;
        let mut machines: Vec<(Machine, Revision)> = Vec::with_capacity(rows.len());
        for row in rows {
            machines.push((records::decode(&row.body)?, row.revision));
        }
        let reads = machines.iter().filter_map(|(machine, _)| machine.attempt.clone());
        let reads: Vec<Read> =
            reads.map(|(tenant, key)| Read::Get(RowKey::new(Table::Attempt, tenant, key))).collect();
        let mut attempts =
            if reads.is_empty() { Vec::new() } else { self.snapshot(reads).await?.answers }.into_iter();
        let mut out = Vec::with_capacity(machines.len());
        for (machine, revision) in machines {
            let rows = machine.attempt.as_ref().and_then(|_| attempts.next());
            let row = rows.and_then(|rows| rows.rows.into_iter().next());
            let attempt = row.map(|row| records::decode(&row.body)).transpose()?;
            out.push(MachineSeen { machine, revision, attempt });
        }
        Ok(out)
    }

    /// Counts the machine in the cell's capacity, if there is room for it beside the others: only then may it be
    /// made. Answers whether it is counted now.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when its row has changed: look again.
    pub async fn machine_reserve(&self, seen: &MachineSeen, max: u32) -> Result<bool, CellError> {
        let key = machine::row(self.cell(), &seen.machine.id);
        let reserved = Machine { reserved: true, ..seen.machine.clone() };
        let put = put_record(key, Pre::Rev(seen.revision), records::encode(&reserved));
        match self.commit("machine_reserve", vec![put, reserve(self.cell(), max)]).await {
            Ok(_) => Ok(true),
            Err(CellError::Limit) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The provider has confirmed that the machine is no more: forgets it, gives its place back, and says in its
    /// attempt that nothing of it runs any more.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when its row has changed.
    pub async fn machine_forget(&self, seen: &MachineSeen) -> Result<(), CellError> {
        let machine = &seen.machine;
        let key = machine::row(self.cell(), &machine.id);
        let mut ops = vec![Op::Delete { key, pre: Pre::Rev(seen.revision), last: None }];
        if machine.reserved {
            let counter = machine::capacity(self.cell());
            ops.push(Op::Add { counter, delta: -1, max: None });
        }
        if let Some(session) = self.session(&machine.id).await?
            && let Some((attempt, revision)) = &session.attempt
            && attempt.phase == Phase::Lost
            && !attempt.dead
        {
            let dead = Attempt { dead: true, ..attempt.clone() };
            ops.push(put_record(dead.row(), Pre::Rev(*revision), records::encode(&dead)));
            ops.push(self.due_of(&session, attempt));
        }
        self.commit("machine_forget", ops).await.map(drop)
    }

    /// The machine is gone, or was burnt: says so in its attempt. Before the start gate the attempt is revoked
    /// and its Pod removed, so that the run makes another one at once; after it the Try fails, unless it may be run
    /// again.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when something has changed: look again.
    pub async fn machine_lost(&self, id: &str, why: &str) -> Result<Loss, CellError> {
        let Some(session) = self.session(id).await? else { return Ok(Loss::Nothing) };
        let Some((attempt, revision)) = session.attempt.clone() else {
            self.commit("machine_burn", vec![session.burn_op()]).await?;
            return Ok(Loss::Nothing);
        };
        if matches!(attempt.phase, Phase::Revoked | Phase::Lost | Phase::Done) {
            return Ok(Loss::Nothing);
        }
        let mut after = attempt.clone();
        let again = self.lose(&mut after, Cause::Machine, why);
        let mut ops = vec![
            put_record(after.row(), Pre::Rev(revision), records::encode(&after)),
            session.burn_op(),
            self.due_of(&session, &attempt),
        ];
        ops.extend(pod_after_loss(&session, again, why));
        self.commit("machine_lost", ops).await?;
        Ok(if again { Loss::Replaced } else { Loss::Failed })
    }

    /// Writes into `attempt` that the infrastructure has lost it; answers whether another one goes.
    pub(super) fn lose(&self, attempt: &mut Attempt, cause: Cause, why: &str) -> bool {
        let early = matches!(attempt.phase, Phase::Free | Phase::Claimed);
        let last = attempt.infra + 1 >= BOOTS_MAX;
        attempt.phase = if early { Phase::Revoked } else { Phase::Lost };
        let again = (early || attempt.rerun) && !last;
        attempt.cause = Some(if last && (early || attempt.rerun) { Cause::Exhausted } else { cause });
        attempt.why = Some(why.to_owned());
        let now_us = self.host().clock.utc().0;
        attempt.timings.entry("ended".into()).or_insert(now_us);
        again
    }

    /// Says in the Pod's status that it waits for a machine, and why; each reason once. Whoever says so may have looked
    /// a while ago: of a Pod that has its machine nothing is said.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when something has changed, which says more.
    pub async fn machine_waits(&self, id: &str, why: &str) -> Result<(), CellError> {
        let Some(session) = self.session(id).await? else { return Ok(()) };
        let waits = session.attempt.as_ref().is_some_and(|(attempt, _)| attempt.phase == Phase::Free);
        let Some(pod) = session.pod.as_ref().filter(|_| waits) else { return Ok(()) };
        let conditions = pod.value["status"]["conditions"].as_array();
        let said = conditions.map(|all| all.iter().find(|c| c["reason"] == "Unschedulable"));
        // Something else is said already, or this very thing.
        if said.is_some_and(|said| said.is_none_or(|said| said["message"] == why)) {
            return Ok(());
        }
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why});
        self.pod_status(&session, json!({"phase": "Pending", "conditions": [condition]})).await
    }

    /// How long, in ms, an agent whose run or Pod nobody wants any more may take to stop; `None`: it is wanted. What
    /// a run that is gone without a trace has left is collected.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Conflict`].
    pub async fn machine_unwanted(&self, id: &str) -> Result<Option<u64>, CellError> {
        let Some(session) = self.session(id).await? else { return Ok(Some(0)) };
        let Some((attempt, _)) = &session.attempt else { return Ok(None) };
        if session.run.is_none() {
            self.commit("run_vanished", vec![self.due_of(&session, attempt)]).await?;
        }
        Ok(match &session.pod {
            Some(pod) if session.run.is_some() && !meta::is_deleting(&pod.value) => None,
            Some(pod) => Some(super::session::grace_ms(&pod.value)),
            None => Some(0),
        })
    }
}

pub(super) fn pod_after_loss(session: &Session, replaced: bool, why: &str) -> Option<Op> {
    let pod = session.pod.as_ref()?;
    if replaced || meta::is_deleting(&pod.value) {
        return Some(remove(pod));
    }
    Some(replace(pod, &pod_lost(&pod.value, why)))
}

/// A Pod whose machine is lost.
pub(super) fn pod_lost(pod: &Value, why: &str) -> Value {
    let mut new = pod.clone();
    new["status"] = failed_status(&pod["status"], why);
    new
}

/// The status of a Pod whose machine is gone: what ran has ended, nobody knows how.
fn failed_status(status: &Value, why: &str) -> Value {
    let mut status = if status.is_object() { status.clone() } else { json!({}) };
    status["phase"] = json!("Failed");
    status["reason"] = json!("MachineLost");
    status["message"] = json!(format!("the machine was lost: {why}"));
    for list in ["initContainerStatuses", "containerStatuses"] {
        for container in status[list].as_array_mut().into_iter().flatten() {
            if container["state"]["terminated"].is_object() {
                continue;
            }
            let started = container["state"]["running"]["startedAt"].clone();
            let mut ended = json!({"exitCode": 255, "reason": "MachineLost"});
            if started.is_string() {
                ended["startedAt"] = started;
            }
            container["state"] = json!({"terminated": ended});
            container["ready"] = json!(false);
        }
        if status[list].is_null() {
            status.as_object_mut().map(|s| s.remove(list));
        }
    }
    status
}
