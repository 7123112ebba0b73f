//! A back end that behaves as badly as one may: it is away, it aborts, it does not say what it did, it does it late,
//! and its bells ring when they like. Everything it does is within the contract of [`crate::backend`].

use std::sync::Arc;
use std::time::Duration;

use base::host::{BoxFuture, Host, race};

use crate::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Store,
    Table, Txn, TxnError,
};

/// How often what goes wrong: one in so many; 0: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults {
    /// A transaction is aborted: it is not done, and that is said.
    pub abort: u32,
    /// A transaction is done, and nobody hears of it.
    pub unheard: u32,
    /// A transaction is never done, and that is not said.
    pub never: u32,
    /// A transaction is done later than its answer, which is that nothing is known.
    pub late: u32,
    /// A read has no answer.
    pub read: u32,
    /// A ring of a bell is swallowed.
    pub swallow: u32,
    /// A bell rings for nothing.
    pub ring: u32,
    /// The longest pause before anything is done.
    pub pause_max: Duration,
}

impl Faults {
    /// Enough of everything to be met in a short test.
    pub const MANY: Self = Self {
        abort: 8,
        unheard: 8,
        never: 12,
        late: 12,
        read: 8,
        swallow: 3,
        ring: 3,
        pause_max: Duration::from_millis(3),
    };
}

/// The wrapper.
pub struct Faulty {
    inner: Store,
    host: Host,
    faults: Faults,
}

impl Faulty {
    /// Wraps `inner`. What goes wrong when is drawn from `host`.
    pub fn new(inner: Store, host: Host, faults: Faults) -> Arc<Self> {
        Arc::new(Self { inner, host, faults })
    }

    async fn pause(&self) {
        pause(&self.host, self.faults.pause_max).await;
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
        self.pause().await;
        if happens(&self.host, self.faults.read) {
            return Err(ReadError::Unavailable("the store is away".into()));
        }
        let answer = read.await;
        self.pause().await;
        answer
    }
}

fn happens(host: &Host, one_in: u32) -> bool {
    one_in > 0 && host.id().is_multiple_of(u128::from(one_in))
}

async fn pause(host: &Host, max: Duration) {
    let below = max.as_micros().max(1);
    let micros = u64::try_from(host.id() % below).unwrap_or(0);
    host.clock.sleep(Duration::from_micros(micros)).await;
}

impl Backend for Faulty {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        Box::pin(self.read(self.inner.snapshot(at, reads)))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        Box::pin(async move {
            self.pause().await;
            if happens(&self.host, self.faults.abort) {
                return Err(TxnError::Unavailable("aborted".into()));
            }
            if happens(&self.host, self.faults.never) {
                return Err(TxnError::Unknown);
            }
            if happens(&self.host, self.faults.late) {
                let (inner, host, max) = (self.inner.clone(), self.host.clone(), self.faults.pause_max * 4);
                self.host.spawn("late commit", async move {
                    pause(&host, max).await;
                    drop(inner.txn(txn).await);
                });
                return Err(TxnError::Unknown);
            }
            let unheard = happens(&self.host, self.faults.unheard);
            let done = self.inner.txn(txn).await;
            self.pause().await;
            if unheard { Err(TxnError::Unknown) } else { done }
        })
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        Box::pin(self.read(self.inner.settle(id)))
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        Box::pin(self.read(self.inner.changes(scope, after, limit)))
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        let inner = self.inner.bell(table, partition);
        Box::new(FaultyBell { inner, host: self.host.clone(), faults: self.faults })
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.read(self.inner.trim(micros)))
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        let name = name.to_owned();
        Box::pin(async move { self.read(self.inner.counter(&name)).await })
    }
}

struct FaultyBell {
    inner: Box<dyn Bell>,
    host: Host,
    faults: Faults,
}

impl Bell for FaultyBell {
    fn rung(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if happens(&self.host, self.faults.ring) {
                race(self.inner.rung(), pause(&self.host, self.faults.pause_max)).await;
                return;
            }
            self.inner.rung().await;
            while happens(&self.host, self.faults.swallow) {
                self.inner.rung().await;
            }
            pause(&self.host, self.faults.pause_max).await;
        })
    }
}
