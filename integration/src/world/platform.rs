//! What runs the processes of sleeping cells: a process that has said that it sleeps is taken away sooner or later, and
//! is started anew by a call to its address, or by the tick for which it asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use store::backend::{Op, Table, Txn};
use store::records;
use store::records::cell::{CELLS, CellRow, Replica};

use super::{EPOCH_US, NodeId, World};

/// A process that sleeps is taken away after this time, µs, if it is at all.
const TAKEN_US: (u64, u64) = (50_000, 5_000_000);
/// A process that is called takes so long to listen, µs.
const COLD_US: (u64, u64) = (50_000, 3_000_000);

/// Processes that may sleep, and how they stand.
#[derive(Default)]
pub(super) struct Platform {
    /// By cell and replica: the process, and the address at which it is called.
    sites: BTreeMap<(String, String), (NodeId, String)>,
    /// Until when those sleep that do, µs since 1970 by their own clocks.
    asleep: BTreeMap<NodeId, i64>,
    /// Cells that sleep as a whole.
    cells: BTreeSet<String>,
    /// Those that were taken away.
    taken: BTreeSet<NodeId>,
}

impl World {
    /// A replica of a cell that may be taken away while it sleeps.
    pub fn may_sleep(&self, cell: &str, replica: &str, node: NodeId, address: &str) {
        let site = (node, address.to_owned());
        self.state().platform.sites.insert((cell.to_owned(), replica.to_owned()), site);
    }

    /// What cells say in a transaction that was committed.
    pub(super) fn presence(self: &Arc<Self>, txn: &Txn) {
        for op in &txn.ops {
            let Op::Put { key, body, .. } = op else { continue };
            if key.table != Table::Cell {
                continue;
            }
            if key.partition == CELLS {
                if let Ok(row) = records::decode::<CellRow>(body) {
                    self.cell_says(&row);
                }
            } else if let Ok(row) = records::decode::<Replica>(body) {
                self.replica_says(row);
            }
        }
    }

    fn cell_says(&self, row: &CellRow) {
        let asleep = row.asleep_until_us.is_some();
        let changed = {
            let cells = &mut self.state().platform.cells;
            if asleep { cells.insert(row.cell.clone()) } else { cells.remove(&row.cell) }
        };
        if changed {
            self.note(if asleep { "cell sleeps" } else { "cell awake again" }, &row.cell);
        }
    }

    fn replica_says(self: &Arc<Self>, row: Replica) {
        let (node, taken) = {
            let mut state = self.state();
            let Some((node, _)) = state.platform.sites.get(&(row.cell, row.replica)) else { return };
            let node = *node;
            let before = match row.asleep_until_us {
                Some(until_us) => state.platform.asleep.insert(node, until_us),
                None => state.platform.asleep.remove(&node),
            };
            (node, before.is_none() && row.asleep_until_us.is_some())
        };
        if taken && self.fault(2) {
            let wait = self.draw_us(TAKEN_US.0, TAKEN_US.1);
            self.after(wait, move |world| world.take_away(node));
        }
    }

    /// It has nothing to do, so nobody pays for it any more; unless it has just been woken.
    fn take_away(self: &Arc<Self>, node: NodeId) {
        let until_us = {
            let mut state = self.state();
            let up = state.nodes[node].up;
            let Some(until_us) = state.platform.asleep.get(&node).copied().filter(|_| up) else { return };
            state.platform.taken.insert(node);
            until_us
        };
        self.note("sleeping cell taken away", "");
        self.kill(node);
        let now_us = EPOCH_US + i64::try_from(self.now_us()).unwrap_or(i64::MAX);
        let left = u64::try_from(until_us - now_us - self.skew_us(node)).unwrap_or(0);
        self.after(left, move |world| world.bring_back(node, "taken cell's tick"));
    }

    fn bring_back(self: &Arc<Self>, node: NodeId, why: &'static str) {
        if self.state().platform.taken.remove(&node) {
            self.note(why, "");
            self.start(node);
        }
    }

    /// Somebody calls `address`, where nobody listens: if processes were taken away there, one of them is started.
    /// How long that takes, µs.
    pub(super) fn called(self: &Arc<Self>, address: &str) -> Option<u64> {
        let node = {
            let state = self.state();
            let Platform { sites, taken, .. } = &state.platform;
            sites.values().find(|(node, at)| at == address && taken.contains(node)).map(|(node, _)| *node)?
        };
        self.bring_back(node, "taken cell called");
        Some(self.draw_us(COLD_US.0, COLD_US.1))
    }

    /// Starts all that were taken away.
    pub(super) fn bring_all_back(self: &Arc<Self>) {
        let taken: Vec<NodeId> = self.state().platform.taken.iter().copied().collect();
        taken.into_iter().for_each(|node| self.bring_back(node, "taken cell's tick"));
    }
}
