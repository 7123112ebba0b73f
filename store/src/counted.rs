//! Counts the commits of a back end by the name of the transaction: for metrics, and for tests that bound how many
//! a run may need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::host::BoxFuture;

use crate::backend::{Committed, Store, Txn, TxnError};
use crate::wrapper::Wrapper;

/// Transactions by name: those that were committed, and those that were refused.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, (u64, u64)>>);

impl Counts {
    /// Commits so far.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.lock().iter().map(|(name, (done, _))| (*name, *done)).filter(|(_, done)| *done > 0).collect()
    }

    /// Transactions so far that were not committed: somebody was faster, or the store was away.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.lock().iter().map(|(name, (_, not))| (*name, *not)).filter(|(_, not)| *not > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, (u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &'static str, done: bool) {
        let mut counts = self.lock();
        let (committed, refused) = counts.entry(name).or_default();
        *if done { committed } else { refused } += 1;
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

impl Wrapper for Counted {
    fn inner(&self) -> &Store {
        &self.inner
    }

    fn wrap_txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            let name = txn.name;
            let outcome = self.inner.txn(txn).await;
            self.counts.add(name, outcome.is_ok());
            outcome
        })
    }
}
