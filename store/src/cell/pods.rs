//! Pods and what hangs on them: the attempt that runs a Pod and the machine that the attempt gets.

use std::collections::BTreeMap;

use apimachinery::meta;
use apimachinery::time::Micros;
use serde_json::Value;

use super::view::View;
use super::{CellError, CellStore, RERUN, Seen, derived_uid, epoch_of, remove, replace, sha256_hex};
use crate::backend::{Op, Pre, Revision};
use crate::object::ObjectKey;
use crate::records;
use crate::records::attempt::{Again, Attempt, Cause, ClaimUse, Phase};
use crate::records::machine::{self, Machine};

/// What a Pod asks of its machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MachineSize {
    /// Thousandths of a CPU.
    pub millicpu: u64,
    /// Bytes of memory.
    pub memory: u64,
}

/// Grace of a Pod that says none, s.
const GRACE_S: i64 = 30;

/// A machine that a Pod is created with.
pub(super) struct Wish {
    /// What the Pod asks of it.
    pub(super) size: MachineSize,
    /// It is counted in the cell's capacity by the same transaction, whose limit this is.
    pub(super) reserve: Option<u32>,
}

impl CellStore {
    /// The ops that make the attempt and the machine of a Pod. Earlier attempts of the Try that have not started
    /// lose their claim to start.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when an earlier attempt may still be running.
    #[allow(clippy::too_many_arguments, reason = "one row each of what the attempt binds together")]
    pub(super) fn attempt_create(
        &self,
        view: &View,
        pod: &ObjectKey,
        uid: &str,
        wish: &Wish,
        status: &Value,
        claims: Vec<ClaimUse>,
        now: Micros,
        ops: &mut Vec<Op>,
    ) -> Result<(), CellError> {
        let run = &view.run;
        let owner = super::owner_key(&run.key.tenant, &run.value).map(|(_, uid)| uid);
        let retry = retry_of(status);
        if view.fence(retry, now.0).is_some() {
            return Err(CellError::Conflict { what: "an earlier attempt of the run".into() });
        }
        let before: Vec<_> = view.attempts.iter().filter(|(a, _)| a.retry == retry).collect();
        for (earlier, revision) in &before {
            if matches!(earlier.phase, Phase::Free | Phase::Claimed) {
                let why = "its Pod was deleted before it had started";
                ops.push(end(earlier, *revision, Phase::Revoked, Cause::Unwanted, why, now));
            }
        }
        let attempt = Attempt {
            id: uid.to_owned(),
            tenant: run.key.tenant.clone(),
            cell: self.cell().to_owned(),
            namespace: run.key.namespace.clone(),
            run: run.key.name.clone(),
            run_uid: meta::uid(&run.value).to_owned(),
            retry,
            ordinal: before.iter().map(|(a, _)| a.ordinal + 1).max().unwrap_or(0),
            pod: pod.name.clone(),
            machine: machine_id(uid),
            phase: Phase::Free,
            nonce: None,
            seq: 0,
            epoch: epoch_of(&run.value),
            timings: BTreeMap::from([("queued".into(), queued_us(view)), ("placed".into(), now.0)]),
            claims,
            group: owner.unwrap_or_else(|| meta::uid(&run.value).to_owned()),
            volumes: BTreeMap::new(),
            again: before.last().map(|(last, _)| again_after(last)),
            infra: u32::try_from(before.iter().filter(|(a, _)| a.is_infra()).count()).unwrap_or(u32::MAX),
            cause: None,
            why: None,
            rerun: meta::annotation(&run.value, RERUN) == Some("true"),
            dead: false,
        };
        let row = attempt.row();
        let machine = Machine {
            id: attempt.machine.clone(),
            cell: self.cell().to_owned(),
            attempt: Some((row.partition.clone(), row.key.clone())),
            phase: machine::Phase::Provisioning,
            nonce: None,
            token_sha256: sha256_hex(self.machine_token(&attempt.machine).as_bytes()),
            millicpu: wish.size.millicpu,
            memory: wish.size.memory,
            created_us: now.0,
            reserved: wish.reserve.is_some(),
        };
        let key = machine::row(self.cell(), &machine.id);
        ops.push(put_record(row, Pre::Absent, records::encode(&attempt)));
        ops.push(put_record(key, Pre::Absent, records::encode(&machine)));
        ops.extend(wish.reserve.map(|max| reserve(self.cell(), max)));
        Ok(())
    }

    /// The ops that delete a Pod: at once when nothing of the user's can have run; after the grace otherwise,
    /// when the agent has said how it ended.
    pub(super) fn pod_delete(
        &self,
        pod: &Seen,
        attempt: Option<&(Attempt, Revision)>,
        now: Micros,
        ops: &mut Vec<Op>,
    ) {
        match attempt {
            Some((attempt, revision)) if matches!(attempt.phase, Phase::Free | Phase::Claimed) => {
                let why = "nobody wanted it any more before it had started";
                ops.push(end(attempt, *revision, Phase::Revoked, Cause::Unwanted, why, now));
                ops.push(remove(pod));
            }
            Some((attempt, _)) if attempt.phase == Phase::Started => {
                if !meta::is_deleting(&pod.value) {
                    ops.push(replace(pod, &marked(&pod.value, now)));
                }
            }
            _ => ops.push(remove(pod)),
        }
    }
}

/// The pod with a deletionTimestamp at the end of its grace.
fn marked(pod: &Value, now: Micros) -> Value {
    let mut pod = pod.clone();
    let grace_s = grace_s(&pod);
    meta::set(&mut pod, "deletionTimestamp", Micros(now.0 + grace_s * 1_000_000).rfc3339());
    meta::set(&mut pod, "deletionGracePeriodSeconds", grace_s);
    pod
}

/// Seconds between TERM and KILL.
pub(super) fn grace_s(pod: &Value) -> i64 {
    let said = &pod["metadata"]["deletionGracePeriodSeconds"];
    said.as_i64().or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(GRACE_S)
}

/// The machine of an attempt: the same name for the same attempt, so that a repeated create meets itself.
pub fn machine_id(attempt: &str) -> String {
    let hash = derived_uid(&["machine", attempt]);
    format!("m-{}", hash.chars().filter(|c| *c != '-').take(16).collect::<String>())
}

/// The retry index that a run with this status is at.
pub fn retry_of(status: &Value) -> u32 {
    u32::try_from(status["retriesStatus"].as_array().map_or(0, Vec::len)).unwrap_or(u32::MAX)
}

/// Why there is another attempt after `last` of the same Try.
pub fn again_after(last: &Attempt) -> Again {
    match last.cause {
        Some(Cause::Machine | Cause::Exhausted | Cause::Lease) => Again::Infrastructure,
        Some(Cause::Moved) => Again::Moved,
        Some(Cause::Unwanted) | None => Again::Asked,
    }
}

/// An op that ends an attempt before its own end, and says why.
pub(super) fn end(
    attempt: &Attempt,
    revision: Revision,
    phase: Phase,
    cause: Cause,
    why: &str,
    now: Micros,
) -> Op {
    let mut attempt = Attempt { phase, cause: Some(cause), why: Some(why.to_owned()), ..attempt.clone() };
    attempt.timings.entry("ended".into()).or_insert(now.0);
    put_record(attempt.row(), Pre::Rev(revision), records::encode(&attempt))
}

/// The op that counts one machine more in the cell's capacity.
pub(super) fn reserve(cell: &str, max: u32) -> Op {
    Op::Add { counter: machine::capacity(cell), delta: 1, max: Some(i64::from(max)) }
}

pub(super) fn put_record(key: crate::backend::RowKey, pre: Pre, body: bytes::Bytes) -> Op {
    Op::Put { key, pre, owner: None, body, prev: None }
}

/// When the run began to wait: its creation, to the µs where that is still known.
fn queued_us(view: &View) -> i64 {
    let earlier = view.attempts.first().and_then(|(a, _)| a.timings.get("queued")).copied();
    let created = Micros::parse(meta::text(&view.run.value, "creationTimestamp")).map(|t| t.0);
    let written = view.run.revision.micros();
    let unwritten = view.run.value["status"].as_object().is_none_or(serde_json::Map::is_empty);
    earlier.or(unwritten.then_some(written)).or(created).unwrap_or(written)
}

/// The claims that a Pod mounts.
pub(super) fn claims_of(pod: &Value) -> Vec<ClaimUse> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let claims = volumes.map(|volume| &volume["persistentVolumeClaim"]).filter_map(|source| {
        let claim = source["claimName"].as_str()?.to_owned();
        Some(ClaimUse { claim, read_only: source["readOnly"] == true })
    });
    claims.collect()
}
