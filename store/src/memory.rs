//! The executable model of a back end: ordered maps behind one lock. Also the store of the simulated world.
//!
//! Nothing here is clever on purpose: what [`crate::backend`] promises is to be read off this file.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::host::{BoxFuture, Clock};
use bytes::Bytes;

use crate::backend::{
    At, Backend, Bell, Change, ChangeKind, Changes, Committed, Op, Pre, Read, ReadError, RequestId, Revision,
    Row, RowKey, Rows, Settled, Snapshot, Table, Txn, TxnError,
};
use crate::bells::Bells;

/// How long an older version of a row is kept for reads at an exact revision, µs.
const KEEP_US: i64 = 300_000_000;

/// A back end in memory.
pub struct Memory {
    clock: Arc<dyn Clock>,
    /// `Some`: commit times are multiples of so many µs, and those of transactions that have nothing in common may be
    /// equal, as Spanner's may.
    grain_us: Option<i64>,
    state: Mutex<State>,
    bells: Arc<Bells>,
}

#[derive(Default)]
struct State {
    /// Versions of each row, oldest first; `None` is a deletion.
    rows: BTreeMap<RowKey, Vec<(Revision, Option<Stored>)>>,
    log: BTreeMap<String, Vec<Change>>,
    counters: BTreeMap<String, i64>,
    requests: BTreeMap<RequestId, (i64, Option<Committed>)>,
    last_us: i64,
    /// Nothing may commit at or below this any more: somebody has read there.
    read_us: i64,
    /// The last commit of each tenant's objects, where that is not everybody's.
    tenants: BTreeMap<String, i64>,
    floor: Revision,
}

#[derive(Clone)]
struct Stored {
    owner: Option<String>,
    body: Bytes,
}

impl Memory {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, grain_us: None, state: Mutex::default(), bells: Arc::default() })
    }

    /// An empty store that keeps to what is promised of revisions and to no more: those of different tenants are equal
    /// whenever nothing forbids it.
    pub fn loose(clock: Arc<dyn Clock>, grain: Duration) -> Arc<Self> {
        let grain_us = i64::try_from(grain.as_micros()).ok().filter(|us| *us > 0);
        Arc::new(Self { clock, grain_us, state: Mutex::default(), bells: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn do_txn(&self, txn: Txn) -> Result<Committed, TxnError> {
        let mut state = self.state();
        match state.requests.get(&txn.id) {
            Some((_, Some(done))) => return Ok(done.clone()),
            // Settled as never: it must not commit any more.
            Some((_, None)) => return Err(TxnError::Unavailable("this request was given up".into())),
            None => {}
        }
        state.check(&txn.ops)?;
        let micros = match self.grain_us {
            None => self.clock.utc().0.max(state.last_us + 1),
            Some(grain) => state.earliest(&txn.ops).max(self.clock.utc().0 / grain * grain),
        };
        state.last_us = state.last_us.max(micros);
        for tenant in tenants(&txn.ops) {
            state.tenants.insert(tenant.to_owned(), micros);
        }
        let revisions = state.apply(micros, &txn.ops);
        let committed = Committed { revisions };
        state.requests.insert(txn.id, (micros, Some(committed.clone())));
        drop(state);
        self.bells.ring_for(&txn.ops);
        Ok(committed)
    }

    fn do_snapshot(&self, at: At, reads: &[Read]) -> Result<Snapshot, ReadError> {
        let mut state = self.state();
        let revision = match at {
            At::Latest => {
                // Reading is also a moment: nothing may commit at or below it afterwards.
                state.last_us = state.last_us.max(self.clock.utc().0);
                state.read_us = state.last_us;
                Revision(state.last_us * 1000).end_of_moment()
            }
            At::Exact(revision) if revision < state.floor => return Err(ReadError::Expired),
            At::Exact(revision) => revision,
        };
        let answers = reads.iter().map(|read| state.read(revision, read)).collect();
        Ok(Snapshot { revision, answers })
    }

    fn do_changes(&self, scope: &str, after: Revision, limit: usize) -> Result<Changes, ReadError> {
        let mut state = self.state();
        if after < state.floor {
            return Err(ReadError::Expired);
        }
        state.last_us = state.last_us.max(self.clock.utc().0);
        state.read_us = state.last_us;
        let moment = Revision(state.last_us * 1000).end_of_moment();
        let log = state.log.get(scope).map_or(&[][..], Vec::as_slice);
        let start = log.partition_point(|change| change.revision <= after);
        let changes: Vec<_> = log[start..].iter().take(limit).cloned().collect();
        let cut = start + changes.len() < log.len();
        let progress = if cut { changes.last().map_or(after, |c| c.revision) } else { moment.max(after) };
        Ok(Changes { changes, progress })
    }
}

/// Tenants whose objects are written.
fn tenants(ops: &[Op]) -> impl Iterator<Item = &str> {
    ops.iter().filter_map(|op| match op {
        Op::Put { key, .. } | Op::Delete { key, .. } if key.table == Table::Object => {
            key.partition.split('/').next()
        }
        Op::Put { .. } | Op::Delete { .. } | Op::Check { .. } | Op::Add { .. } => None,
    })
}

impl State {
    /// The earliest time at which a transaction of these parts may commit: after what was read, after the last one of
    /// the same tenants, and after the last one that wrote a row that it looks at.
    fn earliest(&self, ops: &[Op]) -> i64 {
        let rows = ops.iter().filter_map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key, .. } | Op::Check { key, .. } => {
                Some(self.rows.get(key)?.last()?.0.micros())
            }
            Op::Add { .. } => None,
        });
        let tenants = tenants(ops).filter_map(|tenant| self.tenants.get(tenant).copied());
        rows.chain(tenants).chain([self.read_us]).max().unwrap_or(0) + 1
    }

    fn current(&self, key: &RowKey) -> Option<Row> {
        let (revision, stored) = self.rows.get(key)?.last()?;
        stored.as_ref().map(|s| row(key, *revision, s))
    }

    fn check(&self, ops: &[Op]) -> Result<(), TxnError> {
        assert!(ops.len() <= Revision::ORDINALS as usize, "a transaction has at most 512 parts");
        for (index, op) in ops.iter().enumerate() {
            match op {
                Op::Put { key, pre, .. } | Op::Delete { key, pre, .. } | Op::Check { key, pre } => {
                    let current = self.current(key);
                    if !holds(*pre, current.as_ref().map(|row| row.revision)) {
                        return Err(TxnError::Conflict { op: index, current: current.map(Box::new) });
                    }
                }
                Op::Add { counter, delta, max } => {
                    let sum = self.counters.get(counter).copied().unwrap_or(0).saturating_add(*delta);
                    if max.is_some_and(|max| *delta > 0 && sum > max) {
                        return Err(TxnError::Limit { op: index });
                    }
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, micros: i64, ops: &[Op]) -> Vec<Revision> {
        let mut ordinal = 0;
        let mut out = Vec::with_capacity(ops.len());
        for op in ops {
            let revision = Revision::at(micros, ordinal);
            match op {
                Op::Put { key, owner, body, prev, .. } => {
                    let kind = match self.current(key) {
                        None => ChangeKind::Created,
                        Some(_) => ChangeKind::Updated,
                    };
                    let stored = Stored { owner: owner.clone(), body: body.clone() };
                    self.write(key, revision, Some(stored));
                    ordinal += self.record(key, revision, kind, body.clone(), prev.clone());
                }
                Op::Delete { key, last, .. } => {
                    if let Some(there) = self.current(key) {
                        self.write(key, revision, None);
                        let body = last.clone().unwrap_or_else(|| there.body.clone());
                        ordinal += self.record(key, revision, ChangeKind::Deleted, body, Some(there.body));
                    }
                }
                Op::Check { .. } => {}
                Op::Add { counter, delta, .. } => {
                    let sum = self.counters.entry(counter.clone()).or_default();
                    *sum = sum.saturating_add(*delta).max(0);
                }
            }
            out.push(revision);
        }
        out
    }

    fn write(&mut self, key: &RowKey, revision: Revision, stored: Option<Stored>) {
        let versions = self.rows.entry(key.clone()).or_default();
        versions.push((revision, stored));
        let old = Revision((revision.micros() - KEEP_US).max(0) * 1000);
        // The newest version that is older than the window still shows in it.
        let keep_from = versions.partition_point(|(r, _)| *r < old).saturating_sub(1);
        versions.drain(..keep_from);
        self.floor = self.floor.max(Revision(0));
    }

    fn record(
        &mut self,
        key: &RowKey,
        revision: Revision,
        kind: ChangeKind,
        body: Bytes,
        prev: Option<Bytes>,
    ) -> i64 {
        if key.table != Table::Object {
            return 0;
        }
        let change = Change { revision, kind, key: key.key.clone(), body, prev };
        self.log.entry(key.partition.clone()).or_default().push(change);
        1
    }

    fn at(&self, revision: Revision, key: &RowKey, versions: &[(Revision, Option<Stored>)]) -> Option<Row> {
        let newest = versions.partition_point(|(r, _)| *r <= revision).checked_sub(1)?;
        let (written, stored) = &versions[newest];
        stored.as_ref().map(|s| row(key, *written, s))
    }

    fn read(&self, revision: Revision, read: &Read) -> Rows {
        match read {
            Read::Get(key) => {
                let row = self.rows.get(key).and_then(|versions| self.at(revision, key, versions));
                Rows { rows: row.into_iter().collect(), more: false }
            }
            Read::Scan { table, partition, from, to, limit } => {
                let first = RowKey::new(*table, partition.clone(), from.clone());
                let mut rows = Vec::new();
                for (key, versions) in self.rows.range((Bound::Included(first), Bound::Unbounded)) {
                    let inside = key.table == *table && key.partition == *partition;
                    if !inside || (!to.is_empty() && key.key >= *to) {
                        break;
                    }
                    if let Some(row) = self.at(revision, key, versions) {
                        if rows.len() == *limit {
                            return Rows { rows, more: true };
                        }
                        rows.push(row);
                    }
                }
                Rows { rows, more: false }
            }
            Read::Owned { tenant, owner } => {
                let prefix = format!("{tenant}/");
                let first = RowKey::new(Table::Object, prefix.clone(), "");
                let rows = self
                    .rows
                    .range((Bound::Included(first), Bound::Unbounded))
                    .take_while(|(key, _)| key.table == Table::Object && key.partition.starts_with(&prefix))
                    .filter_map(|(key, versions)| self.at(revision, key, versions))
                    .filter(|row| row.owner.as_deref() == Some(owner.as_str()))
                    .collect();
                Rows { rows, more: false }
            }
        }
    }
}

fn row(key: &RowKey, revision: Revision, stored: &Stored) -> Row {
    Row { key: key.clone(), revision, owner: stored.owner.clone(), body: stored.body.clone() }
}

/// Whether a precondition holds for a row that has this revision; `None`: that is not there.
pub fn holds(pre: Pre, current: Option<Revision>) -> bool {
    match (pre, current) {
        (Pre::Any, _) | (Pre::Absent, None) | (Pre::Present, Some(_)) => true,
        (Pre::Rev(revision), Some(current)) => current == revision,
        (Pre::Absent, Some(_)) | (Pre::Present | Pre::Rev(_), None) => false,
    }
}

impl Backend for Memory {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        Box::pin(async move { self.do_snapshot(at, &reads) })
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move { self.do_txn(txn) })
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        Box::pin(async move {
            let now = self.clock.utc().0;
            let mut state = self.state();
            let entry = state.requests.entry(id).or_insert((now, None));
            Ok(entry.1.clone().map_or(Settled::Never, Settled::Committed))
        })
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        let scope = scope.to_owned();
        Box::pin(async move { self.do_changes(&scope, after, limit) })
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.bells.subscribe(table, partition)
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let mut state = self.state();
            let floor = Revision(micros * 1000);
            state.floor = state.floor.max(floor);
            for log in state.log.values_mut() {
                log.retain(|change| change.revision >= floor);
            }
            state.requests.retain(|_, (at, _)| *at >= micros);
            state.rows.retain(|_, versions| {
                let keep_from = versions.partition_point(|(r, _)| *r < floor).saturating_sub(1);
                versions.drain(..keep_from);
                versions.last().is_some_and(|(r, stored)| stored.is_some() || *r >= floor)
            });
            Ok(())
        })
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(self.state().counters.get(&name).copied().unwrap_or(0)) })
    }
}

#[cfg(test)]
mod tests;
