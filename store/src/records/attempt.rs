//! One machine's go at a Try. Created by the runs loop with the Pod; claimed, started, revoked and reported by
//! the cell's agent sessions and machines loop, always by compare-and-set; read by all of them.
//!
//! ```text
//! free -> claimed(machine, nonce) -> started -> done
//!   \          \                       \-> lost
//!    \----------\-> revoked
//! ```
//! Forward only. `started` and `revoked` are both reached by compare-and-set from `claimed`, so that at most
//! one of them is true: whether user code may have begun is a fact in the store.

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
