//! Where the content of a claim is, and which attempts may use it now. Written by the machines loop of its cell, always by
//! compare-and-set; read by the gate and by lowering.
//!
//! A volume stays in the cell in which it was first used. Every attempt that gets it gets it under a generation of its
//! own, one higher than the last. When attempts have ended, the `floor` rises to the lowest generation still in use:
//! whoever comes with a lower one has lost the volume.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::backend::{RowKey, Table};

/// A volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// Uid of its claim.
    pub uid: String,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub claim: String,
    /// Cell that has the content.
    pub cell: String,
    /// Generation of the last holder.
    pub generation: u64,
    /// Lowest generation that may attach.
    pub floor: u64,
    /// Who has it.
    pub holders: Vec<Holder>,
}

/// An attempt that has a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The attempt's id.
    pub attempt: String,
    /// Key of the attempt's row.
    pub row: String,
    /// Its machine.
    pub machine: String,
    /// Its TaskRun, for people.
    pub run: String,
    /// What it shares volumes with: its PipelineRun's uid, or its own run's.
    pub group: String,
    /// Under which generation.
    pub generation: u64,
    /// It cannot write.
    pub read_only: bool,
}

/// How a claim may be shared, from its access modes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Modes(BTreeSet<String>);

impl Modes {
    /// The access modes of a claim. One that says none is written to by one at a time.
    pub fn of(claim: &serde_json::Value) -> Self {
        let all = claim["spec"]["accessModes"].as_array().into_iter().flatten();
        Self(all.filter_map(|mode| mode.as_str().map(str::to_owned)).collect())
    }

    fn has(&self, mode: &str) -> bool {
        self.0.contains(mode)
    }

    /// Nobody can write.
    pub fn read_only(&self) -> bool {
        self.has("ReadOnlyMany") && self.0.len() == 1
    }

    /// The holder that keeps `asker` from having the volume as well; `None`: nobody does.
    ///
    /// Kubernetes counts nodes where it says "once", and the reference brings all tasks of a run that share a claim to
    /// one node. A machine runs one task, so here it is the run that counts.
    pub fn keeps_out<'a>(&self, asker: &Holder, holders: &'a [Holder]) -> Option<&'a Holder> {
        if self.has("ReadWriteMany") || self.read_only() {
            return None;
        }
        if self.has("ReadWriteOncePod") {
            return holders.first();
        }
        let reads_along = |holder: &Holder| self.has("ReadOnlyMany") && holder.read_only && asker.read_only;
        holders.iter().find(|holder| holder.group != asker.group && !reads_along(holder))
    }
}

impl std::fmt::Display for Modes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("ReadWriteOnce");
        }
        f.write_str(&self.0.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    }
}

impl Volume {
    /// Whether an attempt has it, under this generation.
    pub fn is_held(&self, attempt: &str, generation: u64) -> bool {
        generation >= self.floor
            && self.holders.iter().any(|h| h.attempt == attempt && h.generation == generation)
    }
}

/// Row of a claim's volume.
pub fn row(tenant: &str, uid: &str) -> RowKey {
    RowKey::new(Table::Volume, tenant, uid)
}

#[cfg(test)]
mod tests;
