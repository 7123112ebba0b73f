//! Finding work: one scan per bucket of the cell's Due rows, earliest first.

use super::{CellError, CellStore};
use crate::backend::{Read, Revision, RowKey, Table};
use crate::object::ObjectKey;
use crate::records::due;

/// Rows read at a time where all are wanted.
const PAGE: usize = 1000;

/// One look at a bucket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DueScan {
    /// What must be looked at now, with the rows that say so.
    pub due: Vec<(ObjectKey, RowKey, Revision)>,
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
        let scan = |from: &str, to: &str, limit: usize| Read::Scan {
            table: Table::Due,
            partition: due::partition(self.cell(), bucket),
            from: from.to_owned(),
            to: to.to_owned(),
            limit,
        };
        // Timers of later may be many: only the first of them is of interest.
        let later = format!("{:020}", now_us.saturating_add(1));
        let mut snapshot = self.snapshot(vec![scan("", &later, limit), scan(&later, "", 1)]).await?;
        let (rows, next) = (snapshot.answers.remove(0), snapshot.answers.remove(0));
        let mut out = DueScan { more: rows.more, ..DueScan::default() };
        for row in rows.rows {
            match due::parse(&row.key.key) {
                Some((_, key)) => {
                    if let Some(uid) = due::uid(&row.body) {
                        self.known.learn_uid(&key, &uid);
                    }
                    out.due.push((key, row.key, row.revision));
                }
                None => tracing::error!(key = %row.key.key, "a due row has a key that cannot be read"),
            }
        }
        out.next_us = next.rows.first().and_then(|row| due::parse(&row.key.key)).map(|(at_us, _)| at_us);
        Ok(out)
    }

    /// All timers of `bucket`, by run: the rows after `now_us`.
    ///
    /// # Errors
    /// [`CellError::Unavailable`].
    pub async fn timers(&self, bucket: u32, now_us: i64) -> Result<Vec<(ObjectKey, i64)>, CellError> {
        let mut out = Vec::new();
        let mut from = format!("{:020}", now_us.saturating_add(1));
        loop {
            let partition = due::partition(self.cell(), bucket);
            let scan = Read::Scan { table: Table::Due, partition, from, to: String::new(), limit: PAGE };
            let rows = self.snapshot(vec![scan]).await?.answers.remove(0);
            out.extend(
                rows.rows.iter().filter_map(|row| due::parse(&row.key.key)).map(|(at_us, key)| (key, at_us)),
            );
            match rows.rows.last() {
                Some(last) if rows.more => from = format!("{}\u{0}", last.key.key),
                _ => return Ok(out),
            }
        }
    }
}
