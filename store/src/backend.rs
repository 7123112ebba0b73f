//! The contract of a back end: rows, transactions, change scopes, bells.
//!
//! A back end holds one Home. Rows are found by ([`Table`], partition, key); both strings are ordered bytewise.
//! Everything Kubernetes (watch protocol, selectors, bookmarks, 410) is written once above this.
//!
//! Promises:
//! - A [`Txn`] is all or nothing. Preconditions are checked against one state, before anything is applied.
//! - Its [`Revision`] grows with every transaction of the Home that logs into the same scope; within one
//!   transaction the logged ops take ordinals 0, 1, … in order. Across scopes revisions may be equal, except
//!   that all scopes with the same tenant (the part of the scope before `/`) grow together.
//! - A read that starts after a transaction was acknowledged sees it.
//! - [`Backend::changes`] never skips: once it has answered "nothing up to P", nothing will appear at or below P.
//! - A bell is a hint: it may ring late, twice, or not at all.
//! - An outcome may be unknown ([`TxnError::Unknown`]); [`Backend::settle`] then says which it was, and if it
//!   says [`Settled::Never`], the transaction cannot commit any more. Settled as never is not a conflict: ask
//!   again under a new id.

use std::fmt;
use std::sync::Arc;

use base::host::BoxFuture;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A resourceVersion: commit time in µs × 1000 + ordinal (0..=511).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Revision(pub i64);

impl Revision {
    /// Most logged ops that one transaction may have.
    pub const ORDINALS: i64 = 512;
    /// The revision of ordinal `ord` at commit time `micros`.
    pub fn at(micros: i64, ord: i64) -> Self {
        debug_assert!((0..Self::ORDINALS).contains(&ord));
        Self(micros * 1000 + ord)
    }
    /// Commit time in µs since 1970.
    pub fn micros(self) -> i64 {
        self.0 / 1000
    }
    /// The greatest revision that a transaction committed at this one's microsecond can have.
    pub fn end_of_moment(self) -> Self {
        Self(self.micros() * 1000 + 999)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The kinds of record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// API objects; partition `tenant/plural.group`, key `namespace/name`. The only table whose changes are logged.
    Object,
    /// "Look at this run, at this time"; partition `cell/bucket`, see [`crate::records::due`].
    Due,
    /// One machine's go at a Try; partition `tenant`, key `try uid/retry/ordinal`.
    Attempt,
    /// A single-use machine; partition `cell`, key machine id.
    Machine,
    /// What is known of a cell; partitions `cells`, `replicas/CELL` and `drains`, see [`crate::records::cell`].
    Cell,
    /// A tenant and its policy; partition `tenants`, key tenant id.
    Tenant,
    /// A resolved remote reference; partition `tenant`, key request name.
    Resolved,
    /// A volume; partition `tenant`, key claim uid.
    Volume,
    /// Which Home a tenant lives in, see [`crate::directory`]; in the global database only.
    Directory,
}

impl Table {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Object,
        Self::Due,
        Self::Attempt,
        Self::Machine,
        Self::Cell,
        Self::Tenant,
        Self::Resolved,
        Self::Volume,
        Self::Directory,
    ];

    /// Its number in stored rows. Never changed.
    pub fn number(self) -> i64 {
        match self {
            Self::Object => 1,
            Self::Due => 2,
            Self::Attempt => 3,
            Self::Machine => 4,
            Self::Cell => 5,
            Self::Tenant => 6,
            Self::Resolved => 7,
            Self::Volume => 8,
            Self::Directory => 9,
        }
    }

    /// The kind with this number.
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|table| table.number() == number)
    }
}

/// Where a row is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowKey {
    /// Kind of record.
    pub table: Table,
    /// Rows of one partition are scanned together.
    pub partition: String,
    /// Unique inside the partition.
    pub key: String,
}

impl RowKey {
    /// A row's place.
    pub fn new(table: Table, partition: impl Into<String>, key: impl Into<String>) -> Self {
        Self { table, partition: partition.into(), key: key.into() }
    }
}

/// A stored row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Where it is.
    pub key: RowKey,
    /// Revision of the transaction that wrote it last.
    pub revision: Revision,
    /// Uid of the owner, for [`Read::Owned`].
    pub owner: Option<String>,
    /// Content; begins with a format byte.
    pub body: Bytes,
}

/// One read of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// One row.
    Get(RowKey),
    /// Rows of a partition with `from <= key < to`, in key order, at most `limit`. Empty `to`: no upper bound.
    Scan {
        /// Kind of record.
        table: Table,
        /// Partition.
        partition: String,
        /// Inclusive lower bound.
        from: String,
        /// Exclusive upper bound.
        to: String,
        /// At most this many rows.
        limit: usize,
    },
    /// All rows of [`Table::Object`] of `tenant` that name `owner` as their owner, in (partition, key) order.
    Owned {
        /// Tenant (the part of the partition before `/`).
        tenant: String,
        /// Uid of the owner.
        owner: String,
    },
}

/// Answer to one [`Read`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    /// The rows found.
    pub rows: Vec<Row>,
    /// A scan stopped at its limit; more may follow.
    pub more: bool,
}

/// Several reads at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Every transaction at or below this revision is visible, none above.
    pub revision: Revision,
    /// One answer per read, in order.
    pub answers: Vec<Rows>,
}

/// At which moment to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// Now: sees every acknowledged transaction.
    Latest,
    /// At exactly this revision (pages of a list); may be [`ReadError::Expired`].
    Exact(Revision),
}

/// A precondition on a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pre {
    /// No such row.
    Absent,
    /// There is one.
    Present,
    /// There is one, with this revision.
    Rev(Revision),
    /// Either way.
    Any,
}

/// One part of a transaction. `Object` rows are logged into the scope named by their partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Writes a row.
    Put {
        /// Where.
        key: RowKey,
        /// Only if.
        pre: Pre,
        /// Uid of the owner, for [`Read::Owned`].
        owner: Option<String>,
        /// Content.
        body: Bytes,
        /// The previous body, when a watcher needs it: a selectable field or label changed.
        prev: Option<Bytes>,
    },
    /// Removes a row.
    Delete {
        /// Where.
        key: RowKey,
        /// Only if.
        pre: Pre,
        /// The last body, as the DELETED event shows it (`Object` only).
        last: Option<Bytes>,
    },
    /// Guards the transaction by a row that it doesn't write.
    Check {
        /// Where.
        key: RowKey,
        /// Only if.
        pre: Pre,
    },
    /// Adds to a counter. Counters start at 0 and are never negative.
    Add {
        /// Name: `tenant/what/bucket`.
        counter: String,
        /// May be negative; the sum is kept at 0 or above.
        delta: i64,
        /// Refuse when the sum would be above.
        max: Option<i64>,
    },
}

/// Identifies a transaction over its repetitions: a transaction with a known id is not done again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u128);

/// A transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Txn {
    /// For settling unknown outcomes.
    pub id: RequestId,
    /// What it does, for metrics and traces: `run_create`, `attempt_claim`.
    pub name: &'static str,
    /// Its parts; at most [`Revision::ORDINALS`] of them.
    pub ops: Vec<Op>,
}

/// A committed transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Revision of each op, in order: the commit time, with the ordinal of this op or of the next one that is logged.
    pub revisions: Vec<Revision>,
}

/// Why a transaction was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TxnError {
    /// The precondition of an op failed; nothing was written.
    #[error("precondition of op {op} failed")]
    Conflict {
        /// Index of the first op whose precondition failed.
        op: usize,
        /// The row as it is.
        current: Option<Box<Row>>,
    },
    /// A counter's maximum would be exceeded; nothing was written.
    #[error("counter of op {op} is at its limit")]
    Limit {
        /// Index of the op.
        op: usize,
    },
    /// Nothing was written, because the store has no room.
    #[error("the store has no room left")]
    Full,
    /// Nothing was written; the store cannot be reached or is shutting down.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It may have been written, now or later: settle it.
    #[error("the outcome is unknown")]
    Unknown,
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It was committed.
    Committed(Committed),
    /// It was not, and cannot be any more.
    Never,
}

/// Why a read has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// That moment is no longer kept.
    #[error("that revision is no longer kept")]
    Expired,
    /// The store cannot be reached or is shutting down.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// What happened to a logged row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// It was not there before.
    Created,
    /// It was.
    Updated,
    /// It is gone; `body` is its last state.
    Deleted,
}

/// One entry of a scope's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its place in the log.
    pub revision: Revision,
    /// What happened.
    pub kind: ChangeKind,
    /// Key inside the partition.
    pub key: String,
    /// The row after the change; for `Deleted` the `last` body.
    pub body: Bytes,
    /// The body before, if the writer gave it.
    pub prev: Option<Bytes>,
}

/// Part of a scope's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// In order of revision.
    pub changes: Vec<Change>,
    /// Nothing that is not in `changes` can appear at or below this.
    pub progress: Revision,
}

/// Rings when something may have changed. Dropping it ends the subscription.
pub trait Bell: Send {
    /// Completes when it has rung since the last call.
    fn rung(&mut self) -> BoxFuture<'_, ()>;
}

/// A store of one Home.
pub trait Backend: Send + Sync {
    /// Several reads at one moment.
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>>;
    /// All or nothing.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>>;
    /// What became of a transaction whose outcome is unknown; afterwards it cannot change any more.
    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>>;
    /// Log entries of `scope` (the partition of `Object` rows) after a revision. [`ReadError::Expired`] below the floor.
    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>>;
    /// A hint that rows of this partition (of `Object`, `Due`, `Attempt`, `Machine` or `Cell`) may have changed.
    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell>;
    /// Forgets log entries and request ids older than `micros` (µs since 1970).
    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>>;
    /// Value of a counter.
    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>>;
}

/// A back end as its users hold it.
pub type Store = Arc<dyn Backend>;
