//! Heartbeat and capacity of a cell. Written by the cell, a few times per minute, outside the log; read by
//! every gateway for placement.

use serde::{Deserialize, Serialize};

use crate::backend::{RowKey, Table};

/// What a cell says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CellRow {
    /// The cell.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// Address at which its server takes wake-ups and log requests.
    pub address: String,
    /// µs since 1970 of this heartbeat.
    pub at_us: i64,
    /// Accepts new runs.
    pub draining: bool,
    /// Most machines at one time.
    pub machines_max: u32,
    /// Machines now.
    pub machines: u32,
    /// Architectures offered, in Go's words: `amd64`.
    pub arch: Vec<String>,
}

/// Row of a cell.
pub fn row(cell: &str) -> RowKey {
    RowKey::new(Table::Cell, "cells", cell)
}
