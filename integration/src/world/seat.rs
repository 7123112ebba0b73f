//! A process's view of the world: clock, jobs, entropy. Its net is in [`super::net`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::host::{BoxFuture, Clock, Entropy, Host, Jobs, Mono, Utc};
use rand::RngCore;

use super::{EPOCH_US, NodeId, What, World};

/// One life of one process.
pub(super) struct Seat {
    pub(super) world: Arc<World>,
    pub(super) node: NodeId,
    pub(super) life: u32,
}

impl World {
    /// What the process `node` may ask in its present life.
    pub fn host(self: &Arc<Self>, node: NodeId) -> Host {
        let life = self.state().nodes[node].life;
        let seat = Arc::new(Seat { world: self.clone(), node, life });
        Host { clock: seat.clone(), jobs: seat.clone(), entropy: seat.clone(), net: seat }
    }
}

/// `micros` of true time on a clock that goes `rate_ppm` millionths too fast.
fn shown(micros: u64, rate_ppm: i64) -> i64 {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    micros + micros / 1000 * rate_ppm / 1000
}

impl Clock for Seat {
    fn utc(&self) -> Utc {
        let state = self.world.state();
        let (skew, rate) = state.nodes.get(self.node).map_or((0, 0), |node| (node.skew_us, node.rate_ppm));
        Utc(EPOCH_US + shown(state.now_us, rate) + skew)
    }

    fn mono(&self) -> Mono {
        let state = self.world.state();
        let (booted, rate) =
            state.nodes.get(self.node).map_or((0, 0), |node| (node.booted_us, node.rate_ppm));
        Mono(u64::try_from(shown(state.now_us.saturating_sub(booted), rate)).unwrap_or(0))
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4);
        let rate = self.world.state().nodes.get(self.node).map_or(0, |node| node.rate_ppm);
        // A clock that goes too fast has shown `time` a little earlier; never before it has shown all of it.
        let true_us = u64::try_from(shown(micros.min(u64::MAX / 4), -rate)).unwrap_or(0);
        let early = rate > 0;
        let at_us = self
            .world
            .now_us()
            .saturating_add(true_us + u64::from(early) + micros / 100_000 * u64::from(early));
        Box::pin(Sleep { world: self.world.clone(), at_us, key: None })
    }
}

/// Ends at an instant.
struct Sleep {
    world: Arc<World>,
    at_us: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.state();
        let old = self.key.and_then(|key| state.queue.remove(&key));
        if state.now_us >= self.at_us {
            self.key = None;
            drop(state);
            drop(old);
            return Poll::Ready(());
        }
        let left = self.at_us - state.now_us;
        let key = state.key(left);
        state.queue.insert(key, What::Wake(cx.waker().clone()));
        self.key = Some(key);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.key.and_then(|key| self.world.state().queue.remove(&key));
        drop(waker);
    }
}

impl Jobs for Seat {
    fn spawn(&self, name: &'static str, job: BoxFuture<'static, ()>) {
        self.world.spawn(self.node, self.life, name, job);
    }
}

impl Entropy for Seat {
    fn fill(&self, bytes: &mut [u8]) {
        if let Some(node) = self.world.state().nodes.get_mut(self.node) {
            node.entropy.fill_bytes(bytes);
        }
    }
}
