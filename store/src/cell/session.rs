//! What agents do to the store: claim the attempt that owns their machine, pass the start gate, report.
//!
//! ```text
//! claim:  free    -> claimed(nonce)   once; the same nonce asking again gets the same attempt
//! start:  claimed -> started          once; nothing of the user's runs before this is committed
//! report: Pod status, attempt and Due row in one transaction, only when something changed
//! renew:  reads only: may this boot go on for another lease
//! ```
//! Another nonce than the first one of a machine is a reboot: that machine is burnt.

use std::collections::BTreeMap;

use apimachinery::meta;
use apimachinery::time::Micros;
use serde_json::Value;

use super::known::Subject;
use super::pods::{end, grace_s, put_record};
use super::view::of_row;
use super::{CELL, CellError, CellStore, Seen, remove, replace, seen};
use crate::backend::{Op, Pre, Read, Revision, RowKey, Table};
use crate::object::ObjectKey;
use crate::records::attempt::{Attempt, Cause, Phase};
use crate::records::machine::{self, Machine};
use crate::records::{self, due};

/// A machine with all that concerns its agent, at one moment.
#[derive(Clone, Debug)]
pub struct Session {
    /// The machine.
    pub machine: Machine,
    /// Its revision.
    pub machine_revision: Revision,
    /// Its attempt, if it has one.
    pub attempt: Option<(Attempt, Revision)>,
    /// The attempt's Pod: the one with the attempt's id as its uid.
    pub pod: Option<Seen>,
    /// The run: the one with the attempt's run uid.
    pub run: Option<Seen>,
}

/// Answer to a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The attempt is this boot's.
    Mine(Box<Session>),
    /// There is none yet.
    Wait,
    /// This machine must not run anything any more.
    Burn(&'static str),
}

/// Answer at the start gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Started is committed.
    Go,
    /// Will never start.
    Revoked,
    /// This machine must not run anything any more.
    Burn(&'static str),
}

/// What an agent saw.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Sequence number.
    pub seq: u64,
    /// The Pod's status.
    pub status: Value,
    /// Annotations that the Pod gets with it.
    pub annotations: BTreeMap<String, String>,
    /// Nothing will follow.
    pub last: bool,
    /// Instants, µs since 1970.
    pub timings: BTreeMap<String, i64>,
}

/// Reason in the status of a Pod whose agent has ended everything because its lease had run out.
pub const LEASE_EXPIRED: &str = "LeaseExpired";
const REBOOTED: &str = "the machine has rebooted";
const FOREIGN: &str = "another boot has this attempt";
const BURNT: &str = "the machine is burnt";
const HANDED_ON: &str = "a volume of the attempt has been handed on";

/// What there is to know of a machine whose subject was not known.
enum Learnt {
    /// It is known now.
    Subject,
    /// There is none, or there is no such machine.
    Idle(Option<Box<Session>>),
}

impl Subject {
    fn of(attempt: &Attempt) -> Self {
        Self { attempt: attempt.row(), pod: pod_key(attempt), run: attempt.run_key() }
    }

    /// As a machine's row names it.
    fn place(&self) -> (String, String) {
        (self.attempt.partition.clone(), self.attempt.key.clone())
    }
}

impl Session {
    /// Of a machine that has no attempt.
    fn idle(machine: Machine, machine_revision: Revision) -> Self {
        Self { machine, machine_revision, attempt: None, pod: None, run: None }
    }

    /// The attempt if it is `id` and was claimed by `nonce`.
    pub fn claimed(&self, id: &str, nonce: &str) -> Option<&(Attempt, Revision)> {
        self.attempt.as_ref().filter(|(a, _)| a.id == id && a.nonce.as_deref() == Some(nonce))
    }

    fn machine_op(&self, machine: &Machine) -> Op {
        let key = machine::row(&machine.cell, &machine.id);
        put_record(key, Pre::Rev(self.machine_revision), records::encode(machine))
    }

    /// The op that burns the machine.
    pub(super) fn burn_op(&self) -> Op {
        self.machine_op(&Machine { phase: machine::Phase::Burnt, ..self.machine.clone() })
    }
}

impl CellStore {
    /// A machine of this cell.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn machine(&self, id: &str) -> Result<Option<(Machine, Revision)>, CellError> {
        let snapshot = self.snapshot(vec![Read::Get(machine::row(self.cell(), id))]).await?;
        let row = snapshot.answers[0].rows.first();
        row.map(|row| Ok((records::decode(&row.body)?, row.revision))).transpose()
    }

    /// A machine with all that concerns its agent; `None`: there is no such machine.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn session(&self, id: &str) -> Result<Option<Session>, CellError> {
        self.read_session(id, true).await
    }

    /// The attempt that the boot `nonce` of machine `id` has claimed, if it is `attempt`: for what needs no more than
    /// that, such as each piece of a log.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn claimed(&self, id: &str, nonce: &str, attempt: &str) -> Result<Option<Attempt>, CellError> {
        let session = self.read_session(id, false).await?;
        Ok(session.and_then(|session| session.claimed(attempt, nonce).map(|(attempt, _)| attempt.clone())))
    }

    /// A session, everything of it at one moment; without `documents` its Pod and its run are left out.
    async fn read_session(&self, id: &str, documents: bool) -> Result<Option<Session>, CellError> {
        loop {
            let Some(subject) = self.known.subject(id) else {
                match self.learn_subject(id).await? {
                    Learnt::Subject => continue,
                    Learnt::Idle(session) => return Ok(session.map(|session| *session)),
                }
            };
            let mut reads = vec![machine::row(self.cell(), id), subject.attempt.clone()];
            if documents {
                reads.extend([subject.pod.row(), subject.run.row()]);
            }
            let answers = self.snapshot(reads.into_iter().map(Read::Get).collect()).await?.answers;
            let Some(machine_row) = answers[0].rows.first() else {
                self.known.forget_subject(id);
                return Ok(None);
            };
            let machine: Machine = records::decode(&machine_row.body)?;
            let Some(row) = answers[1].rows.first() else {
                self.known.forget_subject(id);
                return Ok(Some(Session::idle(machine, machine_row.revision)));
            };
            let attempt: Attempt = records::decode(&row.body)?;
            if machine.attempt.as_ref() != Some(&subject.place()) || subject != Subject::of(&attempt) {
                self.known.forget_subject(id);
                continue;
            }
            let (mut pod, mut run) = (None, None);
            if documents {
                pod = seen(&subject.pod, &answers[2])?.filter(|pod| meta::uid(&pod.value) == attempt.id);
                run = seen(&subject.run, &answers[3])?.filter(|run| meta::uid(&run.value) == attempt.run_uid);
            }
            return Ok(Some(Session {
                machine,
                machine_revision: machine_row.revision,
                attempt: Some((attempt, row.revision)),
                pod,
                run,
            }));
        }
    }

    /// Finds out what the session of machine `id` is about.
    async fn learn_subject(&self, id: &str) -> Result<Learnt, CellError> {
        let Some((machine, revision)) = self.machine(id).await? else { return Ok(Learnt::Idle(None)) };
        if let Some((partition, key)) = machine.attempt.clone() {
            let row = RowKey::new(Table::Attempt, partition, key);
            let found = self.snapshot(vec![Read::Get(row)]).await?;
            if let Some(row) = found.answers[0].rows.first() {
                self.known.learn_subject(id, Subject::of(&records::decode(&row.body)?));
                return Ok(Learnt::Subject);
            }
        }
        Ok(Learnt::Idle(Some(Box::new(Session::idle(machine, revision)))))
    }

    /// The boot `nonce` of machine `id` speaks for the first time, or asks again after a lost answer. An agent that
    /// keeps no `leases` gets an attempt that is not run again after a loss.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: ask again; [`CellError::Unavailable`].
    pub async fn claim(&self, id: &str, nonce: &str, leases: bool) -> Result<Claim, CellError> {
        let Some(session) = self.session(id).await? else { return Ok(Claim::Burn("unknown machine")) };
        let machine = &session.machine;
        if machine.phase == machine::Phase::Burnt {
            return Ok(Claim::Burn(BURNT));
        }
        if machine.nonce.as_deref().is_some_and(|first| first != nonce) {
            self.commit("machine_burn", vec![session.burn_op()]).await?;
            return Ok(Claim::Burn(REBOOTED));
        }
        let spoken = |phase| Machine { phase, nonce: Some(nonce.to_owned()), ..machine.clone() };
        let Some((attempt, revision)) = &session.attempt else {
            if machine.attempt.is_some() {
                return Ok(Claim::Burn("its attempt is gone"));
            }
            if machine.nonce.is_none() {
                let op = session.machine_op(&spoken(machine::Phase::Ready));
                self.commit("machine_ready", vec![op]).await?;
            }
            return Ok(Claim::Wait);
        };
        match attempt.phase {
            Phase::Free if session.pod.is_none() => Ok(Claim::Burn("its pod is gone")),
            Phase::Free => {
                let mut claimed =
                    Attempt { phase: Phase::Claimed, nonce: Some(nonce.into()), ..attempt.clone() };
                claimed.rerun &= leases;
                claimed.timings.entry("booted".into()).or_insert(self.host().clock.utc().0);
                let ops = vec![
                    put_record(claimed.row(), Pre::Rev(*revision), records::encode(&claimed)),
                    session.machine_op(&spoken(machine::Phase::Claimed)),
                ];
                let committed = self.commit("attempt_claim", ops).await?;
                let machine = spoken(machine::Phase::Claimed);
                Ok(Claim::Mine(Box::new(Session {
                    machine,
                    machine_revision: committed.revisions[1],
                    attempt: Some((claimed, committed.revisions[0])),
                    ..session
                })))
            }
            Phase::Claimed if attempt.nonce.as_deref() == Some(nonce) => Ok(Claim::Mine(Box::new(session))),
            Phase::Claimed => Ok(Claim::Burn(FOREIGN)),
            // An agent that has passed the gate never asks again: this is a late message, or it has forgotten.
            Phase::Started => Ok(Claim::Burn("the attempt has started")),
            Phase::Revoked | Phase::Lost | Phase::Done => Ok(Claim::Burn("the attempt has ended")),
        }
    }

    /// The boot `nonce` asks to start user code. `status` is the Pod's at that moment, `volumes` the generations under
    /// which it has attached volumes.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: ask again; [`CellError::Unavailable`].
    pub async fn start(
        &self,
        id: &str,
        nonce: &str,
        attempt_id: &str,
        volumes: &BTreeMap<String, u64>,
        status: Value,
    ) -> Result<Gate, CellError> {
        let Some(session) = self.session(id).await? else { return Ok(Gate::Burn("unknown machine")) };
        let Some((attempt, revision)) = session.claimed(attempt_id, nonce) else {
            return Ok(Gate::Burn(FOREIGN));
        };
        // A late question of a boot that is over would start what nobody runs.
        if session.machine.phase == machine::Phase::Burnt && attempt.phase == Phase::Claimed {
            return Ok(Gate::Burn(BURNT));
        }
        match attempt.phase {
            Phase::Claimed => {}
            Phase::Started => return Ok(Gate::Go),
            Phase::Free | Phase::Revoked | Phase::Lost | Phase::Done => return Ok(Gate::Revoked),
        }
        if !self.volumes_held(attempt, volumes).await? {
            return Ok(Gate::Burn(HANDED_ON));
        }
        let wanted = session.pod.as_ref().filter(|pod| !meta::is_deleting(&pod.value));
        let (Some(pod), Some(run)) = (wanted, session.run.as_ref().filter(|run| is_wanted(&run.value)))
        else {
            let why = "its run was cancelled or its Pod was deleted before it had started";
            let now = Micros(self.host().clock.utc().0);
            let revoked = end(attempt, *revision, Phase::Revoked, Cause::Unwanted, why, now);
            let mut ops = vec![revoked, session.burn_op()];
            ops.extend(session.pod.as_ref().map(remove));
            ops.push(self.due_of(&session, attempt));
            self.commit("attempt_revoke", ops).await?;
            return Ok(Gate::Revoked);
        };
        let mut started = Attempt { phase: Phase::Started, ..attempt.clone() };
        started.timings.insert("gate".into(), self.host().clock.utc().0);
        let mut ops = vec![put_record(started.row(), Pre::Rev(*revision), records::encode(&started))];
        // Nobody may have removed the Pod meanwhile, to make room for another attempt.
        ops.push(status_op(pod, status).unwrap_or_else(|| unchanged(pod)));
        ops.push(due::put(self.cell(), &run.key, 0));
        self.commit("attempt_start", ops).await?;
        Ok(Gate::Go)
    }

    /// Takes in what the boot `nonce` saw of its attempt. Stale and repeated observations change nothing.
    /// Answers whether anything was written.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: ask again; [`CellError::Unavailable`].
    pub async fn report(
        &self,
        session: &Session,
        nonce: &str,
        attempt_id: &str,
        seen: Observation,
    ) -> Result<bool, CellError> {
        let Some((attempt, revision)) = session.claimed(attempt_id, nonce) else { return Ok(false) };
        if !matches!(attempt.phase, Phase::Claimed | Phase::Started) || seen.seq <= attempt.seq {
            return Ok(false);
        }
        // A boot of a burnt machine is told to stop. How it ends then is no failure of its pod's: the machine is lost.
        if session.machine.phase == machine::Phase::Burnt && seen.status["phase"] != "Succeeded" {
            return Ok(false);
        }
        let unchanged = session.pod.as_ref().is_none_or(|pod| pod.value["status"] == seen.status);
        if unchanged && !seen.last {
            return Ok(false);
        }
        let mut after = Attempt { seq: seen.seq, ..attempt.clone() };
        after.timings.extend(seen.timings);
        let mut ops = Vec::new();
        let starved = seen.last && attempt.rerun && seen.status["reason"] == LEASE_EXPIRED;
        if starved && attempt.phase == Phase::Started {
            // Its agent had no answer for so long that it has ended everything: a machine lost, with proof.
            after.dead = true;
            let again =
                self.lose(&mut after, Cause::Lease, "its agent could not reach the cell for a whole lease");
            ops.push(session.burn_op());
            ops.push(put_record(after.row(), Pre::Rev(*revision), records::encode(&after)));
            ops.extend(super::machines::pod_after_loss(session, again, after.why.as_deref().unwrap_or("")));
            ops.push(self.due_of(session, attempt));
            self.commit("attempt_starved", ops).await?;
            return Ok(true);
        }
        if seen.last {
            // An attempt that ended before the gate by failing (an image that cannot be had) is done as well.
            let done = attempt.phase == Phase::Started || ended_by_itself(&seen.status);
            after.phase = if done { Phase::Done } else { Phase::Revoked };
            after.timings.entry("done".into()).or_insert(self.host().clock.utc().0);
            ops.push(session.burn_op());
        }
        ops.push(put_record(after.row(), Pre::Rev(*revision), records::encode(&after)));
        if let Some(pod) = &session.pod {
            if seen.last && (meta::is_deleting(&pod.value) || after.phase == Phase::Revoked) {
                let mut ended = pod.clone();
                ended.value["status"] = seen.status;
                ops.push(remove(&ended));
            } else {
                let mut new = pod.value.clone();
                new["status"] = seen.status;
                for (key, value) in seen.annotations {
                    meta::set_annotation(&mut new, &key, value);
                }
                ops.extend((pod.value != new).then(|| replace(pod, &new)));
            }
        }
        ops.push(self.due_of(session, attempt));
        self.commit("attempt_report", ops).await?;
        Ok(true)
    }

    /// Whether the boot `nonce` may go on with its attempt for another lease: asked of the store after the agent
    /// has asked, so that no revocation that was committed before that is missed.
    ///
    /// # Errors
    /// [`CellError::Unavailable`]: no answer is the right answer then.
    pub async fn lease_renew(&self, id: &str, nonce: &str, attempt_id: &str) -> Result<bool, CellError> {
        let Some(session) = self.read_session(id, false).await? else { return Ok(false) };
        let Some((attempt, _)) = session.claimed(attempt_id, nonce) else { return Ok(false) };
        let burnt = session.machine.phase == machine::Phase::Burnt;
        Ok(!burnt && matches!(attempt.phase, Phase::Claimed | Phase::Started))
    }

    /// Writes a Pod status that the cell itself has found (its Order cannot be made), and makes the run look.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn pod_status(&self, session: &Session, status: Value) -> Result<(), CellError> {
        let (Some(pod), Some((attempt, _))) = (&session.pod, &session.attempt) else { return Ok(()) };
        let Some(op) = status_op(pod, status) else { return Ok(()) };
        self.commit("pod_status", vec![op, due::put(self.cell(), &attempt.run_key(), 0)]).await.map(drop)
    }

    /// The op that makes somebody look: at the run, or at what it left behind.
    pub(super) fn due_of(&self, session: &Session, attempt: &Attempt) -> Op {
        match &session.run {
            // It may be placed elsewhere by now.
            Some(run) => due::put(meta::annotation(&run.value, CELL).unwrap_or(self.cell()), &run.key, 0),
            None => super::collect::dependents(self.cell(), &attempt.run_key(), &attempt.run_uid),
        }
    }

    /// Objects by name, at one moment: what a Pod refers to.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn objects(
        &self,
        keys: impl IntoIterator<Item = ObjectKey>,
    ) -> Result<BTreeMap<ObjectKey, Option<Value>>, CellError> {
        let keys: Vec<ObjectKey> = keys.into_iter().collect();
        let snapshot = self.snapshot(keys.iter().map(|key| Read::Get(key.row())).collect()).await?;
        let mut out = BTreeMap::new();
        for (key, rows) in keys.into_iter().zip(&snapshot.answers) {
            let found = rows.rows.first().map(of_row).transpose()?.flatten();
            out.insert(key, found.map(|seen| seen.value));
        }
        Ok(out)
    }
}

/// Key of an attempt's Pod.
pub fn pod_key(attempt: &Attempt) -> ObjectKey {
    ObjectKey { kind: "pods".into(), name: attempt.pod.clone(), ..attempt.run_key() }
}

/// How long the agent may take from TERM to KILL, ms.
pub fn grace_ms(pod: &Value) -> u64 {
    u64::try_from(grace_s(pod)).unwrap_or(0) * 1000
}

fn is_wanted(run: &Value) -> bool {
    run["spec"]["status"] != "TaskRunCancelled" && !meta::is_deleting(run)
}

fn ended_by_itself(status: &Value) -> bool {
    matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"))
}

/// The op that lets a transaction pass only while the Pod is as it was seen.
fn unchanged(pod: &Seen) -> Op {
    Op::Check { key: pod.key.row(), pre: Pre::Rev(pod.revision) }
}

fn status_op(pod: &Seen, status: Value) -> Option<Op> {
    if pod.value["status"] == status {
        return None;
    }
    let mut new = pod.value.clone();
    new["status"] = status;
    Some(replace(pod, &new))
}
