//! Counts the commits of a back end by the name of the transaction: for metrics, and for tests that bound how many
//! a run may need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::host::BoxFuture;

use crate::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Store,
    Table, Txn, TxnError,
};

/// Commits by name.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// The counts so far.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, name: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }
}

/// A back end whose commits are counted.
pub struct Counted {
    inner: Store,
    counts: Arc<Counts>,
}

impl Counted {
    /// Counts the commits of `inner`.
    pub fn new(inner: Store) -> (Arc<Self>, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (Arc::new(Self { inner, counts: counts.clone() }), counts)
    }
}

impl Backend for Counted {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        self.inner.snapshot(at, reads)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            let name = txn.name;
            let outcome = self.inner.txn(txn).await;
            if outcome.is_ok() {
                self.counts.add(name);
            }
            outcome
        })
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        self.inner.settle(id)
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        self.inner.changes(scope, after, limit)
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.inner.bell(table, partition)
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        self.inner.trim(micros)
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        self.inner.counter(name)
    }
}
