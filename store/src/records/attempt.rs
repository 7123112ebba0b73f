//! One machine's go at a Try. Created by the runs loop with the Pod; claimed, started, revoked and reported by
//! the cell's agent sessions and machines loop, always by compare-and-set; read by all of them.
//!
//! ```text
//! free -> claimed(machine, nonce) -> started -> done
//!   \          \                       \-> lost
//!    \----------\-> revoked
//! ```
//! Forward only. `started` and `revoked` are both reached by compare-and-set from `claimed`, so that at most
//! one of them is true: whether user code may have begun is a fact in the store. `dead` comes later than `lost`:
//! it says that nothing of the attempt runs any more. A further attempt of the same Try waits for it; see
//! [`Attempt::blocks`] and `docs/never-twice.md`.

use serde::{Deserialize, Serialize};

use crate::backend::{RowKey, Table};
use crate::object::ObjectKey;

/// An attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// The attempt's id: the uid of its Pod.
    pub id: String,
    /// Tenant of the run.
    pub tenant: String,
    /// Cell that runs it.
    pub cell: String,
    /// Namespace of run and Pod.
    pub namespace: String,
    /// The TaskRun.
    pub run: String,
    /// Uid of the TaskRun.
    pub run_uid: String,
    /// Retry index of the TaskRun: with the uid it names the Try.
    pub retry: u32,
    /// Counts the attempts of one Try, from 0.
    pub ordinal: u32,
    /// Name of the Pod.
    pub pod: String,
    /// Name of the machine that shall run it.
    pub machine: String,
    /// How far it is.
    pub phase: Phase,
    /// Boot nonce of the claimer, once claimed.
    #[serde(default)]
    pub nonce: Option<String>,
    /// Sequence number of the last report taken in.
    #[serde(default)]
    pub seq: u64,
    /// Placement epoch of the root run under which it was made.
    pub epoch: u64,
    /// Instants in µs since 1970: `created`, `claimed`, `started`, and what the agent reports.
    #[serde(default)]
    pub timings: std::collections::BTreeMap<String, i64>,
    /// Claims that its Pod mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimUse>,
    /// What it shares volumes with: its PipelineRun's uid, or its own run's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Volumes that it has, with the generation of each, by uid of the claim.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub volumes: std::collections::BTreeMap<String, u64>,
    /// Why there is this one beside an earlier one of the same Try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Attempts of this Try before this one that the infrastructure has lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub infra: u32,
    /// What ended it, when it was not its own end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// It may be run again after its machine was lost, so its agent keeps a lease.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rerun: bool,
    /// Lost, and it is proved that nothing of it runs any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dead: bool,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_false(b: &bool) -> bool {
    !*b
}

/// Why a Try has a further attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// The infrastructure lost the one before.
    Infrastructure,
    /// The run was placed elsewhere.
    Moved,
    /// A user deleted the Pod: that asks for a rerun.
    Asked,
}

/// What ended an attempt before its own end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its machine was lost, or never came.
    Machine,
    /// The same, and there were too many before: the Try fails.
    Exhausted,
    /// Its agent had no answer for a whole lease and has ended everything.
    Lease,
    /// Its run was placed on another cell.
    Moved,
    /// Nobody wanted it any more: its run was cancelled, has ended or is gone, or its Pod was deleted.
    Unwanted,
}

/// How long an agent that keeps a lease may go on without an answer, µs.
pub const LEASE_US: i64 = 30_000_000;
/// Furthest that two clocks of ours (a cell's, the store's) may be apart, µs.
pub const SKEW_US: i64 = 5_000_000;
/// Longest time from the end of a lease until nothing of the pod runs, µs.
pub const KILL_US: i64 = 5_000_000;

/// What a further attempt of the same Try must wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// Word that it has ended, or that its machine is deleted.
    Proof,
    /// The same, or this moment (µs since 1970): by then its lease has surely run out.
    Until(i64),
}

/// A claim that a Pod mounts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ClaimUse {
    /// Its name.
    pub claim: String,
    /// Only for reading.
    #[serde(default)]
    pub read_only: bool,
}

/// How far an attempt is. The order is the order of the states.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody has it.
    Free,
    /// A machine has its Order; no user code has run.
    Claimed,
    /// The start gate was passed: user code may have run.
    Started,
    /// Will never start.
    Revoked,
    /// Its machine was lost after the gate.
    Lost,
    /// Its last report was taken in.
    Done,
}

impl Attempt {
    /// It ended, or never began, for a fault of the infrastructure.
    pub fn is_infra(&self) -> bool {
        matches!(self.cause, Some(Cause::Machine | Cause::Exhausted | Cause::Lease))
    }

    /// What a further attempt of its Try must wait for, at `now_us`; `committed_us` is when its row was written last.
    pub fn blocks(&self, committed_us: i64, now_us: i64) -> Option<Block> {
        match self.phase {
            // Revoked by compare-and-set in the very transaction that makes the other one.
            Phase::Free | Phase::Claimed | Phase::Revoked | Phase::Done => None,
            Phase::Started => Some(Block::Proof),
            Phase::Lost if self.dead => None,
            // An agent's lease is renewed only on a view that is younger than the renewal: none of those that it
            // holds is younger than the commit that made this attempt lost.
            Phase::Lost if self.rerun => {
                let until = committed_us + LEASE_US + SKEW_US + KILL_US;
                (now_us < until).then_some(Block::Until(until))
            }
            Phase::Lost => Some(Block::Proof),
        }
    }

    /// The attempt's row.
    pub fn row(&self) -> RowKey {
        row(&self.tenant, &self.run_uid, self.retry, self.ordinal)
    }
    /// The TaskRun's object.
    pub fn run_key(&self) -> ObjectKey {
        ObjectKey {
            tenant: self.tenant.clone(),
            kind: "taskruns.tekton.dev".into(),
            namespace: self.namespace.clone(),
            name: self.run.clone(),
        }
    }
}

/// Row of an attempt of a Try.
pub fn row(tenant: &str, run_uid: &str, retry: u32, ordinal: u32) -> RowKey {
    RowKey::new(Table::Attempt, tenant, format!("{run_uid}/{retry:04}/{ordinal:04}"))
}
