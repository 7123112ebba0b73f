//! A back end whose commits take longer than they need: for measuring how many of them stand one behind another.

use std::sync::Arc;
use std::time::Duration;

use base::host::{BoxFuture, Host};

use crate::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Store,
    Table, Txn, TxnError,
};

/// The wrapper.
pub struct Slow {
    inner: Store,
    host: Host,
    commit: Duration,
}

impl Slow {
    /// Every transaction of `inner` takes `commit` longer; reads do not.
    pub fn new(inner: Store, host: Host, commit: Duration) -> Arc<Self> {
        Arc::new(Self { inner, host, commit })
    }
}

impl Backend for Slow {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        self.inner.snapshot(at, reads)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            self.host.clock.sleep(self.commit).await;
            self.inner.txn(txn).await
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
