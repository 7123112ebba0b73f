//! Finding work: one scan per bucket of the cell's Due rows, earliest first.

use super::{CellError, CellStore};
use crate::backend::{Read, RowKey, Table};
use crate::object::ObjectKey;
use crate::records::due;

/// One look at a bucket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DueScan {
    /// What must be looked at now, with the rows that say so.
    pub due: Vec<(ObjectKey, RowKey)>,
    /// When the next row is due, µs since 1970.
    pub next_us: Option<i64>,
    /// There are more due rows than were read: scan again when some of these are done.
    pub more: bool,
}

impl CellStore {
    /// The rows of `bucket` that are due at `now_us`, at most `limit`.
    ///
    /// # Errors
    /// [`CellError::Unavailable`].
    pub async fn due_scan(&self, bucket: u32, now_us: i64, limit: usize) -> Result<DueScan, CellError> {
        let scan = Read::Scan {
            table: Table::Due,
            partition: due::partition(self.cell(), bucket),
            from: String::new(),
            to: String::new(),
            limit,
        };
        let mut snapshot = self.snapshot(vec![scan]).await?;
        let rows = snapshot.answers.remove(0);
        let mut out = DueScan { more: rows.more, ..DueScan::default() };
        for row in rows.rows {
            match due::parse(&row.key.key) {
                Some((at_us, key)) if at_us <= now_us => out.due.push((key, row.key)),
                Some((at_us, _)) => {
                    // In order of time: all the following are later.
                    out.next_us = Some(at_us);
                    out.more = false;
                    break;
                }
                None => tracing::error!(key = %row.key.key, "a due row has a key that cannot be read"),
            }
        }
        Ok(out)
    }
}
