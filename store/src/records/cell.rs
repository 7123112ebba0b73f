//! What is known of a cell. Read by every gateway for placement and forwarding, and by the place loops.
//!
//! - [`CellRow`]: heartbeat and capacity; written by the cell's replicas, a few times per minute, outside the log.
//! - [`Replica`]: one process of the cell and where it is reached; written by that process alone.
//! - [`Drain`]: an operator's wish that the cell takes no new runs; written by the gateway's admin API. The cell
//!   repeats it in its heartbeat, in a transaction that checks this row.

use serde::{Deserialize, Serialize};

use crate::backend::{RowKey, Table};

/// What a cell says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CellRow {
    /// The cell.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// Address of the replica that wrote this, at which it takes wake-ups and log requests.
    pub address: String,
    /// µs since 1970 of this heartbeat.
    pub at_us: i64,
    /// Takes no new runs.
    pub draining: bool,
    /// Most machines at one time.
    pub machines_max: u32,
    /// Machines now.
    pub machines: u32,
    /// Architectures offered, in Go's words: `amd64`.
    pub arch: Vec<String>,
    /// It sleeps, so there is no heartbeat, and would wake by itself at this time (µs since 1970). It may be placed
    /// on: a wake-up wakes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asleep_until_us: Option<i64>,
}

/// One process of a cell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Its cell.
    pub cell: String,
    /// Its name, unique in its cell.
    pub replica: String,
    /// Address at which gateways and other replicas reach it.
    pub address: String,
    /// Address at which agents reach it.
    pub agents: String,
    /// µs since 1970 of its last heartbeat.
    pub at_us: i64,
    /// It sleeps until then, unless it is woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asleep_until_us: Option<i64>,
}

/// A wish that a cell takes no new runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drain {
    /// The cell.
    pub cell: String,
    /// Since when, µs since 1970.
    pub since_us: i64,
    /// Which operator has asked for it.
    pub by: String,
}

/// Partition of [`CellRow`]s.
pub const CELLS: &str = "cells";
/// Partition of [`Drain`]s.
pub const DRAINS: &str = "drains";

/// Row of a cell.
pub fn row(cell: &str) -> RowKey {
    RowKey::new(Table::Cell, CELLS, cell)
}

/// Partition of the replicas of a cell.
pub fn replicas(cell: &str) -> String {
    format!("replicas/{cell}")
}

/// Row of a replica.
pub fn replica_row(cell: &str, replica: &str) -> RowKey {
    RowKey::new(Table::Cell, replicas(cell), replica)
}

/// Row of a drain.
pub fn drain_row(cell: &str) -> RowKey {
    RowKey::new(Table::Cell, DRAINS, cell)
}
