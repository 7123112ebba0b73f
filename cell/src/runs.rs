//! The runs loop, store to store: Due row → one consistent look → `decide` → one transaction.
//!
//! Level-triggered: a pass depends on nothing but what the store says. A pass that loses a race, or dies at any
//! point, leaves the Due row where it is, and is repeated.

mod again;
mod effects;
mod pace;
mod scan;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apimachinery::{kind, meta};
use serde_json::Value;
use store::backend::{Revision, RowKey};
use store::cell::outbox::OUTBOX;
use store::cell::view::{Look, View, Wanted};
use store::cell::{CellError, apply, collect, machines};
use store::object::ObjectKey;
use store::records::attempt::Attempt;
use tekton::api::config::TenantConfig;
use tekton::engine::decide::{Decision, ImageConfig, Key, Need, Observed, Opened, Outcome};

use crate::queue::Queue;
use crate::{Inner, lower, outbox, resolve};

/// Runs that are looked at at the same time.
const WORKERS: usize = 8;
/// How often a pass may ask for more before it is given up: every answer must bring it further.
const NEEDS_MAX: usize = 64;
/// Pause before a registry is asked a second time.
const LOOK_UP_PAUSE: Duration = Duration::from_secs(1);
/// How long a run that may not begin is left alone, µs.
const HOLD_US: i64 = 1_000_000;
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Kind id of VerificationPolicies.
const POLICIES: &str = "verificationpolicies.tekton.dev";

/// What a pass has read that is not in the view.
#[derive(Default)]
struct Extra {
    images: BTreeMap<String, ImageConfig>,
    secrets: BTreeMap<Key, Option<Opened>>,
}

/// State of the runs loop. All of it may be lost: it only saves work.
#[derive(Default)]
pub(crate) struct Runs {
    queue: Queue<ObjectKey>,
    /// Due rows that made us look, with the revision seen.
    pending: Mutex<BTreeMap<ObjectKey, BTreeMap<RowKey, Revision>>>,
    /// Timers that exist, by run.
    timers: Mutex<BTreeMap<ObjectKey, BTreeSet<i64>>>,
    failures: Mutex<BTreeMap<ObjectKey, u32>>,
    told: pace::Told,
    buckets: [Bucket; store::records::due::BUCKETS as usize],
}

/// What a bucket's scanner is told.
#[derive(Default)]
struct Bucket {
    wake: tokio::sync::Notify,
    /// The last scan stopped at its limit.
    more: AtomicBool,
}

/// Starts the loop: one scanner per bucket, and the workers.
pub(crate) fn start(cell: &Arc<Inner>) {
    for bucket in 0..store::records::due::BUCKETS {
        let cell = cell.clone();
        cell.host.clone().spawn("runs scan", async move { scan::scan(&cell, bucket).await });
    }
    for _ in 0..WORKERS {
        let cell = cell.clone();
        cell.host.clone().spawn("runs", async move {
            loop {
                let key = cell.runs.queue.next().await;
                let pause = work(&cell, &key).await;
                if pause.is_zero() {
                    cell.runs.queue.done(&key);
                    continue;
                }
                // Until then, whatever happens to it is answered by one look.
                let cell = cell.clone();
                cell.host.clone().spawn("runs pause", async move {
                    cell.host.clock.sleep(pause).await;
                    cell.runs.queue.done(&key);
                });
            }
        });
    }
}

/// Makes all scanners look for due work now.
pub(crate) fn wake(cell: &Inner) {
    cell.runs.buckets.iter().for_each(|bucket| bucket.wake.notify_one());
}

/// Keys waiting and keys worked on.
pub(crate) fn backlog(cell: &Inner) -> (usize, usize) {
    cell.runs.queue.len()
}

/// Puts `key` where it is worked on.
fn look_at(cell: &Inner, key: ObjectKey) {
    if resolve::is_request(&key) { cell.resolve.queue.add(key) } else { cell.runs.queue.add(key) }
}

/// The Due rows that made us look at `key`.
pub(crate) fn rows_of(cell: &Inner, key: &ObjectKey) -> BTreeMap<RowKey, Revision> {
    lock(&cell.runs.pending).get(key).cloned().unwrap_or_default()
}

/// The timers of `key` that exist.
pub(crate) fn timers_of(cell: &Inner, key: &ObjectKey) -> BTreeSet<i64> {
    lock(&cell.runs.timers).get(key).cloned().unwrap_or_default()
}

/// There are no timers of `key` any more; says which ones there were.
pub(crate) fn forget_timers(cell: &Inner, key: &ObjectKey) -> BTreeSet<i64> {
    lock(&cell.runs.timers).remove(key).unwrap_or_default()
}

/// The only timer of `key` is this one now.
pub(crate) fn know_timer(cell: &Inner, key: &ObjectKey, timer_us: Option<i64>) {
    let mut timers = lock(&cell.runs.timers);
    match timer_us {
        Some(at_us) => drop(timers.insert(key.clone(), BTreeSet::from([at_us]))),
        None => drop(timers.remove(key)),
    }
}

async fn work(cell: &Arc<Inner>, key: &ObjectKey) -> Duration {
    let begun = cell.host.clock.mono();
    let rows = rows_of(cell, key);
    let keys: BTreeSet<RowKey> = rows.keys().cloned().collect();
    let done = match key.kind.as_str() {
        collect::COLLECT => collected(cell, key, keys).await.map(|()| 0),
        collect::NAMESPACES => {
            cell.store.namespace_empty(key, &keys.into_iter().collect::<Vec<_>>()).await.map(|()| 0)
        }
        OUTBOX => outbox::send(cell, key, &keys).await.map(|()| 0),
        _ => pass(cell, key, &keys).await,
    };
    let children = done.as_ref().map_or(0, |children| *children);
    after(cell, key, &rows, done.map(drop));
    pace::pause(children, cell.host.clock.mono().since(begun))
}

/// What follows from a pass over `key` that has answered `rows`.
pub(crate) fn after(
    cell: &Arc<Inner>,
    key: &ObjectKey,
    rows: &BTreeMap<RowKey, Revision>,
    done: Result<(), CellError>,
) {
    match done {
        Ok(()) => {
            lock(&cell.runs.failures).remove(key);
            cell.runs.forget(key, rows);
        }
        Err(error) => {
            cell.metrics.pass_failed(&error);
            again_later(cell, key, &error);
        }
    }
    let bucket = &cell.runs.buckets[store::records::due::bucket(key) as usize];
    if bucket.more.swap(false, Ordering::Relaxed) {
        bucket.wake.notify_one();
    }
}

/// Collects what belonged to something deleted; timers of earlier looks are answered as well.
async fn collected(cell: &Inner, key: &ObjectKey, mut rows: BTreeSet<RowKey>) -> Result<(), CellError> {
    let timers = lock(&cell.runs.timers).get(key).cloned().unwrap_or_default();
    let row = |at_us| store::records::due::key(cell.store.cell(), key, at_us);
    rows.extend(timers.iter().map(|at_us| row(*at_us)));
    rows.insert(row(0));
    let collected = cell.store.collect(key, &rows.into_iter().collect::<Vec<_>>()).await?;
    collected.attempts.iter().for_each(|attempt| cell.ring(&attempt.id));
    cell.machines_wake();
    if collected.again_us.is_none() {
        discard(cell, key, &collected.attempts).await;
    }
    let mut all = lock(&cell.runs.timers);
    match collected.again_us {
        Some(at_us) => drop(all.insert(key.clone(), BTreeSet::from([at_us]))),
        None => drop(all.remove(key)),
    }
    Ok(())
}

/// Removes what is kept outside the store of something deleted for good: its logs, and its volume if it was a claim.
async fn discard(cell: &Inner, key: &ObjectKey, attempts: &[Attempt]) {
    for attempt in attempts {
        if let Err(error) = cell.sink.remove_pod(&attempt.tenant, &attempt.namespace, &attempt.id).await {
            tracing::warn!(attempt = %attempt.id, %error, "the logs of a deleted run cannot be removed");
        }
    }
    if let Err(error) = cell.volumes.delete(&key.name) {
        tracing::warn!(uid = %key.name, %error, "the volume of a deleted claim cannot be removed");
    }
}

fn again_later(cell: &Arc<Inner>, key: &ObjectKey, error: &CellError) {
    let failures = {
        let mut all = lock(&cell.runs.failures);
        let failures = all.entry(key.clone()).or_default();
        *failures += 1;
        *failures
    };
    let pause = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(failures.min(12) - 1));
    match error {
        CellError::Conflict { .. } => tracing::debug!(run = %key.name, %error, "looking again"),
        CellError::Full
        | CellError::Limit
        | CellError::Unavailable(_)
        | CellError::Damaged(_)
        | CellError::Foreign(_) => {
            tracing::warn!(kind = %key.kind, namespace = %key.namespace, run = %key.name, %error, "a pass failed; it is repeated");
        }
    }
    let (cell, key) = (cell.clone(), key.clone());
    cell.host.clone().spawn("runs again", async move {
        // The first lost race is ordinary: look again at once.
        if failures > 1 {
            cell.host.clock.sleep(pause).await;
        }
        look_at(&cell, key);
    });
}

impl Runs {
    /// Forgets rows that a pass has answered, unless they were written again meanwhile.
    fn forget(&self, key: &ObjectKey, answered: &BTreeMap<RowKey, Revision>) {
        let mut pending = lock(&self.pending);
        if let Some(rows) = pending.get_mut(key) {
            rows.retain(|row, revision| answered.get(row) != Some(revision));
            if rows.is_empty() {
                pending.remove(key);
            }
        }
    }
}

/// One pass over one run; how much belongs to it.
async fn pass(cell: &Arc<Inner>, key: &ObjectKey, rows: &BTreeSet<RowKey>) -> Result<usize, CellError> {
    let settings = cell.settings_of(&key.tenant).await?;
    let mut wanted = Wanted::default();
    let mut extra = Extra::default();
    for _ in 0..NEEDS_MAX {
        let view = match cell.store.run_view(key, &wanted, rows).await? {
            Look::Found(view) => view,
            Look::Gone(due) => {
                let timers = lock(&cell.runs.timers).remove(key).unwrap_or_default();
                return cell.store.due_consume(key, &due, &timers).await.map(|()| 0);
            }
        };
        if view.due.is_empty() {
            return Ok(0);
        }
        let placed = meta::annotation(&view.run.value, store::cell::CELL);
        if let Some(to) = placed.filter(|to| apply::is_run(&key.kind) && *to != cell.store.cell()) {
            lock(&cell.runs.timers).remove(key);
            return cell.store.due_forward(&view, to).await.map(|()| 0);
        }
        if cell.store.finalize(&view).await? {
            ring(cell, &view);
            cell.machines_wake();
            return Ok(0);
        }
        if key.kind == outbox::CUSTOM_RUNS && placed == Some(cell.store.cell()) {
            return outbox::custom_run(cell, &view, &settings).await.map(|()| 0);
        }
        if !apply::is_run(&key.kind) {
            return cell.store.due_consume(key, &view.due, &BTreeSet::new()).await.map(|()| 0);
        }
        if cell.store.pull(&view).await? {
            continue;
        }
        let now_us = cell.host.clock.utc().0;
        if is_held(cell, &view) {
            return hold(cell, &view, now_us + HOLD_US).await.map(|()| 0);
        }
        let mut view = view;
        let observed = observed(&mut view, &extra);
        let outcome = cell.engine.decide(&key.kind, &observed, &settings, &cell.installation, now_us);
        put_back(&mut view, observed);
        match outcome {
            Outcome::Need(needs) => {
                need(cell, &view, needs, &mut wanted, &mut extra).await?;
                cell.store.keep(*view);
            }
            Outcome::Decision(mut decision) => {
                cell.runs.told.hold_back(&view, &mut decision, cell.host.clock.mono());
                let children = view.owned.len();
                let over = is_done(decision.status.as_ref().unwrap_or(&view.run.value["status"]));
                settle(cell, &view, *decision, &settings, now_us).await?;
                if !over {
                    cell.store.keep(*view);
                }
                return Ok(children);
            }
        }
    }
    tracing::error!(run = %key.name, namespace = %key.namespace, "the engine never has enough; the run is left for later");
    Err(CellError::Unavailable("the engine never has enough".into()))
}

/// A cell that is drained begins no run. Whether it goes elsewhere is the place loop's to say.
fn is_held(cell: &Inner, view: &View) -> bool {
    let begun = !view.run.value["status"]["conditions"].is_null();
    cell.draining.load(Ordering::Relaxed) && !begun && meta::owners(&view.run.value).next().is_none()
}

/// Looks at the run later.
async fn hold(cell: &Inner, view: &View, at_us: i64) -> Result<(), CellError> {
    cell.store.run_postpone(view, at_us).await?;
    lock(&cell.runs.timers).entry(view.run.key.clone()).or_default().insert(at_us);
    Ok(())
}

/// Writes a decision and does what follows from it in this process.
async fn settle(
    cell: &Arc<Inner>,
    view: &View,
    decision: Decision,
    settings: &TenantConfig,
    now_us: i64,
) -> Result<(), CellError> {
    for error in &decision.errors {
        tracing::info!(run = %view.run.key.name, namespace = %view.run.key.namespace, error, "the run met an error");
    }
    let timers = lock(&cell.runs.timers).get(&view.run.key).cloned().unwrap_or_default();
    let decision = again::fenced(view, decision, now_us);
    let mut write = effects::write(view, decision, timers, settings, now_us)?;
    again::tell(view, &mut write, !cell.draining.load(Ordering::Relaxed));
    // Who comes when others wait for room stands in line behind them.
    let room = !cell.machines.waiting.load(Ordering::Relaxed);
    write.reserve = room.then(|| cell.capacity());
    let (timer_us, deletes) = (write.timer_us, !write.deletes.is_empty());
    let ended = write.status.as_ref().is_some_and(|s| is_done(s) && !is_done(&view.run.value["status"]));
    let applied = cell.store.run_apply(view, write).await?;
    know_timer(cell, &view.run.key, timer_us);
    cell.metrics.pass(applied.committed);
    if applied.committed {
        cell.due_written();
    }
    ring(cell, view);
    if deletes {
        // A Pod that is gone revokes its attempt, which says nothing in the machine's own row.
        cell.machines_wake();
    }
    if ended && let Some(run) = &applied.run {
        trace::ended(view, run);
        cell.metrics.run_ended(run);
    }
    Ok(())
}

/// Wakes whoever waits for something about this run.
fn ring(cell: &Inner, view: &View) {
    for (attempt, _) in &view.attempts {
        cell.ring(&attempt.id);
        cell.ring(&attempt.machine);
    }
}

/// Puts what the engine needs into the next look.
async fn need(
    cell: &Inner,
    view: &View,
    needs: BTreeSet<Need>,
    wanted: &mut Wanted,
    extra: &mut Extra,
) -> Result<(), CellError> {
    for need in needs {
        match need {
            Need::Object(key) => match object_key(&view.run.key.tenant, &key) {
                Some(key) => drop(wanted.objects.insert(key)),
                None => return Err(CellError::Foreign(format!("an object of kind {}", key.kind))),
            },
            Need::LimitRanges => drop(wanted.lists.insert("limitranges".into())),
            Need::VerificationPolicies => drop(wanted.lists.insert(POLICIES.into())),
            Need::Secret(key) => {
                let opened = opened(cell, &view.run.key.tenant, &key).await?;
                extra.secrets.insert(key, opened);
            }
            Need::Image(reference) => {
                let auths = lower::pull_auths(cell, &view.run.key, &view.run.value["spec"]).await?;
                let mut found = cell.images.look_up(&reference, &auths).await;
                if found.is_err() {
                    cell.host.clock.sleep(LOOK_UP_PAUSE).await;
                    found = cell.images.look_up(&reference, &auths).await;
                }
                // Nobody can tell, twice: the run says so instead of waiting for a registry.
                extra.images.insert(reference, found.unwrap_or_else(ImageConfig::Missing));
            }
        }
    }
    Ok(())
}

/// The values of a Secret; none if it is not there.
async fn opened(cell: &Inner, tenant: &str, key: &Key) -> Result<Option<Opened>, CellError> {
    let Some(stored) = object_key(tenant, key) else { return Ok(None) };
    let Some(object) = cell.store.objects([stored]).await?.into_values().next().flatten() else {
        return Ok(None);
    };
    // What cannot be opened holds no key that could be trusted.
    let values = cell.secrets.open(tenant, &object).await.unwrap_or_default();
    Ok(Some(Opened(values)))
}

/// What the engine sees. The documents of the run and of what it owns are lent, not copied: they are most of the work
/// for a large run. [`put_back`] returns them.
fn observed(view: &mut View, extra: &Extra) -> Observed {
    let lost = view.lost().map(|attempt| (attempt.id.clone(), machines::end_of(attempt))).collect();
    let objects = view.objects.iter().filter_map(|(key, seen)| {
        let kind = kind::by_id(&key.kind)?.kind;
        let key = Key::new(kind, &key.namespace, &key.name);
        Some((key, seen.as_ref().map(|seen| seen.value.clone())))
    });
    Observed {
        run: view.run.value.take(),
        owned: view.owned.iter_mut().map(|seen| seen.value.take()).collect(),
        objects: objects.collect(),
        limit_ranges: view.lists.get("limitranges").map(|all| all.iter().map(|s| s.value.clone()).collect()),
        images: extra.images.clone(),
        policies: view.lists.get(POLICIES).map(|all| all.iter().map(|s| s.value.clone()).collect()),
        secrets: extra.secrets.clone(),
        pod_refused: None,
        lost,
    }
}

/// Returns what [`observed`] has lent.
fn put_back(view: &mut View, observed: Observed) {
    view.run.value = observed.run;
    for (seen, value) in view.owned.iter_mut().zip(observed.owned) {
        seen.value = value;
    }
}

/// The stored key of an object that the engine names by kind.
fn object_key(tenant: &str, key: &Key) -> Option<ObjectKey> {
    // Tekton's kinds first: no name of theirs is a core kind's.
    let kind = kind::all().find(|k| k.kind == key.kind)?;
    Some(ObjectKey {
        tenant: tenant.to_owned(),
        kind: kind.id(),
        namespace: if kind.namespaced() { key.namespace.clone() } else { String::new() },
        name: key.name.clone(),
    })
}

/// The condition `Succeeded` is True or False.
pub(crate) fn is_done(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == "Succeeded").any(|c| c["status"] == "True" || c["status"] == "False")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
