//! Reads of one moment.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use google_cloud_gax::error::rpc::Code;
use google_cloud_spanner::key::{Key, KeyRange, KeySet};
use google_cloud_spanner::read::ReadRequest;
use google_cloud_spanner::result::Row as SpannerRow;
use google_cloud_spanner::transaction::{MultiUseReadOnlyTransaction, TimestampBound};
use google_cloud_spanner::value::ToValue;
use google_cloud_spanner::{Error, Result as SpannerResult};
use store::backend::{
    At, Change, ChangeKind, Changes, Read, ReadError, Revision, Row, RowKey, Rows, Snapshot, Table,
};

use crate::client::{Clients, Lease};
use crate::rows::{RECORD, all, floor_key, micros, moment, record, records, revision};

/// Spanner does not answer, or not this.
pub(crate) fn away(error: Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

/// A moment and the client that its transaction has to itself.
struct Moment {
    tx: MultiUseReadOnlyTransaction,
    _lease: Lease,
}

async fn begin(clients: &Clients, bound: TimestampBound) -> SpannerResult<Moment> {
    let lease = clients.reader().await?;
    let tx = lease.client.read_only_transaction().set_timestamp_bound(bound).build().await?;
    Ok(Moment { tx, _lease: lease })
}

impl Moment {
    /// Every transaction at or below this is visible, none above. Known after the first read.
    fn revision(&self) -> SpannerResult<Revision> {
        let at = self.tx.read_timestamp().ok_or_else(|| Error::deser("a read without a timestamp"))?;
        Ok(Revision(micros(at) * 1000).end_of_moment())
    }

    async fn records(&self, read: ReadRequest) -> SpannerResult<Vec<Row>> {
        all(self.tx.execute_read(read).await?, record).await
    }

    async fn one(&self, read: &Read) -> SpannerResult<Rows> {
        match read {
            Read::Get(key) => Ok(Rows { rows: self.records(records([key])).await?, more: false }),
            Read::Scan { table, partition, from, to, limit } => {
                let key = |end: &str| {
                    Key::new(vec![table.number().to_value(), partition.to_value(), end.to_value()])
                };
                let all_of_it = Key::new(vec![table.number().to_value(), partition.to_value()]);
                let range = if to.is_empty() {
                    KeyRange::closed_closed(key(from), all_of_it)
                } else {
                    KeyRange::closed_open(key(from), key(to))
                };
                // A limit of nought means none.
                let wanted = i64::try_from(*limit).unwrap_or(i64::MAX).saturating_add(1);
                let read = ReadRequest::builder("Records", RECORD).with_keys(range).set_limit(wanted).build();
                let mut rows = self.records(read).await?;
                let more = rows.len() > *limit;
                rows.truncate(*limit);
                Ok(Rows { rows, more })
            }
            Read::Owned { tenant, owner } => {
                let end = |part: String| {
                    Key::new(vec![owner.to_value(), Table::Object.number().to_value(), part.to_value()])
                };
                let range = KeyRange::closed_open(end(format!("{tenant}/")), end(format!("{tenant}0")));
                let columns = ["Tbl", "Part", "Key"];
                let read =
                    ReadRequest::builder("Records", columns).with_index("RecordsByOwner", range).build();
                let keys = all(self.tx.execute_read(read).await?, owned).await?;
                if keys.is_empty() {
                    return Ok(Rows::default());
                }
                let mut rows = self.records(records(&keys)).await?;
                rows.sort_by(|a, b| a.key.cmp(&b.key));
                Ok(Rows { rows, more: false })
            }
        }
    }

    /// All single rows as one read, the others beside it.
    async fn read(&self, reads: &[Read]) -> SpannerResult<Vec<Rows>> {
        let gets: Vec<_> =
            reads.iter().filter_map(|r| if let Read::Get(key) = r { Some(key) } else { None }).collect();
        let found = async {
            let mut found = BTreeMap::new();
            if !gets.is_empty() {
                for row in self.records(records(gets.iter().copied())).await? {
                    found.insert(row.key.clone(), row);
                }
            }
            Ok::<_, Error>(found)
        };
        let others = try_join_all(reads.iter().map(|read| async move {
            if let Read::Get(_) = read { Ok(Rows::default()) } else { self.one(read).await }
        }));
        let (found, mut answers) = futures_util::future::try_join(found, others).await?;
        for (read, answer) in reads.iter().zip(&mut answers) {
            if let Read::Get(key) = read {
                answer.rows.extend(found.get(key).cloned());
            }
        }
        if reads.is_empty() {
            // Somebody only wants to know what time it is.
            all(self.tx.execute_read(floor()).await?, |_| Ok(())).await?;
        }
        Ok(answers)
    }
}

fn floor() -> ReadRequest {
    ReadRequest::builder("Log", ["Kind"]).with_keys(floor_key()).build()
}

fn owned(row: SpannerRow) -> SpannerResult<RowKey> {
    let table = Table::of_number(row.get(0)?).ok_or_else(|| Error::deser("a record of an unknown kind"))?;
    Ok(RowKey { table, partition: row.get(1)?, key: row.get(2)? })
}

/// Several reads at one moment.
pub(crate) async fn snapshot(clients: &Clients, at: At, reads: Vec<Read>) -> Result<Snapshot, ReadError> {
    let bound = match at {
        At::Latest => TimestampBound::strong(),
        At::Exact(revision) => TimestampBound::try_read_timestamp(moment(revision.micros()))
            .map_err(|e| ReadError::Unavailable(e.to_string()))?,
    };
    let answered = async {
        let moment = begin(clients, bound).await?;
        let answers = moment.read(&reads).await?;
        Ok::<_, Error>(Snapshot { revision: moment.revision()?, answers })
    };
    match (answered.await, at) {
        (Ok(snapshot), At::Latest) => Ok(snapshot),
        (Ok(snapshot), At::Exact(revision)) => Ok(Snapshot { revision, ..snapshot }),
        (Err(error), At::Exact(_)) if is_too_old(&error) => Err(ReadError::Expired),
        (Err(error), _) => Err(away(error)),
    }
}

fn is_too_old(error: &Error) -> bool {
    error.status().is_some_and(|s| matches!(s.code, Code::FailedPrecondition | Code::OutOfRange))
}

/// The moment of now, as Spanner sees it, in µs.
pub(crate) async fn now(clients: &Clients) -> SpannerResult<i64> {
    let moment = begin(clients, TimestampBound::strong()).await?;
    moment.read(&[]).await?;
    Ok(moment.revision()?.micros())
}

/// What the log says: its floor, or a change.
enum Entry {
    Floor(i64),
    Change(Change),
}

fn entry(mut row: SpannerRow) -> SpannerResult<Entry> {
    let kind: i64 = row.get(3)?;
    if row.get::<String>(0)?.is_empty() {
        return Ok(Entry::Floor(kind));
    }
    let kind = match kind {
        0 => ChangeKind::Created,
        1 => ChangeKind::Updated,
        _ => ChangeKind::Deleted,
    };
    let revision = revision(row.get(1)?, row.get(2)?);
    Ok(Entry::Change(Change { revision, kind, key: row.take(4)?, body: row.take(5)?, prev: row.take(6)? }))
}

/// A scope's log after a revision.
pub(crate) async fn changes(
    clients: &Clients,
    scope: String,
    after: Revision,
    limit: usize,
) -> Result<Changes, ReadError> {
    let read = async {
        let micros = after.micros();
        let ord = after.0 - micros * 1000;
        let from = Key::new(vec![scope.to_value(), moment(micros).to_value(), ord.to_value()]);
        let range = KeyRange::open_closed(from, Key::new(vec![scope.to_value()]));
        let keys = KeySet::builder().add_key(floor_key()).add_range(range).build();
        let columns = ["Scope", "Ts", "Ord", "Kind", "Key", "Body", "Prev"];
        // One more for the floor.
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let read = ReadRequest::builder("Log", columns).with_keys(keys).set_limit(wanted).build();
        let moment = begin(clients, TimestampBound::strong()).await?;
        let entries = all(moment.tx.execute_read(read).await?, entry).await?;
        Ok::<_, Error>((entries, moment.revision()?))
    };
    let (entries, moment) = read.await.map_err(away)?;
    let (mut floor, mut changes) = (0, Vec::with_capacity(entries.len()));
    for entry in entries {
        match entry {
            Entry::Floor(at) => floor = at,
            Entry::Change(change) => changes.push(change),
        }
    }
    if after.0 < floor {
        return Err(ReadError::Expired);
    }
    changes.truncate(limit);
    let cut = changes.len() == limit;
    let progress = if cut { changes.last().map_or(after, |c| c.revision) } else { moment.max(after) };
    Ok(Changes { changes, progress })
}

/// Value of a counter.
pub(crate) async fn counter(clients: &Clients, name: String) -> Result<i64, ReadError> {
    let key = Key::new(vec![name.to_value()]);
    let read = ReadRequest::builder("Counters", ["Value"]).with_keys(key).build();
    let answer = clients.plain().single_use().build().execute_read(read).await.map_err(away)?;
    let found = all(answer, |row| row.get::<i64>(0)).await.map_err(away)?;
    Ok(found.first().copied().unwrap_or(0))
}
