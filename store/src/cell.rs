//! What a cell may read and write: the runs placed on it, what belongs to them, its machines and its agents'
//! sessions. It writes what is derived and observed (status, children, attempts, machines), never a spec that a
//! tenant wrote: no function here takes one.
//!
//! Every write is one transaction that is conditional on the revisions read before it, so that a lost race is a
//! [`CellError::Conflict`] and the caller looks again. Reading order: [`due`] (what to look at), [`view`] (look),
//! [`apply`] (write what was decided), [`session`] (what agents do), [`machines`],
//! [`volumes`], [`collect`], [`place`].

pub mod apply;
pub mod collect;
pub mod due;
mod known;
pub mod machines;
pub mod outbox;
pub mod place;
mod pods;
pub mod presence;
pub mod requests;
pub mod session;
pub mod view;
pub mod volumes;

pub use pods::{MachineSize, again_after, machine_id, retry_of};

use std::sync::Arc;
use std::time::Duration;

use base::host::Host;
use ring::{digest, hmac};
use serde_json::Value;

use crate::backend::{
    At, Bell, Committed, Op, Read, ReadError, RequestId, Revision, Rows, Settled, Snapshot, Store, Table,
    Txn, TxnError,
};
use crate::object::{Damaged, ObjectKey};

/// Annotation of a run and of all that belongs to it: the cell that runs it.
pub const CELL: &str = "cella.dev/cell";
/// Annotation: that cell's region.
pub const REGION: &str = "cella.dev/region";
/// Annotation: counts the placements of the root run; a cell of an older one may not write any more.
pub const EPOCH: &str = "cella.dev/placement-epoch";
/// Annotation: W3C trace context of the root run.
pub const TRACEPARENT: &str = "cella.dev/traceparent";
/// Annotation of a finished TaskRun: its instants as JSON, µs since 1970.
pub const TIMINGS: &str = "cella.dev/timings";
/// Annotation of the root run: why it is where it is, and where it was before, as JSON.
pub const EXPLANATION: &str = "cella.dev/placement-explanation";
/// Annotation: what a run waits for, and what would change it. Absent while it waits for nothing.
pub const WAITING: &str = "cella.dev/waiting";
/// Annotation that users set: `true` runs it again when its machine was lost after its steps had started.
pub const RERUN: &str = "cella.dev/rerun-after-loss";
/// Annotation: how many attempts of the run the infrastructure has lost. Not the user's retries.
pub const INFRA_RETRIES: &str = "cella.dev/infra-retries";
/// Annotation: why the last of those was lost.
pub const INFRA_REASON: &str = "cella.dev/infra-retry-reason";
/// Annotation: how often the run was run again because a user deleted its Pod.
pub const RERUNS: &str = "cella.dev/reruns";

const SETTLE_PAUSE: Duration = Duration::from_millis(50);
const SETTLE_TRIES: u32 = 200;

/// A store as one cell sees it.
#[derive(Clone)]
pub struct CellStore {
    backend: Store,
    host: Host,
    cell: String,
    machine_key: hmac::Key,
    known: Arc<known::Known>,
}

/// An API object as it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Its name.
    pub key: ObjectKey,
    /// The document, with its resourceVersion.
    pub value: Value,
    /// The revision that a write must be conditional on.
    pub revision: Revision,
}

/// Why the store has no answer, or did not write.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CellError {
    /// Something that the write depends on has changed since it was read: look again.
    #[error("{what} has changed meanwhile")]
    Conflict {
        /// The row, as `table partition key`.
        what: String,
    },
    /// Nothing was written, because the store has no room.
    #[error("the store has no room left")]
    Full,
    /// Nothing was written: the cell has as many machines as it may have.
    #[error("the cell has as many machines as it may have")]
    Limit,
    /// The store cannot be reached; the write may or may not have been done.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A stored row cannot be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The engine asked for something that a cell may not write.
    #[error("a cell may not write {0}")]
    Foreign(String),
}

impl From<ReadError> for CellError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl CellStore {
    /// The store as `cell` sees it. `machine_key` derives the tokens of its machines; all replicas of a cell
    /// have the same one.
    pub fn new(backend: Store, host: Host, cell: &str, machine_key: &[u8; 32]) -> Self {
        let machine_key = hmac::Key::new(hmac::HMAC_SHA256, machine_key);
        Self { backend, host, cell: cell.to_owned(), machine_key, known: Arc::default() }
    }

    /// The cell.
    pub fn cell(&self) -> &str {
        &self.cell
    }

    /// The world of this store's process.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The token that the agent of machine `id` must show. Derived, so that it is nowhere at rest.
    pub fn machine_token(&self, id: &str) -> String {
        hex(hmac::sign(&self.machine_key, format!("machine/{}/{id}", self.cell).as_bytes()).as_ref())
    }

    /// A bell of one bucket of this cell's Due rows.
    pub fn due_bell(&self, bucket: u32) -> Box<dyn Bell> {
        self.backend.bell(Table::Due, &crate::records::due::partition(&self.cell, bucket))
    }

    /// A bell of a tenant's ConfigMaps.
    pub fn config_maps_bell(&self, tenant: &str) -> Box<dyn Bell> {
        self.backend.bell(Table::Object, &crate::object::scope(tenant, "configmaps"))
    }

    /// A bell of this cell's machines.
    pub fn machine_bell(&self) -> Box<dyn Bell> {
        self.backend.bell(Table::Machine, &self.cell)
    }

    async fn snapshot(&self, reads: Vec<Read>) -> Result<Snapshot, CellError> {
        Ok(self.backend.snapshot(At::Latest, reads).await?)
    }

    /// Does a transaction and knows what became of it.
    async fn commit(&self, name: &'static str, ops: Vec<Op>) -> Result<Committed, CellError> {
        self.transact(name, &ops).await?.map_err(|error| of_txn(error, &ops))
    }

    /// As [`CellStore::commit`], with the store's own answer: never an unknown one.
    async fn transact(
        &self,
        name: &'static str,
        ops: &[Op],
    ) -> Result<Result<Committed, TxnError>, CellError> {
        for _ in 0..SETTLE_TRIES {
            let id = RequestId(self.host.id());
            let outcome = match self.backend.txn(Txn { id, name, ops: ops.to_vec() }).await {
                Err(TxnError::Unknown) => match self.settle(id).await? {
                    Settled::Committed(committed) => Ok(committed),
                    // Not a conflict: nobody has decided against it. Ask again under a new id.
                    Settled::Never => continue,
                },
                outcome => outcome,
            };
            return Ok(outcome);
        }
        Err(CellError::Unavailable("no transaction gets through".into()))
    }

    async fn settle(&self, id: RequestId) -> Result<Settled, CellError> {
        let mut last = None;
        for _ in 0..SETTLE_TRIES {
            match self.backend.settle(id).await {
                Ok(settled) => return Ok(settled),
                Err(error) => last = Some(error),
            }
            self.host.clock.sleep(SETTLE_PAUSE).await;
        }
        Err(last.map_or(CellError::Unavailable(String::new()), CellError::from))
    }
}

fn of_txn(error: TxnError, ops: &[Op]) -> CellError {
    match error {
        TxnError::Conflict { op, .. } => {
            let what = match ops.get(op) {
                Some(Op::Put { key, .. } | Op::Delete { key, .. } | Op::Check { key, .. }) => {
                    format!("{:?} {} {}", key.table, key.partition, key.key)
                }
                Some(Op::Add { counter, .. }) => counter.clone(),
                None => "a row".into(),
            };
            CellError::Conflict { what }
        }
        TxnError::Limit { .. } => CellError::Limit,
        TxnError::Full => CellError::Full,
        TxnError::Unavailable(why) => CellError::Unavailable(why),
        TxnError::Unknown => CellError::Unavailable("the outcome is unknown".into()),
    }
}

/// SHA-256 in hexadecimal: how machine tokens are kept.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A uid in the form of a UUID (version 8), the same for the same parts.
pub(crate) fn derived_uid(parts: &[&str]) -> String {
    let digest = digest::digest(&digest::SHA256, parts.join("\u{0}").as_bytes());
    let mut b = [0; 16];
    b.copy_from_slice(&digest.as_ref()[..16]);
    b[6] = (b[6] & 0x0f) | 0x80;
    b[8] = (b[8] & 0x3f) | 0x80;
    base::host::uuid_text(b)
}

/// The id of a document's kind, as in [`ObjectKey::kind`].
pub fn kind_id(object: &Value) -> Option<String> {
    let (group, _) = apimachinery::kind::split_api_version(object["apiVersion"].as_str()?);
    Some(apimachinery::kind::by_kind(group, object["kind"].as_str()?)?.id())
}

/// The key of a document in `tenant`; `None` when its kind is not one that is served.
pub fn key_of(tenant: &str, object: &Value) -> Option<ObjectKey> {
    Some(ObjectKey {
        tenant: tenant.to_owned(),
        kind: kind_id(object)?,
        namespace: apimachinery::meta::namespace(object).to_owned(),
        name: apimachinery::meta::name(object).to_owned(),
    })
}

/// The key of the controlling owner of `object`, with the owner's uid.
pub fn owner_key(tenant: &str, object: &Value) -> Option<(ObjectKey, String)> {
    let owner = apimachinery::meta::owners(object).find(|r| r["controller"] == true)?;
    let key = ObjectKey {
        tenant: tenant.to_owned(),
        kind: kind_id(owner)?,
        namespace: apimachinery::meta::namespace(object).to_owned(),
        name: owner["name"].as_str()?.to_owned(),
    };
    Some((key, owner["uid"].as_str()?.to_owned()))
}

fn seen(key: &ObjectKey, rows: &Rows) -> Result<Option<Seen>, CellError> {
    rows.rows
        .first()
        .map(|row| {
            let value = crate::object::of_row(row)?;
            Ok(Seen { key: key.clone(), value, revision: row.revision })
        })
        .transpose()
}

/// The key of a stored object, from its place.
fn key_of_row(row: &crate::backend::Row) -> Option<ObjectKey> {
    let (tenant, kind) = row.key.partition.split_once('/')?;
    let (namespace, name) = row.key.key.split_once('/')?;
    Some(ObjectKey {
        tenant: tenant.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// An op that replaces `old` by `new`, and keeps the old body where a selector may see the difference.
fn replace(old: &Seen, new: &Value) -> Op {
    let selectable = apimachinery::kind::by_id(&old.key.kind).is_none_or(|kind| {
        let fields = kind.fields.iter().flat_map(|f| f.pointers);
        old.value["metadata"]["labels"] != new["metadata"]["labels"]
            || fields.into_iter().any(|pointer| old.value.pointer(pointer) != new.pointer(pointer))
    });
    let prev = selectable.then(|| crate::object::encode(&old.value));
    crate::object::put(&old.key, crate::backend::Pre::Rev(old.revision), new, prev)
}

/// An op that removes `old`.
fn remove(old: &Seen) -> Op {
    Op::Delete {
        key: old.key.row(),
        pre: crate::backend::Pre::Rev(old.revision),
        last: Some(crate::object::encode(&old.value)),
    }
}

/// The placement epoch written on `object`; 0 when there is none.
pub fn epoch_of(object: &Value) -> u64 {
    apimachinery::meta::annotation(object, EPOCH).and_then(|e| e.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
