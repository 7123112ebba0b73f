//! A single-use machine. The row comes before the machine: written by the runs loop (wanted), then by the
//! machines loop (observed); agent sessions bind the boot nonce. Read by both.

use serde::{Deserialize, Serialize};

use crate::backend::{RowKey, Table};

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Its id, which is also its name at the provider.
    pub id: String,
    /// Cell that pays for it.
    pub cell: String,
    /// The attempt that owns it: row key inside [`Table::Attempt`] as (tenant, key). `None`: warm.
    #[serde(default)]
    pub attempt: Option<(String, String)>,
    /// How far it is.
    pub phase: Phase,
    /// Boot nonce of the first agent that spoke for it; another nonce is a reboot and burns it.
    #[serde(default)]
    pub nonce: Option<String>,
    /// SHA-256 (hex) of the token that its agent must show.
    pub token_sha256: String,
    /// What the provider was asked for: milli-CPUs and bytes of memory.
    #[serde(default)]
    pub millicpu: u64,
    /// Bytes of memory.
    #[serde(default)]
    pub memory: u64,
    /// When its row was made, µs since 1970.
    pub created_us: i64,
    /// It is counted in its cell's [`capacity`]: only then may it be made. Given back when the row goes.
    #[serde(default)]
    pub reserved: bool,
}

/// Counter of a cell's reserved machines. Its limit is what keeps racing replicas within the cell's capacity.
pub fn capacity(cell: &str) -> String {
    format!("{cell}/machines")
}

/// How far a machine is. Forward only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Wanted, perhaps being created.
    Provisioning,
    /// An agent has spoken.
    Ready,
    /// It has an attempt's Order.
    Claimed,
    /// Never to be used again; to be deleted at the provider.
    Burnt,
}

/// Row of a machine.
pub fn row(cell: &str, id: &str) -> RowKey {
    RowKey::new(Table::Machine, cell, id)
}
