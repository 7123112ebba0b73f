//! What a gateway knows of cells: where their replicas are, whether somebody must wake them.

use super::{TenantStore, one, surroundings};
use crate::backend::{At, Read, ReadError, Rows, Table};
use crate::records::cell::{CellRow, Replica};
use crate::records::{cell, decode, due};

/// Most replicas of one cell that are looked at.
const REPLICAS_MAX: usize = 200;

/// Where a cell is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// What it says of itself.
    pub cell: CellRow,
    /// Addresses of its replicas, the one heard last first.
    pub addresses: Vec<String>,
}

impl TenantStore {
    /// Where a cell is reached; `None`: there is no such cell.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn cell_reach(&self, id: &str) -> Result<Option<Reach>, ReadError> {
        let replicas = Read::Scan {
            table: Table::Cell,
            partition: cell::replicas(id),
            from: String::new(),
            to: String::new(),
            limit: REPLICAS_MAX,
        };
        let reads = vec![Read::Get(cell::row(id)), replicas];
        let mut answers = self.backend.snapshot(At::Latest, reads).await?.answers;
        let replicas = answers.pop().unwrap_or_default();
        let Some(row) = one(answers).and_then(|row| decode::<CellRow>(&row.body).ok()) else {
            return Ok(None);
        };
        let mut replicas: Vec<Replica> =
            replicas.rows.iter().filter_map(|row| decode(&row.body).ok()).collect();
        replicas.sort_by_key(|replica| std::cmp::Reverse(replica.at_us));
        let mut addresses: Vec<String> = replicas.into_iter().map(|replica| replica.address).collect();
        if addresses.is_empty() {
            addresses.push(row.address.clone());
        }
        Ok(Some(Reach { cell: row, addresses }))
    }

    /// What cells say of themselves.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn cells(&self) -> Result<Vec<CellRow>, ReadError> {
        let scan = Read::Scan {
            table: Table::Cell,
            partition: cell::CELLS.into(),
            from: String::new(),
            to: String::new(),
            limit: surroundings::CELLS_MAX,
        };
        let snapshot = self.backend.snapshot(At::Latest, vec![scan]).await?;
        let rows = snapshot.answers.iter().flat_map(|answer| &answer.rows);
        Ok(rows.filter_map(|row| decode(&row.body).ok()).collect())
    }

    /// There is work for this cell that it has not taken by `before_us` (µs since 1970).
    ///
    /// # Errors
    /// When the store is away.
    pub async fn cell_overdue(&self, id: &str, before_us: i64) -> Result<bool, ReadError> {
        let scan = |bucket| Read::Scan {
            table: Table::Due,
            partition: due::partition(id, bucket),
            from: String::new(),
            to: format!("{before_us:020}"),
            limit: 1,
        };
        let reads = (0..due::BUCKETS).map(scan).collect();
        let answers = self.backend.snapshot(At::Latest, reads).await?.answers;
        Ok(answers.iter().any(|Rows { rows, .. }| !rows.is_empty()))
    }
}
