//! How rows, revisions and moments look in Spanner.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use google_cloud_spanner::key::{Key, KeySet};
use google_cloud_spanner::read::ReadRequest;
use google_cloud_spanner::result::{ResultSet, Row as SpannerRow};
use google_cloud_spanner::transaction::Timestamp;
use google_cloud_spanner::value::ToValue;
use google_cloud_spanner::{Error, Result};
use store::backend::{Revision, Row, RowKey, Table};

/// Columns of `Records`, in the order in which they are read.
pub(crate) const RECORD: [&str; 7] = ["Tbl", "Part", "Key", "Ts", "Ord", "Owner", "Body"];
/// What a commit timestamp is written as.
pub(crate) const COMMIT: &str = "spanner.commit_timestamp()";

/// Key of the log's row whose `Kind` is the floor: no scope is empty.
pub(crate) fn floor_key() -> Key {
    Key::new(vec!["".to_value(), moment(0).to_value(), 0_i64.to_value()])
}

/// Key of a row in `Records`.
pub(crate) fn record_key(key: &RowKey) -> Key {
    Key::new(vec![key.table.number().to_value(), key.partition.to_value(), key.key.to_value()])
}

/// Reads these rows, whole.
pub(crate) fn records<'a>(keys: impl IntoIterator<Item = &'a RowKey>) -> ReadRequest {
    let mut set = KeySet::builder();
    for key in keys {
        set = set.add_key(record_key(key));
    }
    ReadRequest::builder("Records", RECORD).with_keys(set.build()).build()
}

/// A row of `Records`.
pub(crate) fn record(mut row: SpannerRow) -> Result<Row> {
    let table = Table::of_number(row.get(0)?).ok_or_else(|| Error::deser("a record of an unknown kind"))?;
    let key = RowKey { table, partition: row.take(1)?, key: row.take(2)? };
    let revision = revision(row.get(3)?, row.get(4)?);
    Ok(Row { key, revision, owner: row.take(5)?, body: row.take::<bytes::Bytes>(6)? })
}

/// All rows of an answer.
pub(crate) async fn all<T>(
    mut answer: ResultSet,
    decode: impl Fn(SpannerRow) -> Result<T>,
) -> Result<Vec<T>> {
    let mut out = Vec::new();
    while let Some(row) = answer.next().await {
        out.push(decode(row?)?);
    }
    Ok(out)
}

/// Revision of a commit timestamp and an ordinal.
pub(crate) fn revision(ts: Timestamp, ord: i64) -> Revision {
    Revision(micros(ts) * 1000 + ord)
}

/// Commit timestamps are whole microseconds; read timestamps are cut to them.
pub(crate) fn micros(ts: Timestamp) -> i64 {
    ts.seconds() * 1_000_000 + i64::from(ts.nanos()) / 1000
}

/// The moment of a microsecond.
pub(crate) fn moment(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
