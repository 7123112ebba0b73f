//! What a cell does beside its runs: its heartbeat, and trimming. Placing runs again is in [`crate::place`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use store::cell::CellError;
use store::records::cell::{CellRow, Replica};

use crate::{Inner, machines, place};

/// A replica that the others have not heard of for so many heartbeats does not count any more.
const SILENT_BEATS: i64 = 3;
/// How often to trim, and what is old, µs.
const TRIM: Duration = Duration::from_secs(60);
const TRIM_AGE_US: i64 = 3_600_000_000;
/// How often to look for events past their time, and that time, µs: an hour, as in Kubernetes.
const EVENTS: Duration = Duration::from_secs(600);
const EVENT_AGE_US: i64 = 3_600_000_000;
const EVENTS_MAX: usize = 5000;
/// How often to look for machines that nobody wants.
const UNWANTED: Duration = Duration::from_secs(5);
/// Starts the loops.
pub(crate) fn start(cell: &Arc<Inner>) {
    every(cell, "heartbeat", cell.pace.heartbeat, |cell| async move { heartbeat(&cell).await });
    every(cell, "place", cell.pace.heartbeat, |cell| async move { place::look(&cell).await });
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
            cell.awake().await;
            if let Err(error) = work(cell.clone()).await {
                tracing::warn!(%error, job = name, "a periodic job failed; it is repeated");
            }
            cell.host.clock.sleep(period).await;
        }
    });
}

/// Says that this replica of the cell lives, or that it sleeps; and learns what the others do.
pub(crate) async fn heartbeat(cell: &Inner) -> Result<(), CellError> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let at_us = cell.host.clock.utc().0;
    let asleep_until_us = cell.sleep.until_us();
    let row = CellRow {
        cell: cell.config.cell.clone(),
        region: cell.config.region.clone(),
        address: cell.config.address.clone(),
        at_us,
        draining: false,
        machines_max: count(cell.config.machines_max),
        machines: count(cell.machines.wanted.load(Ordering::Relaxed)),
        arch: cell.config.arch.clone(),
        asleep_until_us,
    };
    let replica = Replica {
        cell: cell.config.cell.clone(),
        replica: cell.config.replica.clone(),
        address: cell.config.address.clone(),
        agents: cell.config.agents.clone(),
        at_us,
        asleep_until_us,
    };
    let silent_us =
        i64::try_from(cell.pace.heartbeat.as_micros()).unwrap_or(i64::MAX).saturating_mul(SILENT_BEATS);
    let leaving = cell.leaving.load(Ordering::Relaxed);
    let presence = cell.store.heartbeat(&row, &replica, leaving, silent_us).await?;
    cell.draining.store(presence.draining, Ordering::Relaxed);
    let awake =
        |other: &Replica| other.asleep_until_us.is_none() && at_us.saturating_sub(other.at_us) <= silent_us;
    cell.replicas.heard(presence.others.into_iter().filter(awake).collect());
    cell.ready.store(true, Ordering::Relaxed);
    Ok(())
}

/// Removes events past their time.
async fn expire(cell: &Inner) -> Result<(), CellError> {
    let before_us = cell.host.clock.utc().0 - EVENT_AGE_US;
    cell.store.events_expire(before_us, EVENTS_MAX).await.map(drop)
}
