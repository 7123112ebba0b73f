//! The threads that read: each snapshot is one read transaction.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use base::host::{Clock, Mono};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::schema::{connect, meta};
use crate::backend::{
    At, Change, ChangeKind, Changes, Read, ReadError, Revision, Row, RowKey, Rows, Snapshot, Table,
};

/// Read transactions kept open for further pages of a list, and for how long, µs.
const PARKED_MAX: usize = 8;
const PARKED_US: u64 = 300_000_000;

/// What a reader is asked.
pub(super) enum Request {
    Snapshot {
        at: At,
        reads: Vec<Read>,
        reply: oneshot::Sender<Result<Snapshot, ReadError>>,
    },
    Changes {
        scope: String,
        after: Revision,
        limit: usize,
        reply: oneshot::Sender<Result<Changes, ReadError>>,
    },
    Counter {
        name: String,
        reply: oneshot::Sender<Result<i64, ReadError>>,
    },
}

/// Requests that wait for a reader. Each wakes one reader, once.
#[derive(Default)]
pub(super) struct Requests {
    state: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    closed: bool,
}

impl Requests {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the readers; whether they still take any.
    pub(super) fn add(&self, request: Request) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.requests.push_back(request);
        drop(state);
        self.more.notify_one();
        true
    }

    /// Readers end when they have answered what waits.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.more.notify_all();
    }

    fn next(&self) -> Option<Request> {
        let mut state = self.state();
        loop {
            if let Some(request) = state.requests.pop_front() {
                return Some(request);
            }
            if state.closed {
                return None;
            }
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What the readers share.
#[derive(Clone)]
pub(super) struct Pool {
    requests: Arc<Requests>,
    parked: Arc<Mutex<Vec<Parked>>>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

/// A read transaction that still sees an older moment.
struct Parked {
    connection: Connection,
    revision: Revision,
    since: Mono,
}

type Outcome<T> = Result<T, rusqlite::Error>;

impl Pool {
    pub(super) fn new(requests: Arc<Requests>, path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { requests, parked: Arc::default(), path, clock }
    }

    pub(super) fn run(self) {
        let mut own: Option<Connection> = None;
        while let Some(request) = self.requests.next() {
            if own.is_none() {
                own = connect(&self.path).ok();
            }
            match request {
                Request::Snapshot { at, reads, reply } => {
                    drop(reply.send(self.snapshot(&mut own, at, &reads)))
                }
                Request::Changes { scope, after, limit, reply } => {
                    let found = with(own.as_ref(), |c| in_one(c, || changes(c, &scope, after, limit)));
                    let _ = reply.send(found.and_then(|f| f.ok_or(ReadError::Expired)));
                }
                Request::Counter { name, reply } => {
                    let sql = "SELECT value FROM counters WHERE name = ?1";
                    let value = with(own.as_ref(), |c| c.query_row(sql, [name], |r| r.get(0)).optional());
                    let _ = reply.send(value.map(|v| v.unwrap_or(0)));
                }
            }
        }
    }

    /// Ends the read transactions that wait for their next page; who asks for it is told that it is gone.
    pub(super) fn release(&self) {
        self.parked().clear();
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Parked>> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.mono();
        parked.retain(|p| now.since(p.since).as_micros() < u128::from(PARKED_US));
        parked
    }

    fn snapshot(&self, own: &mut Option<Connection>, at: At, reads: &[Read]) -> Result<Snapshot, ReadError> {
        if let At::Exact(revision) = at {
            let found = {
                let mut parked = self.parked();
                let index = parked.iter().position(|p| p.revision == revision);
                index.map(|i| parked.swap_remove(i))
            };
            if let Some(parked) = found {
                let answers =
                    reads.iter().map(|read| one(&parked.connection, read)).collect::<Outcome<Vec<_>>>();
                let answers = answers.map_err(|e| away(&e))?;
                if answers.iter().any(|rows| rows.more) {
                    self.park(parked);
                }
                return Ok(Snapshot { revision, answers });
            }
        }
        let connection =
            own.take().ok_or_else(|| ReadError::Unavailable("the store's file cannot be opened".into()))?;
        let read = || -> Outcome<Snapshot> {
            connection.prepare_cached("BEGIN")?.execute([])?;
            let revision = Revision(meta(&connection, "last_us")? * 1000).end_of_moment();
            let answers = reads.iter().map(|read| one(&connection, read)).collect::<Outcome<Vec<_>>>()?;
            Ok(Snapshot { revision, answers })
        };
        let outcome = read();
        // Only lists of objects have further pages of the same moment.
        let paged = |(read, rows): (&Read, &Rows)| {
            rows.more && matches!(read, Read::Scan { table: Table::Object, .. })
        };
        let more = outcome.as_ref().is_ok_and(|s| reads.iter().zip(&s.answers).any(paged));
        let stale = matches!((at, &outcome), (At::Exact(asked), Ok(s)) if asked != s.revision);
        match &outcome {
            Ok(snapshot) if more && !stale => {
                let (revision, since) = (snapshot.revision, self.clock.mono());
                self.park(Parked { connection, revision, since });
            }
            _ => {
                let _ = end(&connection);
                *own = Some(connection);
            }
        }
        if stale {
            return Err(ReadError::Expired);
        }
        outcome.map_err(|e| away(&e))
    }

    /// Keeps a read transaction for the next page; the oldest one makes room.
    fn park(&self, new: Parked) {
        let mut parked = self.parked();
        if parked.iter().any(|p| p.revision == new.revision) {
            return;
        }
        if parked.len() >= PARKED_MAX {
            let oldest = parked.iter().enumerate().min_by_key(|(_, p)| p.since).map(|(i, _)| i);
            oldest.map(|i| parked.swap_remove(i));
        }
        parked.push(new);
    }
}

fn away(error: &rusqlite::Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

fn with<T>(
    connection: Option<&Connection>,
    read: impl FnOnce(&Connection) -> Outcome<T>,
) -> Result<T, ReadError> {
    let connection =
        connection.ok_or_else(|| ReadError::Unavailable("the store's file cannot be opened".into()))?;
    read(connection).map_err(|e| away(&e))
}

/// Several reads as one read transaction.
fn in_one<T>(connection: &Connection, read: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let outcome = read();
    let _ = end(connection);
    outcome
}

/// Ends a read transaction.
fn end(connection: &Connection) -> Outcome<()> {
    connection.prepare_cached("ROLLBACK")?.execute([]).map(drop)
}

fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let number: i64 = r.get(0)?;
    let table = Table::of_number(number).unwrap_or(Table::Object);
    let (partition, key): (String, String) = (r.get(1)?, r.get(2)?);
    let body: Vec<u8> = r.get(5)?;
    let key = RowKey { table, partition, key };
    Ok(Row { key, revision: Revision(r.get(3)?), owner: r.get(4)?, body: Bytes::from(body) })
}

const COLUMNS: &str = "tbl, part, key, rev, owner, body";

fn one(connection: &Connection, read: &Read) -> Outcome<Rows> {
    match read {
        Read::Get(key) => {
            let sql = format!("SELECT {COLUMNS} FROM rows WHERE tbl = ?1 AND part = ?2 AND key = ?3");
            let mut find = connection.prepare_cached(&sql)?;
            let found =
                find.query_row(params![key.table.number(), key.partition, key.key], row).optional()?;
            Ok(Rows { rows: found.into_iter().collect(), more: false })
        }
        Read::Scan { table, partition, from, to, limit } => {
            let sql = format!(
                "SELECT {COLUMNS} FROM rows WHERE tbl = ?1 AND part = ?2 AND key >= ?3 AND (?4 = '' OR key < ?4)
                 ORDER BY key LIMIT ?5"
            );
            let wanted = i64::try_from(*limit).unwrap_or(i64::MAX).saturating_add(1);
            let mut scan = connection.prepare_cached(&sql)?;
            let found = scan.query_map(params![table.number(), partition, from, to, wanted], row)?;
            let mut rows = found.collect::<Outcome<Vec<_>>>()?;
            let more = rows.len() > *limit;
            rows.truncate(*limit);
            Ok(Rows { rows, more })
        }
        Read::Owned { tenant, owner } => {
            // Left to itself SQLite takes the key's index here, and reads all that the tenant has.
            let sql = format!(
                "SELECT {COLUMNS} FROM rows INDEXED BY rows_owner
                 WHERE owner = ?1 AND tbl = ?2 AND part >= ?3 AND part < ?4 ORDER BY part, key"
            );
            let (from, to) = (format!("{tenant}/"), format!("{tenant}0"));
            let mut find = connection.prepare_cached(&sql)?;
            let found = find.query_map(params![owner, Table::Object.number(), from, to], row)?;
            Ok(Rows { rows: found.collect::<Outcome<Vec<_>>>()?, more: false })
        }
    }
}

/// `None`: so old a revision is no longer kept.
fn changes(connection: &Connection, scope: &str, after: Revision, limit: usize) -> Outcome<Option<Changes>> {
    if after.0 < meta(connection, "floor")? {
        return Ok(None);
    }
    let end = Revision(meta(connection, "last_us")? * 1000).end_of_moment();
    let sql =
        "SELECT rev, kind, key, body, prev FROM log WHERE scope = ?1 AND rev > ?2 ORDER BY rev LIMIT ?3";
    let mut find = connection.prepare_cached(sql)?;
    let wanted = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = find.query_map(params![scope, after.0, wanted], |r| {
        let kind = match r.get(1)? {
            0_i64 => ChangeKind::Created,
            1 => ChangeKind::Updated,
            _ => ChangeKind::Deleted,
        };
        let (body, prev): (Vec<u8>, Option<Vec<u8>>) = (r.get(3)?, r.get(4)?);
        Ok(Change {
            revision: Revision(r.get(0)?),
            kind,
            key: r.get(2)?,
            body: body.into(),
            prev: prev.map(Bytes::from),
        })
    })?;
    let changes = found.collect::<Outcome<Vec<_>>>()?;
    let cut = changes.len() == limit;
    let progress = if cut { changes.last().map_or(after, |c| c.revision) } else { end.max(after) };
    Ok(Some(Changes { changes, progress }))
}
