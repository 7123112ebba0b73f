//! The machines loop, store to provider: rows of wanted machines against the provider's list. The only code that
//! makes machines. Rows come first, so a machine without a row (read again, strongly) is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::host::{Either, Mono, race};
use store::cell::machines::{Loss, MachineSeen};
use store::cell::volumes::Hold;
use store::cell::{CellError, sha256_hex};
use tokio::sync::Notify;

use crate::Inner;
use crate::provider::{MachineSpec, MachineState, ProviderError};

/// Bells are hints: look without one this often.
const SAFETY: Duration = Duration::from_secs(5);
/// How often to look while something waits for room, and how long it waits before that is said, µs.
const WAITING: Duration = Duration::from_secs(1);
const SAY_US: i64 = 1_000_000;
/// Longest time from the end of the grace to an agent's last word: time to deliver logs.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Pause after the store or the provider failed.
const PAUSE: Duration = Duration::from_millis(300);

/// State of the machines loop.
#[derive(Default)]
pub(crate) struct Machines {
    pub(crate) wake: Notify,
    /// Machines that something is being done about.
    busy: Mutex<BTreeSet<String>>,
    /// Since when nobody wants what a machine runs, by the monotonic clock.
    unwanted: Mutex<BTreeMap<String, Mono>>,
    /// Machines at the provider when last looked.
    pub(crate) count: AtomicUsize,
    /// Machines that something counts on, with those that wait for room.
    pub(crate) wanted: AtomicUsize,
    /// Some wait for room: what comes later stands in line behind them.
    pub(crate) waiting: AtomicBool,
    /// Some wait for a volume: it may be in another cell.
    pub(crate) apart: AtomicBool,
}

/// What is to be done about a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Create,
    /// Delete it, and forget it when the provider says that it is no more. That it is not on a list proves nothing.
    Delete,
    Lost(String),
    /// Say what it waits for.
    Say(String),
}

/// Starts the loop.
pub(crate) fn start(cell: &Arc<Inner>) {
    let cell = cell.clone();
    cell.host.clone().spawn("machines", async move {
        let mut bell = cell.store.machine_bell();
        loop {
            cell.awake().await;
            let wait = match look(&cell).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "the machines cannot be compared");
                    PAUSE
                }
            };
            let told = race(bell.rung(), cell.machines.wake.notified());
            let told = race(told, cell.host.clock.sleep(wait));
            if let Either::Right(()) = race(told, cell.provider.changed()).await {
                cell.sleep.wake();
            }
        }
    });
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Store(#[from] CellError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// Compares and acts; answers how long the result holds if nothing rings.
async fn look(cell: &Arc<Inner>) -> Result<Duration, LookError> {
    // Rows before the list: a machine that a row says has spoken is on a list read later, unless it is gone.
    let rows = cell.store.machines().await?;
    let listed = cell.provider.list().await?;
    let mut room = cell.config.machines_max.saturating_sub(listed.len());
    cell.machines.count.store(listed.len(), Ordering::Relaxed);
    cell.machines.wanted.store(rows.iter().filter(|seen| !seen.is_over()).count(), Ordering::Relaxed);
    let now_us = cell.host.clock.utc().0;
    let (mut full, mut waiting, mut apart) = (false, false, false);
    let mut line = BTreeSet::new();
    let mut wanted: Vec<&MachineSeen> = rows.iter().collect();
    wanted.sort_by_key(|seen| (seen.machine.created_us, seen.machine.id.clone()));
    for seen in wanted {
        let state = listed.get(&seen.machine.id);
        match step(seen, state) {
            // Whoever asks first when there is room again is the one that has waited longest.
            // One that is counted already waits for nobody: those before it may wait for the place that it holds.
            Some(Step::Create)
                if room == 0 || !seen.machine.reserved && (full || !reserve(cell, seen).await?) =>
            {
                (full, waiting) = (true, true);
                if now_us - seen.machine.created_us >= SAY_US {
                    act(
                        cell,
                        seen.clone(),
                        Step::Say(format!("all {} machines are busy", cell.config.machines_max)),
                    );
                }
            }
            Some(Step::Create) => match cell.store.volumes_hold(seen, &line).await {
                Ok(Hold::Held) => {
                    room -= 1;
                    if seen.machine.reserved {
                        act(cell, seen.clone(), Step::Create);
                    } else {
                        // Its row has changed: it is made after the next look.
                        cell.machines.wake.notify_one();
                    }
                }
                // No machine is made that would only wait.
                Ok(Hold::Waits { why, claims }) => {
                    (waiting, apart) = (true, true);
                    line.extend(claims);
                    act(cell, seen.clone(), Step::Say(format!("waits for {why}")));
                }
                Err(CellError::Conflict { .. }) => waiting = true,
                Err(error) => return Err(error.into()),
            },
            Some(step) => act(cell, seen.clone(), step),
            None => {}
        }
    }
    cell.machines.waiting.store(full, Ordering::Relaxed);
    cell.machines.apart.store(apart, Ordering::Relaxed);
    for id in listed.keys() {
        if rows.iter().all(|seen| seen.machine.id != *id) && cell.store.machine(id).await?.is_none() {
            delete_leaked(cell, id.clone());
        }
    }
    Ok(if waiting { WAITING } else { SAFETY })
}

/// Counts a machine in the cell's capacity unless it is; answers whether it is.
async fn reserve(cell: &Inner, seen: &MachineSeen) -> Result<bool, CellError> {
    if seen.machine.reserved {
        return Ok(true);
    }
    match cell.store.machine_reserve(seen, cell.capacity()).await {
        // Another replica has done it.
        Err(CellError::Conflict { .. }) => Ok(true),
        outcome => outcome,
    }
}

fn step(seen: &MachineSeen, state: Option<&MachineState>) -> Option<Step> {
    if seen.is_over() {
        return Some(Step::Delete);
    }
    if seen.is_lost() {
        return Some(Step::Lost("it has rebooted".into()));
    }
    match state {
        Some(MachineState::Running) => None,
        Some(MachineState::Exited(why)) => Some(Step::Lost(why.clone())),
        None if seen.machine.nonce.is_none() => Some(Step::Create),
        None => Some(Step::Lost("it is gone from its provider".into())),
    }
}

/// Ends machines whose agents should have stopped long ago. Their attempts are lost: nobody knows what they did.
pub(crate) async fn unwanted(cell: &Arc<Inner>) -> Result<(), CellError> {
    let now = cell.host.clock.mono();
    let mut still = BTreeMap::new();
    for seen in cell.store.machines().await? {
        let id = &seen.machine.id;
        if seen.is_over() || seen.machine.nonce.is_none() {
            continue;
        }
        let Some(grace_ms) = cell.store.machine_unwanted(id).await? else { continue };
        let since = lock(&cell.machines.unwanted).get(id).copied().unwrap_or(now);
        still.insert(id.clone(), since);
        if now.since(since) >= STOP_MAX + Duration::from_millis(grace_ms) {
            act(cell, seen, Step::Lost("its agent does not stop".into()));
        }
    }
    *lock(&cell.machines.unwanted) = still;
    Ok(())
}

/// Does one thing about one machine, unless something is being done about it already.
fn act(cell: &Arc<Inner>, seen: MachineSeen, step: Step) {
    if !lock(&cell.machines.busy).insert(seen.machine.id.clone()) {
        return;
    }
    let cell = cell.clone();
    cell.host.clone().spawn("machine step", async move {
        let id = seen.machine.id.clone();
        let done = perform(&cell, &seen, &step).await;
        let pause = done.is_err();
        match done {
            Ok(()) | Err(LookError::Store(CellError::Conflict { .. })) => {}
            Err(error) => {
                tracing::warn!(machine = %id, %error, ?step, "a machine step failed; it is repeated")
            }
        }
        if pause {
            cell.host.clock.sleep(PAUSE).await;
        }
        lock(&cell.machines.busy).remove(&id);
        // The next step, if there is one, is found by looking.
        if !matches!(step, Step::Say(_)) {
            cell.machines.wake.notify_one();
        }
    });
}

/// Deletes a machine that no row wants.
fn delete_leaked(cell: &Arc<Inner>, id: String) {
    if !lock(&cell.machines.busy).insert(id.clone()) {
        return;
    }
    let cell = cell.clone();
    cell.host.clone().spawn("machine step", async move {
        tracing::info!(machine = %id, "a machine that no row wants is deleted");
        if let Err(error) = cell.provider.delete(&id).await {
            tracing::warn!(machine = %id, %error, "a leaked machine cannot be deleted; it is tried again");
            cell.host.clock.sleep(PAUSE).await;
        }
        lock(&cell.machines.busy).remove(&id);
        cell.machines.wake.notify_one();
    });
}

async fn perform(cell: &Arc<Inner>, seen: &MachineSeen, step: &Step) -> Result<(), LookError> {
    let machine = &seen.machine;
    match step {
        Step::Create => {
            let token = cell.store.machine_token(&machine.id);
            debug_assert_eq!(sha256_hex(token.as_bytes()), machine.token_sha256);
            let spec = MachineSpec {
                id: machine.id.clone(),
                token,
                millicpu: machine.millicpu,
                memory: machine.memory,
            };
            match cell.provider.create(spec).await {
                Ok(()) => {}
                Err(error) => {
                    cell.store.machine_waits(&machine.id, &error.to_string()).await?;
                    return Err(error.into());
                }
            }
            cell.metrics.machine_created();
        }
        Step::Delete => {
            end_logs(cell, seen).await;
            cell.provider.delete(&machine.id).await?;
            cell.store.machine_forget(seen).await?;
        }
        Step::Say(why) => cell.store.machine_waits(&machine.id, why).await?,
        Step::Lost(why) => {
            let loss = cell.store.machine_lost(&machine.id, why).await?;
            if loss != Loss::Nothing {
                tracing::warn!(machine = %machine.id, why, ?loss, "a machine was lost");
                cell.metrics.machine_lost();
            }
        }
    }
    Ok(())
}

/// Whatever its agent did not deliver will not come any more.
async fn end_logs(cell: &Inner, seen: &MachineSeen) {
    if let Some(attempt) = &seen.attempt
        && let Err(error) = cell.sink.end_pod(&attempt.tenant, &attempt.namespace, &attempt.id).await
    {
        tracing::warn!(attempt = %attempt.id, %error, "the logs of an attempt cannot be ended");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
