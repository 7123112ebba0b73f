//! A back end whose commits take longer than they need: for measuring how many of them stand one behind another.

use std::sync::Arc;
use std::time::Duration;

use base::host::{BoxFuture, Host};

use crate::backend::{Committed, Store, Txn, TxnError};
use crate::wrapper::Wrapper;

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

impl Wrapper for Slow {
    fn inner(&self) -> &Store {
        &self.inner
    }

    fn wrap_txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            self.host.clock.sleep(self.commit).await;
            self.inner.txn(txn).await
        })
    }
}
