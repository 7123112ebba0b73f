//! What a cell does beside its runs: its heartbeat, adopting the runs of cells that are gone, and trimming.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::cell::CellError;
use store::cell::place::Adoption;
use store::records::cell::CellRow;
use store::records::due::BUCKETS;

use crate::{Inner, machines};

/// A cell is gone when its heartbeat stays the same over so many of ours. Counted, not timed: a laptop that wakes
/// up, or a server that starts after a day, must not take every other cell for dead at its first look.
const GONE_BEATS: u32 = 6;
/// How often to trim, and what is old, µs.
const TRIM: Duration = Duration::from_secs(60);
const TRIM_AGE_US: i64 = 3_600_000_000;
/// How often to look for events past their time, and that time, µs: an hour, as in Kubernetes.
const EVENTS: Duration = Duration::from_secs(600);
const EVENT_AGE_US: i64 = 3_600_000_000;
const EVENTS_MAX: usize = 5000;
/// How often to look for machines that nobody wants.
const UNWANTED: Duration = Duration::from_secs(5);
/// Runs that are adopted in one go.
const ADOPT_MAX: usize = 200;

/// What is known of the other cells.
#[derive(Default)]
pub(crate) struct Home {
    /// Last heartbeat of each cell, and over how many of our looks it has stayed the same.
    heard: Mutex<BTreeMap<String, (i64, u32)>>,
}

impl Home {
    /// Counts one look at `other`.
    fn is_gone(&self, other: &CellRow) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = heard.entry(other.cell.clone()).or_insert((other.at_us, 0));
        *seen = if seen.0 == other.at_us { (seen.0, seen.1 + 1) } else { (other.at_us, 0) };
        seen.1 >= GONE_BEATS
    }
}

/// Starts the loops.
pub(crate) fn start(cell: &Arc<Inner>) {
    every(cell, "heartbeat", cell.pace.heartbeat, |cell| async move { heartbeat(&cell).await });
    every(cell, "place", cell.pace.heartbeat, |cell| async move { place(&cell).await });
    every(cell, "trim", TRIM, |cell| async move { cell.store.trim(TRIM_AGE_US).await });
    every(cell, "events", EVENTS, |cell| async move { expire(&cell).await });
    every(cell, "unwanted", UNWANTED, |cell| async move { machines::unwanted(&cell).await });
}

fn every<F, W>(cell: &Arc<Inner>, name: &'static str, period: Duration, work: W)
where
    F: Future<Output = Result<(), CellError>> + Send,
    W: Fn(Arc<Inner>) -> F + Send + 'static,
{
    let cell = cell.clone();
    cell.host.clone().spawn(name, async move {
        loop {
            if let Err(error) = work(cell.clone()).await {
                tracing::warn!(%error, job = name, "a periodic job failed; it is repeated");
            }
            cell.host.clock.sleep(period).await;
        }
    });
}

/// Says that this cell lives.
pub(crate) async fn heartbeat(cell: &Inner) -> Result<(), CellError> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let row = CellRow {
        cell: cell.config.cell.clone(),
        region: cell.config.region.clone(),
        address: cell.config.address.clone(),
        at_us: cell.host.clock.utc().0,
        draining: cell.draining.load(Ordering::Relaxed),
        machines_max: count(cell.config.machines_max),
        machines: count(cell.machines.count.load(Ordering::Relaxed)),
        arch: cell.config.arch.clone(),
    };
    cell.store.heartbeat(&row).await?;
    cell.ready.store(true, Ordering::Relaxed);
    Ok(())
}

/// Removes events past their time.
async fn expire(cell: &Inner) -> Result<(), CellError> {
    let before_us = cell.host.clock.utc().0 - EVENT_AGE_US;
    cell.store.events_expire(before_us, EVENTS_MAX).await.map(drop)
}

/// Adopts runs of cells that are gone. Several cells may try; the store lets one succeed for each run.
async fn place(cell: &Arc<Inner>) -> Result<(), CellError> {
    if cell.draining.load(Ordering::Relaxed) {
        return Ok(());
    }
    for other in cell.store.cells().await? {
        if other.cell == cell.config.cell || !cell.home.is_gone(&other) {
            continue;
        }
        let from = cell.store.as_cell(&other.cell);
        for bucket in 0..BUCKETS {
            // Timers count as well: a run that only waits for its deadline is adopted too.
            let found = from.due_scan(bucket, i64::MAX, ADOPT_MAX).await?;
            for (run, row, _) in found.due {
                match cell.store.adopt(&from, &run, &row, &cell.config.region).await {
                    Ok(Adoption::Taken) => {
                        tracing::warn!(run = %run.name, namespace = %run.namespace, from = %other.cell, "adopted a run of a cell that is gone");
                    }
                    Ok(Adoption::NotTheirs | Adoption::Pinned) | Err(CellError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}
