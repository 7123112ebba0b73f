//! A back end that behaves as badly as one may: it is away, for moments or for minutes, it aborts, it does not say what
//! it did, it does it late, and its bells ring when they like. Everything it does is within the contract of
//! [`crate::backend`]. That revisions of different tenants may be equal is the part of [`crate::memory::Memory::loose`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// A bell that has rung rings a second time, later.
    pub repeat: u32,
    /// The longest time by which a bell is late. Each is late by itself: they ring in another order than things
    /// happened, as the partitions of a change stream do.
    pub bell_late_max: Duration,
    /// The longest pause before anything is done.
    pub pause_max: Duration,
    /// Once in this time the whole store is away; zero: never.
    pub away_every: Duration,
    /// How long it is away then.
    pub away_for: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        abort: 0,
        unheard: 0,
        never: 0,
        late: 0,
        read: 0,
        swallow: 0,
        ring: 0,
        repeat: 0,
        bell_late_max: Duration::ZERO,
        pause_max: Duration::ZERO,
        away_every: Duration::ZERO,
        away_for: Duration::ZERO,
    };
    /// Enough of everything to be met in a short test.
    pub const MANY: Self = Self {
        abort: 8,
        unheard: 8,
        never: 12,
        late: 12,
        read: 8,
        swallow: 3,
        ring: 3,
        repeat: 3,
        bell_late_max: Duration::from_millis(20),
        pause_max: Duration::from_millis(3),
        away_every: Duration::from_millis(1500),
        away_for: Duration::from_millis(100),
    };
    /// A store that is well, and away for two minutes of every twenty.
    pub const OUTAGES: Self =
        Self { away_every: Duration::from_secs(20 * 60), away_for: Duration::from_secs(120), ..Self::NONE };
}

/// What went wrong, and how often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A transaction was aborted.
    Abort,
    /// A transaction was done unheard.
    Unheard,
    /// A transaction of unknown outcome was never done.
    Never,
    /// A transaction of unknown outcome was done late.
    Late,
    /// A read had no answer.
    Read,
    /// A ring was swallowed.
    Swallow,
    /// A bell rang for nothing.
    Ring,
    /// A bell rang twice.
    Repeat,
    /// Something was refused because the whole store was away.
    Away,
    /// A transaction was under way when the store went away: its outcome is unknown.
    Cut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Abort,
        Self::Unheard,
        Self::Never,
        Self::Late,
        Self::Read,
        Self::Swallow,
        Self::Ring,
        Self::Repeat,
        Self::Away,
        Self::Cut,
    ];
}

/// The wrapper.
pub struct Faulty {
    inner: Store,
    way: Arc<Way>,
}

/// How things go wrong, shared with what outlives a call.
struct Way {
    host: Host,
    faults: Faults,
    counts: [AtomicU64; Fault::ALL.len()],
}

impl Faulty {
    /// Wraps `inner`. What goes wrong when is drawn from `host`.
    pub fn new(inner: Store, host: Host, faults: Faults) -> Arc<Self> {
        let way = Way { host, faults, counts: Default::default() };
        Arc::new(Self { inner, way: Arc::new(way) })
    }

    /// How often each thing went wrong so far.
    pub fn counts(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().map(|fault| (fault, self.way.counts[fault as usize].load(Ordering::Relaxed)))
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
        let way = &self.way;
        way.pause().await;
        let away = || ReadError::Unavailable("the store is away".into());
        if way.is_away() || way.happens(Fault::Read, way.faults.read) {
            return Err(away());
        }
        let answer = read.await;
        way.pause().await;
        // Who waits for an answer when the store goes away does not get it.
        if way.is_away() { Err(away()) } else { answer }
    }
}

impl Way {
    fn happens(&self, fault: Fault, one_in: u32) -> bool {
        let happens = one_in > 0 && self.host.id().is_multiple_of(u128::from(one_in));
        self.count(fault, happens)
    }

    fn count(&self, fault: Fault, happens: bool) -> bool {
        self.counts[fault as usize].fetch_add(u64::from(happens), Ordering::Relaxed);
        happens
    }

    /// The end of each period is the time of being away: a store begins well.
    fn is_away(&self) -> bool {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (every, long) = (micros(self.faults.away_every), micros(self.faults.away_for));
        let away = every > 0 && self.host.clock.mono().0 % every >= every.saturating_sub(long);
        self.count(Fault::Away, away)
    }

    async fn pause(&self) {
        self.wait(self.faults.pause_max).await;
    }

    async fn wait(&self, max: Duration) {
        let below = max.as_micros().max(1);
        let micros = u64::try_from(self.host.id() % below).unwrap_or(0);
        self.host.clock.sleep(Duration::from_micros(micros)).await;
    }
}

impl Backend for Faulty {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        Box::pin(self.read(self.inner.snapshot(at, reads)))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        let (way, inner) = (self.way.clone(), self.inner.clone());
        Box::pin(async move {
            way.pause().await;
            if way.is_away() {
                return Err(TxnError::Unavailable("the store is away".into()));
            }
            if way.happens(Fault::Abort, way.faults.abort) {
                return Err(TxnError::Unavailable("aborted".into()));
            }
            if way.happens(Fault::Never, way.faults.never) {
                return Err(TxnError::Unknown);
            }
            if way.happens(Fault::Late, way.faults.late) {
                let late = way.clone();
                way.host.spawn("late commit", async move {
                    late.wait(late.faults.pause_max * 4).await;
                    drop(inner.txn(txn).await);
                });
                return Err(TxnError::Unknown);
            }
            let unheard = way.happens(Fault::Unheard, way.faults.unheard);
            let done = inner.txn(txn).await;
            way.pause().await;
            let cut = way.is_away();
            way.count(Fault::Cut, cut);
            if unheard || cut { Err(TxnError::Unknown) } else { done }
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
        Box::new(FaultyBell { inner: self.inner.bell(table, partition), way: self.way.clone(), again: false })
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
    way: Arc<Way>,
    /// It rings once more.
    again: bool,
}

impl Bell for FaultyBell {
    fn rung(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let faults = self.way.faults;
            if std::mem::take(&mut self.again) {
                self.way.wait(faults.bell_late_max).await;
                return;
            }
            if self.way.happens(Fault::Ring, faults.ring) {
                race(self.inner.rung(), self.way.wait(faults.bell_late_max)).await;
                return;
            }
            self.inner.rung().await;
            while self.way.happens(Fault::Swallow, faults.swallow) {
                self.inner.rung().await;
            }
            self.again = self.way.happens(Fault::Repeat, faults.repeat);
            self.way.wait(faults.bell_late_max).await;
        })
    }
}

#[cfg(test)]
mod tests;
