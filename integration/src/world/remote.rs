//! The store as a process sees it: far away, sometimes not there, and sometimes silent about what it has done.

use std::sync::Arc;

use base::host::BoxFuture;
use futures_util::FutureExt;
use store::backend::{
    At, Backend, Bell, Changes, Committed, Op, Pre, Read, ReadError, RequestId, Revision, Settled, Snapshot,
    Table, Txn, TxnError,
};
use store::memory::Memory;
use tokio::sync::oneshot;

use super::World;

/// One write in so many meets a fault, and one read.
const FAULTY_WRITE: u32 = 20;
const FAULTY_READ: u32 = 150;
const HOP_US: (u64, u64) = (30, 600);
/// A commit that nobody heard of may come so late, µs.
const LATE_MAX_US: u64 = 10_000_000;

/// The one store of the world, behind its network.
pub struct Remote {
    world: Arc<World>,
    inner: Arc<Memory>,
    /// A mistake that is made on purpose: one Due row in so many is dropped from the transaction that puts it.
    forgets_due: Option<u32>,
}

impl Remote {
    /// The store `inner`, from afar.
    pub fn new(world: Arc<World>, inner: Arc<Memory>, forgets_due: Option<u32>) -> Arc<Self> {
        Arc::new(Self { world, inner, forgets_due })
    }

    fn hop_us(&self) -> u64 {
        self.world.draw_us(HOP_US.0, HOP_US.1)
    }

    /// Does something at the store, after a hop, whether or not who asked still lives.
    fn at_store<T, F>(&self, act: F) -> BoxFuture<'static, Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Memory>) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (inner, there, back) = (self.inner.clone(), self.hop_us(), self.hop_us());
        self.world.after(there, move |world| {
            let done = act(inner);
            world.after(back, move |_| drop(answer.send(done)));
        });
        Box::pin(async move { answered.await.ok() })
    }

    fn read<T, F>(&self, act: F) -> BoxFuture<'static, Result<T, ReadError>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Memory>) -> Result<T, ReadError> + Send + 'static,
    {
        let away = || ReadError::Unavailable("the store is away".into());
        if self.world.fault(FAULTY_READ) {
            self.world.note("read refused", "");
            return Box::pin(async move { Err(away()) });
        }
        let done = self.at_store(act);
        Box::pin(async move { done.await.unwrap_or_else(|| Err(away())) })
    }

    fn forget(&self, txn: &mut Txn) {
        let Some(one_in) = self.forgets_due else { return };
        for op in &mut txn.ops {
            if let Op::Put { key, .. } = op
                && key.table == Table::Due
                && self.world.fault(one_in)
            {
                self.world.note("due row forgotten", &key.key);
                *op = Op::Check { key: key.clone(), pre: Pre::Any };
            }
        }
    }
}

/// The memory store answers at once.
fn now<T>(answer: BoxFuture<'_, T>, never: T) -> T {
    answer.now_or_never().unwrap_or(never)
}

impl Backend for Remote {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        self.read(move |store| now(store.snapshot(at, reads), Err(ReadError::Expired)))
    }

    fn txn(&self, mut txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        self.forget(&mut txn);
        let name = txn.name;
        let act = move |store: Arc<Memory>| now(store.txn(txn), Err(TxnError::Unknown));
        if self.world.fault(FAULTY_WRITE) {
            match self.world.draw_us(0, 4) {
                0 => {
                    self.world.note("commit unheard", name);
                    let done = self.at_store(act);
                    return Box::pin(async move {
                        done.await.map_or(Err(TxnError::Unknown), |_| Err(TxnError::Unknown))
                    });
                }
                1 => {
                    self.world.note("commit never", name);
                    return Box::pin(async { Err(TxnError::Unknown) });
                }
                2 => {
                    self.world.note("commit late", name);
                    let (late, inner) = (self.world.draw_us(0, LATE_MAX_US), self.inner.clone());
                    self.world.after(late, move |_| drop(act(inner)));
                    return Box::pin(async { Err(TxnError::Unknown) });
                }
                _ => {
                    self.world.note("write refused", name);
                    return Box::pin(async { Err(TxnError::Unavailable("the store is away".into())) });
                }
            }
        }
        let done = self.at_store(act);
        Box::pin(async move { done.await.unwrap_or(Err(TxnError::Unknown)) })
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        self.read(move |store| now(store.settle(id), Err(ReadError::Expired)))
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        let scope = scope.to_owned();
        self.read(move |store| now(store.changes(&scope, after, limit), Err(ReadError::Expired)))
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.inner.bell(table, partition)
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        self.read(move |store| now(store.trim(micros), Err(ReadError::Expired)))
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        let name = name.to_owned();
        self.read(move |store| now(store.counter(&name), Err(ReadError::Expired)))
    }
}
