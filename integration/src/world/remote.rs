//! The store as a process sees it: far away, sometimes not there, sometimes slow, and sometimes silent about what it
//! has done.

use std::sync::Arc;

use base::host::{BoxFuture, Clock, race};
use futures_util::FutureExt;
use store::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Store,
    Table, Txn, TxnError,
};
use store::memory::Memory;
use tokio::sync::oneshot;

use super::ledger::Ledger;
use super::plants::Plant;
use super::{NodeId, World};

const HOP_US: (u64, u64) = (30, 600);
/// A slow one takes so long; few of them take the whole of it.
const SLOW_US: (u64, u64) = (5_000, 6_000_000);
/// A commit that nobody heard of may come so late, µs.
const LATE_MAX_US: u64 = 10_000_000;
/// Who asks a store that cannot be reached gives up after this, µs.
const GIVE_UP_US: (u64, u64) = (100_000, 3_000_000);

/// The one store of the world.
#[derive(Clone)]
pub struct Far {
    /// The world.
    pub world: Arc<World>,
    /// The store.
    pub memory: Arc<Memory>,
    /// Everything that is committed.
    pub ledger: Arc<Ledger>,
    /// The mistake that is made on purpose.
    pub plant: Plant,
}

impl Far {
    /// The store as the process `node` sees it.
    pub fn of(&self, node: NodeId, clock: Arc<dyn Clock>) -> Store {
        Arc::new(Remote { far: self.clone(), node, clock })
    }

    fn commit(&self, world: &Arc<World>, txn: Txn) -> Result<Committed, TxnError> {
        let done = now(self.memory.txn(txn.clone()), Err(TxnError::Unknown));
        if let Ok(done) = &done {
            self.ledger.committed(world, &txn, done);
            world.presence(&txn);
        }
        done
    }
}

struct Remote {
    far: Far,
    node: NodeId,
    clock: Arc<dyn Clock>,
}

impl Remote {
    fn world(&self) -> &Arc<World> {
        &self.far.world
    }

    fn hop_us(&self) -> u64 {
        let world = self.world();
        if !world.fault(world.weather().slow) {
            return world.draw_us(HOP_US.0, HOP_US.1);
        }
        world.note("store slow", "");
        // Heavy-tailed: every doubling is as likely as the one before.
        let most = SLOW_US.0 << world.draw_us(1, 11);
        world.draw_us(SLOW_US.0, most.min(SLOW_US.1))
    }

    /// Does something at the store, after a hop, whether or not who asked still lives. `None`: no answer comes.
    fn at_store<T, F>(&self, act: F) -> BoxFuture<'static, Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<World>, &Far) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (far, there, back) = (self.far.clone(), self.hop_us(), self.hop_us());
        let (node, give_up) = (self.node, self.world().draw_us(GIVE_UP_US.0, GIVE_UP_US.1));
        self.world().after(there, move |world| {
            if !world.reaches_store(node) {
                return world.after(give_up, move |_| drop(answer.send(None)));
            }
            let done = act(world, &far);
            world.after(back, move |world| {
                if world.reaches_store(node) {
                    drop(answer.send(Some(done)));
                } else {
                    world.after(give_up, move |_| drop(answer.send(None)));
                }
            });
        });
        Box::pin(async move { answered.await.ok().flatten() })
    }

    fn read<T, F>(&self, act: F) -> BoxFuture<'static, Result<T, ReadError>>
    where
        T: Send + 'static,
        F: FnOnce(&Memory) -> Result<T, ReadError> + Send + 'static,
    {
        let away = || ReadError::Unavailable("the store is away".into());
        let world = self.world();
        if world.fault(world.weather().read) {
            world.note("read refused", "");
            return Box::pin(async move { Err(away()) });
        }
        let done = self.at_store(move |_, far| act(&far.memory));
        Box::pin(async move { done.await.unwrap_or_else(|| Err(away())) })
    }

    fn write(&self, txn: Txn) -> BoxFuture<'static, Result<Committed, TxnError>> {
        let (world, name) = (self.world(), txn.name);
        if !world.fault(world.weather().write) {
            let done = self.at_store(move |world, far| far.commit(world, txn));
            return Box::pin(async move { done.await.unwrap_or(Err(TxnError::Unknown)) });
        }
        match world.draw_us(0, 4) {
            0 => {
                world.note("commit unheard", name);
                let done = self.at_store(move |world, far| far.commit(world, txn));
                Box::pin(async move {
                    done.await;
                    Err(TxnError::Unknown)
                })
            }
            1 => {
                world.note("commit never", name);
                Box::pin(async { Err(TxnError::Unknown) })
            }
            2 => {
                world.note("commit late", name);
                let (late, far) = (world.draw_us(0, LATE_MAX_US), self.far.clone());
                world.after(late, move |world| drop(far.commit(world, txn)));
                Box::pin(async { Err(TxnError::Unknown) })
            }
            _ => {
                world.note("write refused", name);
                Box::pin(async { Err(TxnError::Unavailable("the store is away".into())) })
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
        let (plant, world) = (self.far.plant, self.world().clone());
        plant.sent(&world, &mut txn);
        let done = self.write(txn);
        Box::pin(async move { done.await.map_err(|error| plant.answered(&world, error)) })
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
        let (scope, plant) = (scope.to_owned(), self.far.plant);
        self.read(move |store| {
            let mut changes = now(store.changes(&scope, after, limit), Err(ReadError::Expired))?;
            plant.shown(&mut changes);
            Ok(changes)
        })
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        let inner = self.far.memory.bell(table, partition);
        Box::new(FarBell { inner, world: self.world().clone(), node: self.node, clock: self.clock.clone() })
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        self.read(move |store| now(store.trim(micros), Err(ReadError::Expired)))
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        let name = name.to_owned();
        self.read(move |store| now(store.counter(&name), Err(ReadError::Expired)))
    }
}

/// A bell that is heard a little later, or not at all, or for nothing.
struct FarBell {
    inner: Box<dyn Bell>,
    world: Arc<World>,
    node: NodeId,
    clock: Arc<dyn Clock>,
}

impl Bell for FarBell {
    fn rung(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let one_in = self.world.weather().bell;
                if self.world.fault(one_in * 8) {
                    self.world.note("bell for nothing", "");
                    let wait = std::time::Duration::from_micros(self.world.draw_us(1000, 4_000_000));
                    race(self.inner.rung(), self.clock.sleep(wait)).await;
                    return;
                }
                self.inner.rung().await;
                if !self.world.reaches_store(self.node) || self.world.fault(one_in) {
                    self.world.note("bell unheard", "");
                    continue;
                }
                return;
            }
        })
    }
}
