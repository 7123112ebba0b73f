//! A back end around another one that does something of its own with reads or with transactions, and leaves the rest to it.

use base::host::BoxFuture;

use crate::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Store,
    Table, Txn, TxnError,
};

/// What has it is a [`Backend`] that passes everything on, but for what it defines itself.
pub trait Wrapper: Send + Sync {
    /// What is passed on to.
    fn inner(&self) -> &Store;

    /// [`Backend::snapshot`].
    fn wrap_snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        self.inner().snapshot(at, reads)
    }

    /// [`Backend::txn`].
    fn wrap_txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>>;
}

impl<T: Wrapper> Backend for T {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        self.wrap_snapshot(at, reads)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        self.wrap_txn(txn)
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        self.inner().settle(id)
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        self.inner().changes(scope, after, limit)
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.inner().bell(table, partition)
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        self.inner().trim(micros)
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        self.inner().counter(name)
    }
}
