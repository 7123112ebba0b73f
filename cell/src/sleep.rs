//! Sleeping: a cell that has had nothing to do for a while, and has no machine, says so in its row and leaves the
//! store alone, until a wake-up comes or its next timer is due. It stays placeable: a gateway wakes it, again and again
//! from the durable Due rows, until it has taken them. A machine that speaks to it wakes it, too.
//!
//! ```text
//! awake --- idle for `sleep_after` ---> asleep(next wake)
//!   ^------- wake-up, timer --------------/
//! ```

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::host::{Mono, race};
use store::cell::CellError;
use store::records::due::BUCKETS;
use tokio::sync::Notify;

use crate::{Inner, home, runs};

/// A cell looks at least so often, whatever it waits for: the tick below which nothing is lost for long.
const TICK_MAX: Duration = Duration::from_secs(900);
/// How often an awake cell looks whether it is idle.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a held wake-up stays open: a platform's limits on requests are longer.
const HOLD_MAX: Duration = Duration::from_secs(50);
/// How often a held wake-up looks whether the work is done.
const HOLD_LOOK: Duration = Duration::from_millis(200);

/// Whether this replica sleeps.
#[derive(Default)]
pub(crate) struct Sleep {
    /// Until when, µs since 1970; 0: it is awake.
    until_us: AtomicI64,
    woken: Notify,
    awake: Notify,
    idle_since: Mutex<Option<Mono>>,
}

impl Sleep {
    /// Until when it sleeps, if it does.
    pub(crate) fn until_us(&self) -> Option<i64> {
        Some(self.until_us.load(Ordering::Relaxed)).filter(|until| *until != 0)
    }

    /// Ends sleep.
    pub(crate) fn wake(&self) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.until_us().is_some() {
            self.woken.notify_one();
        }
    }
}

impl Inner {
    /// Completes when the cell is awake: every loop asks before it turns to the store.
    pub(crate) async fn awake(&self) {
        loop {
            let mut awake = pin!(self.sleep.awake.notified());
            awake.as_mut().enable();
            if self.sleep.until_us().is_none() {
                return;
            }
            awake.await;
        }
    }

    /// Keeps a wake-up open while there is work.
    pub(crate) async fn hold(&self) {
        let since = self.host.clock.mono();
        while self.host.clock.mono().since(since) < HOLD_MAX {
            self.host.clock.sleep(HOLD_LOOK).await;
            if self.next_work().await.is_ok_and(|next| next.is_some()) {
                return;
            }
        }
    }

    /// `None`: there is work now. Otherwise when there will be, µs since 1970.
    async fn next_work(&self) -> Result<Option<i64>, CellError> {
        let now_us = self.host.clock.utc().0;
        if runs::backlog(self) != (0, 0) || !self.store.machines().await?.is_empty() {
            return Ok(None);
        }
        let mut next_us = now_us + i64::try_from(TICK_MAX.as_micros()).unwrap_or(i64::MAX);
        for bucket in 0..BUCKETS {
            let found = self.store.due_scan(bucket, now_us, 1).await?;
            if !found.due.is_empty() {
                return Ok(None);
            }
            next_us = next_us.min(found.next_us.unwrap_or(i64::MAX));
        }
        Ok(Some(next_us))
    }
}

/// Starts the job that puts the cell to sleep, if it may.
pub(crate) fn start(cell: &Arc<Inner>) {
    let Some(after) = cell.config.sleep_after else { return };
    let cell = cell.clone();
    cell.host.clone().spawn("sleep", async move {
        loop {
            cell.host.clock.sleep(LOOK_EVERY.min(after)).await;
            match cell.next_work().await {
                Ok(Some(next_us)) if idle_for(&cell) >= after => {
                    // A machine without a row is nobody's work, and costs all the same until it is deleted.
                    if cell.provider.list().await.is_ok_and(|machines| machines.is_empty()) {
                        nap(&cell, next_us).await;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => cell.sleep.wake(),
            }
        }
    });
}

fn idle_for(cell: &Inner) -> Duration {
    let now = cell.host.clock.mono();
    let mut since = cell.sleep.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
    now.since(*since.get_or_insert(now))
}

async fn nap(cell: &Arc<Inner>, next_us: i64) {
    cell.sleep.until_us.store(next_us, Ordering::Relaxed);
    let said = home::heartbeat(cell).await;
    if said.is_ok() {
        tracing::info!("nothing to do: the cell sleeps");
        let left = u64::try_from(next_us - cell.host.clock.utc().0).unwrap_or(0);
        race(cell.sleep.woken.notified(), cell.host.clock.sleep(Duration::from_micros(left))).await;
    }
    cell.sleep.until_us.store(0, Ordering::Relaxed);
    *cell.sleep.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    cell.sleep.awake.notify_waiters();
    runs::wake(cell);
    cell.machines_wake();
    if let Err(error) = home::heartbeat(cell).await {
        tracing::warn!(%error, "the cell is awake, but cannot say so yet");
    }
}
