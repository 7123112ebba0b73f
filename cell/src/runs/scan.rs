//! Finding due runs: a scan of one bucket whenever its bell rings, when a timer comes up, and now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::host::{Mono, race};
use futures_util::FutureExt;
use store::backend::{Revision, RowKey};
use store::object::ObjectKey;

use super::lock;
use crate::Inner;

/// Rows read by one scan.
const LIMIT: usize = 512;
/// Bells are hints: look without one this often.
const SAFETY: Duration = Duration::from_secs(5);
/// How long work is left to the replica that goes first at it.
const LEAVE: Duration = Duration::from_secs(2);
/// How often to learn which timers other replicas have set.
const KNOW_AGAIN: Duration = Duration::from_secs(30);
/// Pause after the store gave no answer.
const PAUSE: Duration = Duration::from_millis(200);
/// So many scans may follow one another at once; more of them come at this distance, and find more each. A run that
/// is alone never waits for that.
const BURST: u64 = 16;
const DISTANCE_US: u64 = 10_000;

pub(super) async fn scan(cell: &Arc<Inner>, bucket: u32) {
    let bells = &cell.runs.buckets[bucket as usize];
    let mut bell = cell.store.due_bell(bucket);
    know_timers(cell, bucket).await;
    let mut known = cell.host.clock.mono();
    let mut left: Left = BTreeMap::new();
    let mut pace = Pace::default();
    loop {
        cell.awake().await;
        let early = pace.early(cell.host.clock.mono());
        if !early.is_zero() {
            cell.host.clock.sleep(early).await;
            // This scan answers what has rung meanwhile.
            bell.rung().now_or_never();
        }
        // Another replica sets timers as well.
        if cell.replicas.any() && cell.host.clock.mono().since(known) >= KNOW_AGAIN {
            know_timers(cell, bucket).await;
            known = cell.host.clock.mono();
        }
        // With enough to do, looking for more only costs: who finishes something wakes us.
        if super::backlog(cell).0 >= BACKLOG_MAX {
            bells.more.store(true, Ordering::Relaxed);
            race(bells.wake.notified(), cell.host.clock.sleep(SAFETY)).await;
            continue;
        }
        let now_us = cell.host.clock.utc().0;
        let wait = match cell.store.due_scan(bucket, now_us, LIMIT).await {
            Ok(mut found) => {
                if cell.replicas.goes_first(&cell.config.replica, bucket) {
                    left.clear();
                } else {
                    leave(&mut left, &mut found.due, cell.host.clock.mono());
                }
                for (key, row, revision) in found.due {
                    let fresh =
                        lock(&cell.runs.pending).entry(key.clone()).or_default().insert(row, revision);
                    if fresh != Some(revision) {
                        super::look_at(cell, key);
                    }
                }
                bells.more.store(found.more, Ordering::Relaxed);
                let next = found.next_us.map(|at_us| u64::try_from(at_us - now_us).unwrap_or(0));
                let wait = next.map_or(SAFETY, |us| SAFETY.min(Duration::from_micros(us)));
                if left.is_empty() { wait } else { wait.min(LEAVE) }
            }
            Err(error) => {
                tracing::warn!(%error, "the due rows cannot be read");
                PAUSE
            }
        };
        let told = race(bell.rung(), bells.wake.notified());
        race(told, cell.host.clock.sleep(wait)).await;
    }
}

/// How often a bucket is scanned when its bell never rests.
#[derive(Default)]
struct Pace {
    /// When all scans so far would be over, had each taken its distance.
    over: Mono,
}

impl Pace {
    /// How much too early a scan at `now` is.
    fn early(&mut self, now: Mono) -> Duration {
        self.over = Mono(self.over.max(now).0 + DISTANCE_US);
        Duration::from_micros(self.over.0.saturating_sub(now.0 + BURST * DISTANCE_US))
    }
}

/// Rows that are left to another replica: which revision, since when.
type Left = BTreeMap<RowKey, (Revision, Mono)>;

/// Leaves to the replica that goes first what it may still take: only what has been there for a while is kept in
/// `due`.
fn leave(left: &mut Left, due: &mut Vec<(ObjectKey, RowKey, Revision)>, now: Mono) {
    let mut still = Left::new();
    due.retain(|(_, row, revision)| {
        let since = left.get(row).filter(|(seen, _)| seen == revision).map_or(now, |(_, since)| *since);
        still.insert(row.clone(), (*revision, since));
        now.since(since) >= LEAVE
    });
    *left = still;
}

/// More waiting keys than this are not looked for.
const BACKLOG_MAX: usize = 2 * super::WORKERS;

/// Timers that another life of this cell has set: a run that ends must not leave one behind.
async fn know_timers(cell: &Arc<Inner>, bucket: u32) {
    loop {
        match cell.store.timers(bucket, cell.host.clock.utc().0).await {
            Ok(found) => {
                let mut timers = lock(&cell.runs.timers);
                for (key, at_us) in found {
                    timers.entry(key).or_default().insert(at_us);
                }
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the timers cannot be read");
                cell.host.clock.sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
