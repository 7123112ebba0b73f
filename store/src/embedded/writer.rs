//! The one thread that writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use base::host::Clock;
use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tokio::sync::oneshot;

use super::schema::{self, Log, meta};
use crate::backend::{
    Committed, Op, Pre, ReadError, RequestId, Revision, Row, RowKey, Settled, Table, Txn, TxnError,
};
use crate::bells::Bells;
use crate::memory::holds;

/// After a batch of so many, one that is smaller waits so long before it is closed: who was just answered comes back, and
/// larger batches cost less for each of their transactions than the wait. Where less is going on, nobody waits.
const GATHER_FROM: usize = 8;
const GATHER: Duration = Duration::from_micros(300);
/// Transactions that share one disk sync.
const BATCH_MAX: usize = 64;
/// Batches in a row after which SQLite's log is looked after before it is left to the next look at its length.
const SHORTEN_TRIES: u32 = 8;
/// Log entries that one trim removes at a time.
const TRIM_CHUNK: i64 = 5000;

/// What the writer is asked.
pub(super) enum Request {
    Txn { txn: Txn, reply: oneshot::Sender<Result<Committed, TxnError>> },
    Settle { id: RequestId, reply: oneshot::Sender<Result<Settled, ReadError>> },
    Trim { micros: i64, reply: oneshot::Sender<Result<(), ReadError>> },
}

pub(super) struct Writer {
    connection: Connection,
    clock: Arc<dyn Clock>,
    bells: Arc<Bells>,
    sqlite: Arc<Log>,
    last_us: i64,
    /// Pages of SQLite's log when it was last too long, and how many batches ago that was first so.
    pages: i64,
    shortened: u32,
}

/// What is known of the row that an op is about.
#[derive(PartialEq, Eq)]
enum Lookup {
    /// Nobody has looked for it.
    Skipped,
    /// It is not there.
    Absent,
    /// It is there.
    Present { id: i64, revision: Revision, owner: Option<String> },
}

impl Lookup {
    fn revision(&self) -> Option<Revision> {
        match self {
            Self::Present { revision, .. } => Some(*revision),
            Self::Skipped | Self::Absent => None,
        }
    }
}

/// An answer that waits for the commit.
enum Pending {
    Txn {
        txn: Txn,
        reply: oneshot::Sender<Result<Committed, TxnError>>,
        outcome: Result<Committed, TxnError>,
    },
    Settle {
        reply: oneshot::Sender<Result<Settled, ReadError>>,
        outcome: Settled,
    },
    Trim {
        reply: oneshot::Sender<Result<(), ReadError>>,
    },
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        clock: Arc<dyn Clock>,
        bells: Arc<Bells>,
        sqlite: Arc<Log>,
    ) -> Result<Self, String> {
        let last_us = meta(&connection, "last_us").map_err(|e| e.to_string())?;
        Ok(Self { connection, clock, bells, sqlite, last_us, pages: 0, shortened: 0 })
    }

    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut last = 0;
        while let Ok(first) = requests.recv() {
            let mut batch = vec![first];
            batch.extend(requests.try_iter().take(BATCH_MAX - 1));
            if last >= GATHER_FROM && batch.len() < last {
                std::thread::sleep(GATHER);
                batch.extend(requests.try_iter().take(BATCH_MAX - batch.len()));
            }
            last = batch.len();
            self.commit(batch);
            self.shorten();
        }
    }

    /// Does a batch as one SQLite transaction: all of it is on disk before anybody is answered.
    fn commit(&mut self, batch: Vec<Request>) {
        let before = self.last_us;
        let mut pending = Vec::with_capacity(batch.len());
        let mut failed = self.connection.execute_batch("BEGIN IMMEDIATE").err();
        let mut rest = batch.into_iter();
        for request in rest.by_ref() {
            if failed.is_some() {
                refuse(request, failed.as_ref());
                continue;
            }
            match self.one(request) {
                Ok(done) => pending.push(done),
                Err((request, error)) => {
                    refuse(request, Some(&error));
                    failed = Some(error);
                }
            }
        }
        let failed = failed.or_else(|| self.finish().err());
        if let Some(error) = failed {
            let _ = self.connection.execute_batch("ROLLBACK");
            self.last_us = before;
            pending.into_iter().for_each(|done| done.refuse(&error));
            return;
        }
        self.sqlite.dirty.store(true, Ordering::Relaxed);
        self.bells.ring_for(pending.iter().flat_map(Pending::done));
        pending.into_iter().for_each(Pending::answer);
    }

    /// Has SQLite's log begin anew when it is long: once all of it is in the file and no reader needs it, the next
    /// write does that. Only between two writes is there such a moment, and waiting for readers would stop the writer.
    fn shorten(&mut self) {
        if !self.sqlite.long.load(Ordering::Relaxed) {
            return;
        }
        let pages = schema::checkpoint(&self.connection);
        self.shortened += 1;
        if pages < self.pages || self.shortened == SHORTEN_TRIES {
            self.sqlite.long.store(false, Ordering::Relaxed);
            self.shortened = 0;
        }
        self.pages = pages;
    }

    fn finish(&self) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'last_us'")?
            .execute([self.last_us])?;
        self.connection.execute_batch("COMMIT")
    }

    #[allow(clippy::result_large_err, reason = "a request that fails is given back to be answered, once")]
    fn one(&mut self, request: Request) -> Result<Pending, (Request, rusqlite::Error)> {
        match request {
            Request::Txn { txn, reply } => match self.txn(&txn) {
                Ok(outcome) => Ok(Pending::Txn { txn, reply, outcome }),
                Err(error) => Err((Request::Txn { txn, reply }, error)),
            },
            Request::Settle { id, reply } => match self.settle(id) {
                Ok(outcome) => Ok(Pending::Settle { reply, outcome }),
                Err(error) => Err((Request::Settle { id, reply }, error)),
            },
            Request::Trim { micros, reply } => match self.trim(micros) {
                Ok(()) => Ok(Pending::Trim { reply }),
                Err(error) => Err((Request::Trim { micros, reply }, error)),
            },
        }
    }

    /// What the store remembers of a request: nothing, that it was given up, or its revisions.
    fn known(&self, id: RequestId) -> rusqlite::Result<Option<Option<Committed>>> {
        let mut find = self.connection.prepare_cached("SELECT revs FROM requests WHERE id = ?1")?;
        let revs: Option<Option<Vec<u8>>> = find.query_row([id.0.to_be_bytes()], |r| r.get(0)).optional()?;
        Ok(revs.map(|revs| revs.map(|bytes| Committed { revisions: unpack(&bytes) })))
    }

    fn remember(&self, id: RequestId, us: i64, revisions: Option<&[Revision]>) -> rusqlite::Result<()> {
        let mut put =
            self.connection.prepare_cached("INSERT INTO requests (id, us, revs) VALUES (?1, ?2, ?3)")?;
        put.execute(params![id.0.to_be_bytes(), us, revisions.map(pack)])?;
        Ok(())
    }

    fn settle(&self, id: RequestId) -> rusqlite::Result<Settled> {
        match self.known(id)? {
            Some(Some(committed)) => Ok(Settled::Committed(committed)),
            Some(None) => Ok(Settled::Never),
            None => {
                self.remember(id, self.clock.utc().0, None)?;
                Ok(Settled::Never)
            }
        }
    }

    fn txn(&mut self, txn: &Txn) -> rusqlite::Result<Result<Committed, TxnError>> {
        match self.known(txn.id)? {
            Some(Some(done)) => return Ok(Ok(done)),
            Some(None) => return Ok(Err(TxnError::Unavailable("this request was given up".into()))),
            None => {}
        }
        let found = match self.check(&txn.ops)? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let micros = self.clock.utc().0.max(self.last_us + 1);
        let revisions = self.apply(micros, &txn.ops, found)?;
        self.remember(txn.id, micros, Some(&revisions))?;
        self.last_us = micros;
        Ok(Ok(Committed { revisions }))
    }

    /// All preconditions against one state, before anything is applied; and the rows that were looked for.
    fn check(&self, ops: &[Op]) -> rusqlite::Result<Result<Vec<Lookup>, TxnError>> {
        let mut all = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            let mut lookup = Lookup::Skipped;
            match op {
                Op::Put { pre: Pre::Any, .. } | Op::Delete { pre: Pre::Any, .. } => {}
                Op::Put { key, pre, .. } | Op::Delete { key, pre, .. } | Op::Check { key, pre } => {
                    lookup = self.look_up(key)?;
                    if !holds(*pre, lookup.revision()) {
                        let current = self.row(key)?.map(Box::new);
                        return Ok(Err(TxnError::Conflict { op: index, current }));
                    }
                }
                Op::Add { counter, delta, max } => {
                    let sum = self.counter(counter)?.saturating_add(*delta);
                    if max.is_some_and(|max| *delta > 0 && sum > max) {
                        return Ok(Err(TxnError::Limit { op: index }));
                    }
                }
            }
            all.push(lookup);
        }
        Ok(Ok(all))
    }

    fn counter(&self, name: &str) -> rusqlite::Result<i64> {
        let mut find = self.connection.prepare_cached("SELECT value FROM counters WHERE name = ?1")?;
        Ok(find.query_row([name], |r| r.get(0)).optional()?.unwrap_or(0))
    }

    fn look_up(&self, key: &RowKey) -> rusqlite::Result<Lookup> {
        let sql = "SELECT id, rev, owner FROM rows WHERE tbl = ?1 AND part = ?2 AND key = ?3";
        let mut find = self.connection.prepare_cached(sql)?;
        let found = find.query_row(params![key.table.number(), key.partition, key.key], |r| {
            Ok(Lookup::Present { id: r.get(0)?, revision: Revision(r.get(1)?), owner: r.get(2)? })
        });
        Ok(found.optional()?.unwrap_or(Lookup::Absent))
    }

    fn row(&self, key: &RowKey) -> rusqlite::Result<Option<Row>> {
        let sql = "SELECT rev, owner, body FROM rows WHERE tbl = ?1 AND part = ?2 AND key = ?3";
        let mut find = self.connection.prepare_cached(sql)?;
        find.query_row(params![key.table.number(), key.partition, key.key], |r| {
            let body: Vec<u8> = r.get(2)?;
            Ok(Row {
                key: key.clone(),
                revision: Revision(r.get(0)?),
                owner: r.get(1)?,
                body: Bytes::from(body),
            })
        })
        .optional()
    }

    fn apply(&self, micros: i64, ops: &[Op], found: Vec<Lookup>) -> rusqlite::Result<Vec<Revision>> {
        let mut ordinal = 0;
        let mut out = Vec::with_capacity(ops.len());
        let mut touched = BTreeSet::new();
        for (op, mut lookup) in ops.iter().zip(found) {
            let revision = Revision::at(micros, ordinal);
            if let Op::Put { key, .. } | Op::Delete { key, .. } = op
                && (!touched.insert(key) || key.table == Table::Object && lookup == Lookup::Skipped)
            {
                lookup = self.look_up(key)?;
            }
            match op {
                Op::Put { key, owner, body, prev, .. } => {
                    self.put(key, &lookup, revision, owner.as_deref(), body)?;
                    if key.table == Table::Object {
                        let there = lookup != Lookup::Absent;
                        self.log(key, revision, i64::from(there), body, prev.as_deref())?;
                        ordinal += 1;
                    }
                }
                Op::Delete { key, .. } if key.table != Table::Object => self.delete(key, &lookup)?,
                Op::Delete { key, last, .. } => {
                    if let Some(there) = self.row(key)? {
                        self.delete(key, &lookup)?;
                        let body = last.as_ref().unwrap_or(&there.body);
                        self.log(key, revision, 2, body, Some(&there.body))?;
                        ordinal += 1;
                    }
                }
                Op::Check { .. } => {}
                Op::Add { counter, delta, .. } => {
                    let sum = self.counter(counter)?.saturating_add(*delta).max(0);
                    let sql =
                        "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
                    self.connection.prepare_cached(sql)?.execute(params![counter, sum])?;
                }
            }
            out.push(revision);
        }
        Ok(out)
    }

    fn delete(&self, key: &RowKey, lookup: &Lookup) -> rusqlite::Result<()> {
        if let Lookup::Present { id, .. } = lookup {
            let mut delete = self.connection.prepare_cached("DELETE FROM rows WHERE id = ?1")?;
            return delete.execute([id]).map(drop);
        }
        let sql = "DELETE FROM rows WHERE tbl = ?1 AND part = ?2 AND key = ?3";
        let mut delete = self.connection.prepare_cached(sql)?;
        delete.execute(params![key.table.number(), key.partition, key.key]).map(drop)
    }

    fn put(
        &self,
        key: &RowKey,
        lookup: &Lookup,
        revision: Revision,
        owner: Option<&str>,
        body: &[u8],
    ) -> rusqlite::Result<()> {
        match lookup {
            // An owner that stays leaves its index alone.
            Lookup::Present { id, owner: before, .. } if before.as_deref() == owner => {
                let sql = "UPDATE rows SET rev = ?2, body = ?3 WHERE id = ?1";
                self.connection.prepare_cached(sql)?.execute(params![id, revision.0, body])?;
            }
            Lookup::Present { id, .. } => {
                let sql = "UPDATE rows SET rev = ?2, owner = ?3, body = ?4 WHERE id = ?1";
                self.connection.prepare_cached(sql)?.execute(params![id, revision.0, owner, body])?;
            }
            Lookup::Absent | Lookup::Skipped => {
                let sql =
                    "INSERT INTO rows (tbl, part, key, rev, owner, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                    ON CONFLICT (tbl, part, key) DO UPDATE SET rev = ?4, owner = ?5, body = ?6";
                let mut put = self.connection.prepare_cached(sql)?;
                put.execute(params![key.table.number(), key.partition, key.key, revision.0, owner, body])?;
            }
        }
        Ok(())
    }

    fn log(
        &self,
        key: &RowKey,
        revision: Revision,
        kind: i64,
        body: &[u8],
        prev: Option<&[u8]>,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO log (scope, rev, kind, key, body, prev) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut put = self.connection.prepare_cached(sql)?;
        put.execute(params![key.partition, revision.0, kind, key.key, body, prev])?;
        Ok(())
    }

    fn trim(&self, micros: i64) -> rusqlite::Result<()> {
        let floor = micros.saturating_mul(1000);
        self.connection.execute("UPDATE meta SET value = max(value, ?1) WHERE name = 'floor'", [floor])?;
        // The log is in order of time: what is old is at its beginning.
        let sql = "DELETE FROM log WHERE id IN (SELECT id FROM log ORDER BY id LIMIT ?2) AND rev < ?1";
        while self.connection.execute(sql, [floor, TRIM_CHUNK])? as i64 == TRIM_CHUNK {}
        self.connection.execute("DELETE FROM requests WHERE us < ?1", [micros])?;
        Ok(())
    }
}

impl Pending {
    /// What it did.
    fn done(&self) -> &[Op] {
        match self {
            Pending::Txn { txn, outcome: Ok(_), .. } => &txn.ops,
            _ => &[],
        }
    }

    fn answer(self) {
        match self {
            Pending::Txn { reply, outcome, .. } => drop(reply.send(outcome)),
            Pending::Settle { reply, outcome } => drop(reply.send(Ok(outcome))),
            Pending::Trim { reply } => drop(reply.send(Ok(()))),
        }
    }

    fn refuse(self, error: &rusqlite::Error) {
        match self {
            // What was refused by its preconditions stays so; the rest was rolled back.
            Pending::Txn { reply, outcome: Err(refused), .. } => drop(reply.send(Err(refused))),
            Pending::Txn { reply, .. } => drop(reply.send(Err(trouble(error)))),
            Pending::Settle { reply, .. } => drop(reply.send(Err(ReadError::Unavailable(error.to_string())))),
            Pending::Trim { reply } => drop(reply.send(Err(ReadError::Unavailable(error.to_string())))),
        }
    }
}

fn refuse(request: Request, error: Option<&rusqlite::Error>) {
    let why = error.map_or_else(|| "the store has failed".to_owned(), ToString::to_string);
    match request {
        Request::Txn { reply, .. } => {
            let _ = reply.send(Err(error.map_or(TxnError::Unavailable(why), trouble)));
        }
        Request::Settle { reply, .. } => drop(reply.send(Err(ReadError::Unavailable(why)))),
        Request::Trim { reply, .. } => drop(reply.send(Err(ReadError::Unavailable(why)))),
    }
}

/// A full disk is said to be one; everything else is trouble that may pass. Nothing was written in either case.
fn trouble(error: &rusqlite::Error) -> TxnError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => TxnError::Full,
        _ => TxnError::Unavailable(error.to_string()),
    }
}

fn pack(revisions: &[Revision]) -> Vec<u8> {
    revisions.iter().flat_map(|r| r.0.to_be_bytes()).collect()
}

fn unpack(bytes: &[u8]) -> Vec<Revision> {
    let number = |chunk: &[u8]| chunk.try_into().map_or(Revision(0), |b| Revision(i64::from_be_bytes(b)));
    bytes.chunks(8).map(number).collect()
}
