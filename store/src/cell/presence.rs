//! A cell's presence: the heartbeat that it lives, where its replicas are, and whether it shall take new runs.

use super::{CellError, CellStore};
use crate::backend::{Op, Pre, Read, Table};
use crate::records::cell::{self, CellRow, Replica};
use crate::records::{decode, encode};

/// Most cells, and most replicas of one cell.
const MAX: usize = 10_000;
/// A replica that has been silent for longer is forgotten, µs.
const FORGOTTEN_US: i64 = 3_600_000_000;

/// What the heartbeat of a cell found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// An operator wishes that the cell takes no new runs.
    pub draining: bool,
    /// The other replicas of the cell.
    pub others: Vec<Replica>,
}

impl CellStore {
    /// Says that this replica of the cell lives, or that it sleeps. `row` tells of the whole cell: its `draining` is
    /// written as `always` or as an operator wishes, and it sleeps only if no other replica is awake at `now_us`
    /// (one that was silent for longer than `silent_us` is not).
    ///
    /// # Errors
    /// [`CellError::Conflict`] when the operator's wish has changed at this moment; [`CellError::Unavailable`].
    pub async fn heartbeat(
        &self,
        row: &CellRow,
        replica: &Replica,
        always: bool,
        silent_us: i64,
    ) -> Result<Presence, CellError> {
        let replicas = Read::Scan {
            table: Table::Cell,
            partition: cell::replicas(self.cell()),
            from: String::new(),
            to: String::new(),
            limit: MAX,
        };
        let snapshot = self.snapshot(vec![Read::Get(cell::drain_row(self.cell())), replicas]).await?;
        let wish = snapshot.answers[0].rows.first().map(|row| row.revision);
        let mut others = Vec::new();
        for row in &snapshot.answers[1].rows {
            let found: Replica = decode(&row.body)?;
            if found.replica != replica.replica {
                others.push(found);
            }
        }
        let draining = always || wish.is_some();
        let awake = |other: &Replica| {
            other.asleep_until_us.is_none() && row.at_us.saturating_sub(other.at_us) <= silent_us
        };
        let asleep_until_us = row.asleep_until_us.filter(|_| !others.iter().any(awake));
        let row = CellRow { draining, asleep_until_us, ..row.clone() };
        let mut ops = vec![
            Op::Check { key: cell::drain_row(self.cell()), pre: wish.map_or(Pre::Absent, Pre::Rev) },
            put(cell::row(self.cell()), encode(&row)),
            put(cell::replica_row(self.cell(), &replica.replica), encode(replica)),
        ];
        others.retain(|other| {
            let keep = row.at_us.saturating_sub(other.at_us) <= FORGOTTEN_US;
            if !keep {
                let key = cell::replica_row(self.cell(), &other.replica);
                ops.push(Op::Delete { key, pre: Pre::Any, last: None });
            }
            keep
        });
        self.commit("cell_heartbeat", ops).await?;
        Ok(Presence { draining, others })
    }

    /// All cells of the Home, by their last heartbeats.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn cells(&self) -> Result<Vec<CellRow>, CellError> {
        let scan = Read::Scan {
            table: Table::Cell,
            partition: cell::CELLS.into(),
            from: String::new(),
            to: String::new(),
            limit: MAX,
        };
        let rows = self.snapshot(vec![scan]).await?.answers.remove(0).rows;
        rows.iter().map(|row| Ok(decode(&row.body)?)).collect()
    }
}

fn put(key: crate::backend::RowKey, body: bytes::Bytes) -> Op {
    Op::Put { key, pre: Pre::Any, owner: None, body, prev: None }
}
