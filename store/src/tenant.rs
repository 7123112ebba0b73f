//! What a tenant's user may read and write, under a Grant: objects of that tenant and nothing else.
//!
//! Writers of status are not here: a write to the main resource keeps the status (the gateway prepares it so),
//! and what concerns a run puts a Due row for its cell into the same transaction.

pub mod admin;
mod cells;
mod found;
mod settings;
mod story;
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use base::host::Host;
use serde_json::Value;
use tenancy::access::Grant;
use tenancy::id::TenantId;

use crate::backend::{
    At, Bell, Changes, Op, Pre, Read, ReadError, RequestId, Revision, Row, RowKey, Rows, Settled, Store,
    Table, Txn, TxnError,
};
use crate::cell::{CELL, owner_key};
use crate::object::{self, ObjectKey, scope};
use crate::quota;
use crate::records::due;

pub use cells::Reach;
pub use found::{TEKTON, found};
pub use story::Story;
pub use surroundings::{Namespace, Surroundings, residency};

const SETTLE_PAUSE: Duration = Duration::from_millis(50);
const SETTLE_TRIES: u32 = 100;

/// A store as users of tenants see it.
#[derive(Clone)]
pub struct TenantStore {
    backend: Store,
    host: Host,
    around: Arc<surroundings::Cache>,
}

/// Why something was not written. Nothing was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// There is one of that name.
    #[error("it exists")]
    Exists,
    /// It has changed, or is gone.
    #[error("it has changed")]
    Changed,
    /// The tenant has as many as it may have.
    #[error("the tenant's quota is used up")]
    Quota,
    /// The disk is full.
    #[error("the store has no room left")]
    Full,
    /// The store is away.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The rows, in order of namespace and name.
    pub rows: Vec<Row>,
    /// The moment of the list.
    pub revision: Revision,
    /// There are more behind the last one.
    pub more: bool,
}

impl TenantStore {
    /// A store on a back end.
    pub fn new(backend: Store, host: Host) -> Self {
        Self { backend, host, around: Arc::default() }
    }

    fn key(grant: &Grant, kind: &str, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            tenant: grant.tenant().to_string(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// One object.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn object_get(
        &self,
        grant: &Grant,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Row>, ReadError> {
        let key = Self::key(grant, kind, namespace, name).row();
        let snapshot = self.backend.snapshot(At::Latest, vec![Read::Get(key)]).await?;
        Ok(one(snapshot.answers))
    }

    /// Objects of a kind, of one namespace or of all, after `after` (a row key), at most `limit`.
    ///
    /// # Errors
    /// When the store is away, or the moment is no longer kept.
    pub async fn object_list(
        &self,
        grant: &Grant,
        kind: &str,
        namespace: Option<&str>,
        at: At,
        after: &str,
        limit: usize,
    ) -> Result<Page, ReadError> {
        // '0' follows '/', so this range is exactly one namespace.
        let (first, last) = match namespace {
            Some(namespace) => (format!("{namespace}/"), format!("{namespace}0")),
            None => (String::new(), String::new()),
        };
        let from = if after.is_empty() { first } else { format!("{after}\u{0}") };
        let scan = Read::Scan {
            table: Table::Object,
            partition: scope(grant.tenant().as_str(), kind),
            from,
            to: last,
            limit,
        };
        let snapshot = self.backend.snapshot(at, vec![scan]).await?;
        let Rows { rows, more } = snapshot.answers.into_iter().next().unwrap_or_default();
        Ok(Page { rows, revision: snapshot.revision, more })
    }

    /// Creates an object, and gives its row; a run's cell finds it due. It is only done while its namespace is as in
    /// `around`.
    ///
    /// # Errors
    /// [`WriteError`]; [`WriteError::Changed`] is said of the namespace.
    pub async fn object_create(
        &self,
        grant: &Grant,
        kind: &str,
        object: &Value,
        around: &Surroundings,
    ) -> Result<Row, WriteError> {
        let key = Self::key(grant, kind, text(object, "namespace"), text(object, "name"));
        let row = object::row(&key, object);
        let mut ops = vec![object::put_row(row.clone(), Pre::Absent, None)];
        if kind == "namespaces" {
            ops.push(default_account(grant.tenant(), &key.name, object));
        }
        ops.extend(due_of(&key, object));
        ops.extend(around.guard());
        let runs_max = around.tenant.as_ref().and_then(|tenant| tenant.runs_max);
        ops.extend(quota::taken(&key, object, runs_max));
        let written = self.write("object_create", ops).await.map_err(|refusal| match refusal {
            Refusal::Precondition { op: 0 } => WriteError::Exists,
            Refusal::Precondition { .. } => {
                self.forget_surroundings(grant, &key.namespace);
                WriteError::Changed
            }
            Refusal::Other(error) => error,
        });
        Ok(Row { revision: written?, ..row })
    }

    /// Replaces the object in `seen`, which is `old`, if it is still that one, and gives its row as it is now.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn object_replace(
        &self,
        grant: &Grant,
        seen: &Row,
        old: &Value,
        object: &Value,
    ) -> Result<Row, WriteError> {
        let kind = kind_of(seen);
        let key = Self::key(grant, kind, text(object, "namespace"), text(object, "name"));
        let prev = selectable_changed(kind, old, object).then(|| seen.body.clone());
        let row = object::row(&key, object);
        let mut ops = vec![object::put_row(row.clone(), Pre::Rev(seen.revision), prev)];
        ops.extend(due_of(&key, object));
        Ok(Row { revision: self.commit("object_replace", ops).await?, ..row })
    }

    /// Removes the object in `seen`, which is `last`, if it is still that one. Watchers are shown it as it was.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn object_delete(
        &self,
        grant: &Grant,
        seen: &Row,
        last: &Value,
    ) -> Result<Revision, WriteError> {
        let kind = kind_of(seen);
        let key = Self::key(grant, kind, text(last, "namespace"), text(last, "name"));
        let shown = Some(seen.body.clone());
        let mut ops = vec![Op::Delete { key: key.row(), pre: Pre::Rev(seen.revision), last: shown }];
        ops.extend(quota::given_back(&key, last));
        ops.extend(due_of(&key, last));
        // Somebody must look for what it owned. A run's own cell does; for others, any cell.
        let cell = match last["metadata"]["annotations"][CELL].as_str() {
            Some(cell) => Some(cell.to_owned()),
            None => self.any_cell().await,
        };
        if let Some(cell) = cell {
            ops.push(crate::cell::collect::dependents(&cell, &key, text(last, "uid")));
        }
        self.commit("object_delete", ops).await
    }

    /// Marks a namespace (or anything that something else must finish) and tells a cell to finish it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn object_terminate(
        &self,
        grant: &Grant,
        seen: &Row,
        object: &Value,
    ) -> Result<Revision, WriteError> {
        let kind = kind_of(seen);
        let key = Self::key(grant, kind, text(object, "namespace"), text(object, "name"));
        let mut ops = vec![object::put(&key, Pre::Rev(seen.revision), object, Some(seen.body.clone()))];
        let cell = match object["metadata"]["annotations"][CELL].as_str() {
            Some(cell) => Some(cell.to_owned()),
            None => self.any_cell().await,
        };
        if let Some(cell) = cell {
            ops.push(due::put_with_uid(&cell, &key, text(object, "uid")));
        }
        for op in due_of(&key, object) {
            if !ops.contains(&op) {
                ops.push(op);
            }
        }
        self.commit("object_terminate", ops).await
    }

    async fn any_cell(&self) -> Option<String> {
        let scan = Read::Scan {
            table: Table::Cell,
            partition: "cells".into(),
            from: String::new(),
            to: String::new(),
            limit: 1,
        };
        let snapshot = self.backend.snapshot(At::Latest, vec![scan]).await.ok()?;
        one(snapshot.answers).map(|row| row.key.key)
    }

    /// Changes of a kind after a revision.
    ///
    /// # Errors
    /// When the store is away, or so old a revision is no longer kept.
    pub async fn changes(
        &self,
        grant: &Grant,
        kind: &str,
        after: Revision,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        self.backend.changes(&scope(grant.tenant().as_str(), kind), after, limit).await
    }

    /// Rings when objects of a kind may have changed.
    pub fn bell(&self, grant: &Grant, kind: &str) -> Box<dyn Bell> {
        self.backend.bell(Table::Object, &scope(grant.tenant().as_str(), kind))
    }

    /// Runs of the tenant that have a place, where it has a limit.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn runs_counted(&self, grant: &Grant) -> Result<i64, ReadError> {
        self.backend.counter(&quota::counter(grant.tenant().as_str())).await
    }

    /// The store answers.
    ///
    /// # Errors
    /// When it is away.
    pub async fn ping(&self) -> Result<(), ReadError> {
        self.backend.snapshot(At::Latest, Vec::new()).await.map(drop)
    }

    async fn commit(&self, name: &'static str, ops: Vec<Op>) -> Result<Revision, WriteError> {
        self.write(name, ops).await.map_err(|refusal| match refusal {
            Refusal::Precondition { .. } => WriteError::Changed,
            Refusal::Other(error) => error,
        })
    }

    async fn write(&self, name: &'static str, ops: Vec<Op>) -> Result<Revision, Refusal> {
        let mut txn = Txn { id: RequestId(self.host.id()), name, ops };
        for _ in 0..SETTLE_TRIES {
            match self.backend.txn(txn.clone()).await {
                Ok(done) => return Ok(done.revisions.first().copied().unwrap_or_default()),
                Err(TxnError::Conflict { op, .. }) => return Err(Refusal::Precondition { op }),
                Err(TxnError::Limit { .. }) => return Err(Refusal::Other(WriteError::Quota)),
                Err(TxnError::Full) => return Err(Refusal::Other(WriteError::Full)),
                Err(TxnError::Unavailable(why)) => {
                    return Err(Refusal::Other(WriteError::Unavailable(why)));
                }
                Err(TxnError::Unknown) => match self.backend.settle(txn.id).await {
                    Ok(Settled::Committed(done)) => {
                        return Ok(done.revisions.first().copied().unwrap_or_default());
                    }
                    // Nobody decided against it: ask again under a new id.
                    Ok(Settled::Never) => txn.id = RequestId(self.host.id()),
                    Err(_) => self.host.clock.sleep(SETTLE_PAUSE).await,
                },
            }
        }
        Err(Refusal::Other(WriteError::Unavailable("no transaction gets through".into())))
    }
}

/// Why a transaction was not done.
enum Refusal {
    /// The precondition of this op failed.
    Precondition { op: usize },
    /// Anything else.
    Other(WriteError),
}

fn one(answers: Vec<Rows>) -> Option<Row> {
    answers.into_iter().next().and_then(|rows| rows.rows.into_iter().next())
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object["metadata"][member].as_str().unwrap_or("")
}

fn kind_of(row: &Row) -> &str {
    row.key.partition.split_once('/').map_or("", |(_, kind)| kind)
}

/// A watcher's selector may have matched before and not now, or the other way round.
fn selectable_changed(kind: &str, old: &Value, new: &Value) -> bool {
    let fields = apimachinery::kind::by_id(kind).map_or(&[][..], |kind| kind.fields);
    old["metadata"]["labels"] != new["metadata"]["labels"]
        || fields.iter().flat_map(|f| f.pointers).any(|p| old.pointer(p) != new.pointer(p))
}

/// The Due rows that a write of `object` causes: a run's own, or that of the run that owns it.
fn due_of(key: &ObjectKey, object: &Value) -> Vec<Op> {
    let Some(cell) = object["metadata"]["annotations"][CELL].as_str() else { return Vec::new() };
    let mut out = Vec::new();
    if crate::cell::apply::is_looked_at(&key.kind) {
        out.push(due::put_with_uid(cell, key, text(object, "uid")));
    }
    if let Some((owner, _)) = owner_key(&key.tenant, object) {
        out.push(due::put(cell, &owner, 0));
    }
    out
}

/// Every namespace has a ServiceAccount `default`.
fn default_account(tenant: &TenantId, namespace: &str, made: &Value) -> Op {
    let object = serde_json::json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "default",
            "namespace": namespace,
            "uid": crate::cell::derived_uid(&[tenant.as_str(), namespace, "default"]),
            "creationTimestamp": made["metadata"]["creationTimestamp"],
        },
    });
    let key = ObjectKey {
        tenant: tenant.to_string(),
        kind: "serviceaccounts".into(),
        namespace: namespace.into(),
        name: "default".into(),
    };
    object::put(&key, Pre::Any, &object, None)
}

/// The row of `key`, for tests.
pub fn row_key(key: &ObjectKey) -> RowKey {
    key.row()
}
