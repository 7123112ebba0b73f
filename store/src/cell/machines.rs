//! The machines of a cell: what is wanted, what was lost, what can be forgotten.

use apimachinery::meta;
use serde_json::{Value, json};

use super::pods::{put_record, set_phase};
use super::session::Session;
use super::{CellError, CellStore, remove, replace};
use crate::backend::{Op, Pre, Read, Revision, RowKey, Table};
use crate::records::attempt::{Attempt, Phase};
use crate::records::machine::{self, Machine};
use crate::records::{self, cell};

/// Most machines of one cell.
const MACHINES_MAX: usize = 100_000;
/// After so many attempts of one Try that were lost before the start gate the run fails instead of going on.
pub const BOOTS_MAX: u32 = 5;

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
    /// Before the start gate: another attempt goes.
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

    /// The provider has confirmed that the machine is no more: forgets it.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when its row has changed.
    pub async fn machine_forget(&self, seen: &MachineSeen) -> Result<(), CellError> {
        let key = machine::row(self.cell(), &seen.machine.id);
        self.commit("machine_forget", vec![Op::Delete { key, pre: Pre::Rev(seen.revision), last: None }])
            .await
            .map(drop)
    }

    /// The machine is gone, or was burnt: says so in its attempt. Before the start gate the attempt is revoked
    /// and its Pod removed, so that the run makes another one at once; after it the Try fails.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when something has changed: look again.
    pub async fn machine_lost(&self, id: &str, why: &str) -> Result<Loss, CellError> {
        let Some(session) = self.session(id).await? else { return Ok(Loss::Nothing) };
        let Some((attempt, revision)) = session.attempt.clone() else {
            self.commit("machine_burn", vec![session.burn_op()]).await?;
            return Ok(Loss::Nothing);
        };
        let early = match attempt.phase {
            Phase::Free | Phase::Claimed => true,
            Phase::Started => false,
            Phase::Revoked | Phase::Lost | Phase::Done => return Ok(Loss::Nothing),
        };
        let replaced = early && attempt.ordinal + 1 < BOOTS_MAX;
        let mut ops = vec![
            set_phase(&attempt, revision, if replaced { Phase::Revoked } else { Phase::Lost }),
            session.burn_op(),
            self.due_of(&session, &attempt),
        ];
        ops.extend(pod_after_loss(&session, replaced, why));
        self.commit("machine_lost", ops).await?;
        Ok(if replaced { Loss::Replaced } else { Loss::Failed })
    }

    /// Says in the Pod's status that it waits for a machine, and why; each reason once.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when something has changed, which says more.
    pub async fn machine_waits(&self, id: &str, why: &str) -> Result<(), CellError> {
        let Some(session) = self.session(id).await? else { return Ok(()) };
        let Some(pod) = &session.pod else { return Ok(()) };
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

    /// The heartbeat of this cell.
    ///
    /// # Errors
    /// [`CellError::Unavailable`].
    pub async fn heartbeat(&self, row: &cell::CellRow) -> Result<(), CellError> {
        let op = put_record(cell::row(&row.cell), Pre::Any, records::encode(row));
        self.commit("cell_heartbeat", vec![op]).await.map(drop)
    }

    /// All cells of the Home, by their last heartbeats.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn cells(&self) -> Result<Vec<cell::CellRow>, CellError> {
        let scan = Read::Scan {
            table: Table::Cell,
            partition: "cells".into(),
            from: String::new(),
            to: String::new(),
            limit: MACHINES_MAX,
        };
        let rows = self.snapshot(vec![scan]).await?.answers.remove(0).rows;
        rows.iter().map(|row| Ok(records::decode(&row.body)?)).collect()
    }
}

fn pod_after_loss(session: &Session, replaced: bool, why: &str) -> Option<Op> {
    let pod = session.pod.as_ref()?;
    if replaced || meta::is_deleting(&pod.value) {
        return Some(remove(pod));
    }
    let mut new = pod.value.clone();
    new["status"] = failed_status(&pod.value["status"], why);
    Some(replace(pod, &new))
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
