//! Placing runs again: those of cells that are gone or drained, and this cell's own that have waited too long.
//!
//! Every live cell of the Home looks, as often as its heart beats; the store lets one of them succeed for each run.
//! A run whose claim has a volume goes where that is, and nowhere else. What has not started goes elsewhere at once.
//! What has started stays, and reports when its cell is back; if that takes too long it is lost. What may not go
//! elsewhere says what it waits for, and what would change that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apimachinery::meta;
use apimachinery::time::Micros;
use store::backend::RowKey;
use store::cell::apply::is_run;
use store::cell::place::{Family, Target, annotations};
use store::cell::view::View;
use store::cell::{CELL, CellError, CellStore, EXPLANATION, REGION, epoch_of};
use store::object::ObjectKey;
use store::records::attempt::Phase;
use store::records::cell::CellRow;
use store::records::due::BUCKETS;
use tenancy::placement::{self, CellView, Placed, Request};
use tenancy::residency::Residency;

use crate::Inner;

/// A cell is gone when its heartbeat stays the same over so many of our looks. Counted, not timed: a laptop that
/// wakes up, or a server that starts after a day, must not take every other cell for dead at its first look.
const GONE_LOOKS: u32 = 3;

/// What is known of the other cells.
#[derive(Default)]
pub(crate) struct Others {
    heard: Mutex<BTreeMap<String, Heard>>,
    /// How far the rows of a cell are gone through, by cell and bucket.
    cursors: Mutex<BTreeMap<(String, u32), String>>,
}

/// The last heartbeat of a cell, and over how many of our looks it has stayed the same.
#[derive(Clone, Copy)]
struct Heard {
    at_us: i64,
    looks: u32,
}

/// Why runs leave a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It does not answer; `forgotten`: for so long that what it had started is lost.
    Gone { forgotten: bool },
    /// It takes no new runs.
    Drained,
    /// It had no machine in time.
    Waited,
    /// The volume of its claim is in another cell: two runs were placed before the claim had one.
    Apart,
}

impl Why {
    fn text(self, cell: &str) -> String {
        match self {
            Why::Gone { forgotten: false } => format!("cell {cell} has not been heard of"),
            Why::Gone { forgotten: true } => format!("cell {cell} has not been heard of for a long time"),
            Why::Drained => format!("cell {cell} takes no new runs"),
            Why::Apart => format!("the volume of its claim is not in cell {cell}"),
            Why::Waited => format!("cell {cell} had no machine for it within {}", placement::MAX_WAIT),
        }
    }
}

impl Others {
    /// Counts one look at `other`; answers over how many it has said nothing new.
    fn count(&self, other: &CellRow) -> u32 {
        let mut heard = lock(&self.heard);
        let seen = heard.entry(other.cell.clone()).or_insert(Heard { at_us: other.at_us, looks: 0 });
        let looks = if seen.at_us == other.at_us { seen.looks.saturating_add(1) } else { 0 };
        *seen = Heard { at_us: other.at_us, looks };
        looks
    }
}

/// One look at all cells.
pub(crate) async fn look(cell: &Arc<Inner>) -> Result<(), CellError> {
    let rows = cell.store.cells().await?;
    let beat = cell.pace.heartbeat.as_micros().max(1);
    let forgotten = u32::try_from(cell.pace.forgotten.as_micros() / beat).unwrap_or(u32::MAX);
    let drained = cell.draining.load(Ordering::Relaxed);
    let mut leave = Vec::new();
    let mut live = Vec::new();
    for row in rows {
        if row.cell == cell.config.cell {
            if drained {
                leave.push((row.cell.clone(), Why::Drained));
            } else {
                live.push(CellView { heard_us: cell.host.clock.utc().0, ..view_of(&row) });
            }
            continue;
        }
        if sleeps_soundly(cell, &row).await? {
            live.push(CellView { heard_us: cell.host.clock.utc().0, ..view_of(&row) });
            continue;
        }
        let looks = cell.others.count(&row);
        if looks >= GONE_LOOKS {
            leave.push((row.cell.clone(), Why::Gone { forgotten: looks >= forgotten }));
        } else if row.draining {
            leave.push((row.cell.clone(), Why::Drained));
        } else {
            live.push(view_of(&row));
        }
    }
    for (from, why) in leave {
        empty(cell, &from, why, &live).await?;
    }
    if cell.machines.waiting.load(Ordering::Relaxed) && !drained {
        impatient(cell, &live).await?;
    }
    if cell.machines.apart.load(Ordering::Relaxed) {
        apart(cell, &live).await?;
    }
    Ok(())
}

/// It sleeps, need not be awake yet, and has missed no work: nobody expects to hear of it. (If it has, it is counted
/// from then on: a wake-up may be on its way.)
async fn sleeps_soundly(cell: &Inner, other: &CellRow) -> Result<bool, CellError> {
    let now_us = cell.host.clock.utc().0;
    if other.draining || other.asleep_until_us.is_none_or(|until_us| until_us < now_us) {
        return Ok(false);
    }
    let store = cell.store.as_cell(&other.cell);
    for bucket in 0..BUCKETS {
        if !store.due_scan(bucket, now_us, 1).await?.due.is_empty() {
            return Ok(false);
        }
    }
    lock(&cell.others.heard).remove(&other.cell);
    Ok(true)
}

fn view_of(row: &CellRow) -> CellView {
    CellView {
        cell: row.cell.clone(),
        region: row.region.clone(),
        heard_us: row.at_us,
        draining: row.draining,
        machines: row.machines,
        machines_max: row.machines_max,
    }
}

/// Goes through a part of the runs of `from`; the next look goes on where this one stopped.
async fn empty(cell: &Arc<Inner>, from: &str, why: Why, live: &[CellView]) -> Result<(), CellError> {
    let theirs = cell.store.as_cell(from);
    let mut handled = BTreeSet::new();
    let gone = matches!(why, Why::Gone { .. });
    for bucket in 0..BUCKETS {
        let place = (from.to_owned(), bucket);
        let after = lock(&cell.others.cursors).get(&place).cloned().unwrap_or_default();
        let (rows, last) = theirs.due_page(bucket, &after).await?;
        lock(&cell.others.cursors).insert(place, last.unwrap_or_default());
        for (key, row, _) in rows {
            if is_run(&key.kind) {
                lenient(consider(cell, &theirs, &key, Some(&row), why, live, &mut handled).await)?;
            } else if gone {
                lenient(theirs.due_give(&key, &row, &cell.config.cell).await)?;
            }
        }
    }
    // A run that only waits for its Pod has no Due row, if it has no deadline.
    for machine in theirs.machines().await? {
        if let Some(attempt) = machine.attempt.filter(|_| gone) {
            let run = attempt.run_key();
            lenient(consider(cell, &theirs, &run, None, why, live, &mut handled).await)?;
        }
    }
    Ok(())
}

/// A lost race means that somebody else has done it, or that the cell lives after all.
fn lenient(done: Result<(), CellError>) -> Result<(), CellError> {
    match done {
        Err(CellError::Conflict { .. }) => Ok(()),
        other => other,
    }
}

/// Decides about the family of one run that `theirs` has; `row` is the Due row that names it, if one does.
async fn consider(
    cell: &Arc<Inner>,
    theirs: &CellStore,
    run: &ObjectKey,
    row: Option<&RowKey>,
    why: Why,
    live: &[CellView],
    handled: &mut BTreeSet<ObjectKey>,
) -> Result<(), CellError> {
    let from = theirs.cell().to_owned();
    if !handled.insert(run.clone()) {
        return Ok(());
    }
    let Some(family) = theirs.family(run).await? else {
        return gone_run(theirs, run, why).await;
    };
    let root = family.root.run.key.clone();
    if family.cell() != from {
        let member = family.below.iter().find(|view| view.run.key == *run).unwrap_or(&family.root);
        return straggler(theirs, &family, member, row, why).await;
    }
    // What is left to do about a run that has ended is little, and its cell's.
    if root != *run && !handled.insert(root) || family.is_over() {
        return Ok(());
    }
    let volume = theirs.volume_of(&family).await?;
    if let Some(waits) = held(&family, &from, why, volume.as_ref()) {
        let Some(waits) = waits else { return Ok(()) };
        return cell.store.run_waits(&family.root, &waits).await;
    }
    send(cell, &family, &from, why, volume, live).await
}

/// What a family that stays where it is waits for: `Some(None)` when there is nothing to say.
fn held(family: &Family, from: &str, why: Why, volume: Option<&(String, String)>) -> Option<Option<String>> {
    let back = "when that cell is back";
    match why {
        // A drained cell finishes what it has begun.
        Why::Drained | Why::Waited | Why::Apart if family.has_begun() => Some(None),
        Why::Gone { forgotten: false } if family.is_bound() => Some(Some(format!(
            "cell {from} has not been heard of; what has started there goes on and is told {back}; if that takes too \
             long the run fails, unless annotation {} is \"true\"",
            store::cell::RERUN
        ))),
        Why::Gone { .. } | Why::Drained | Why::Waited | Why::Apart => {
            let (claim, _) = volume.filter(|(_, there)| there == from)?;
            let when = if matches!(why, Why::Gone { .. }) { back } else { "when that cell takes runs again" };
            Some(Some(format!("{}, where its claim {claim:?} is; it goes on {when}", why.text(from))))
        }
    }
}

/// Places a family again, or says why that cannot be.
async fn send(
    cell: &Arc<Inner>,
    family: &Family,
    from: &str,
    why: Why,
    volume: Option<(String, String)>,
    live: &[CellView],
) -> Result<(), CellError> {
    let root = &family.root;
    let annotations = annotations(&root.run.value);
    // What cannot be read is never taken for "anywhere".
    let Some(residency) = cell.store.residency(&root.run.key).await? else { return Ok(()) };
    let Ok(mut request) = Request::parse(&annotations, residency) else { return Ok(()) };
    request.volume = volume;
    let now_us = cell.host.clock.utc().0;
    let others: Vec<CellView> = live.iter().filter(|view| view.cell != from).cloned().collect();
    let random = u64::try_from(cell.host.id() & u128::from(u64::MAX)).unwrap_or(0);
    let placed = match placement::place(&request, &others, now_us, random) {
        // Waiting there is no better than waiting here.
        Ok(placed) if why == Why::Waited && placed.waits_for.is_some() => return Ok(()),
        Ok(placed) => placed,
        // It says already what it waits for.
        Err(_) if matches!(why, Why::Waited | Why::Apart) => return Ok(()),
        Err(_) => {
            let when = if why == Why::Drained { "takes runs again" } else { "is back" };
            let waits = format!(
                "{}, and no other cell may take this run: {}; it goes on when that cell {when}, when another cell \
                 comes up where it may go, or when annotations {} or {} allow another region",
                why.text(from),
                request.limits(),
                placement::REGIONS,
                placement::PLACEMENT
            );
            return cell.store.run_waits(root, &waits).await;
        }
    };
    let left = why.text(from);
    let (to, region) = (placed.cell.clone(), placed.region.clone());
    let placed = match explained(&root.run.value) {
        Some(before) => placed.after(before, &left),
        None => placed,
    };
    let target = Target {
        cell: to.clone(),
        region,
        epoch: epoch_of(&root.run.value) + 1,
        explanation: serde_json::to_string(&placed).ok(),
        why: left.clone(),
    };
    cell.store.run_move(root, &target).await?;
    cell.metrics.run_moved();
    tracing::warn!(run = %root.run.key.name, namespace = %root.run.key.namespace, from, to, why = %left, "a run was placed again");
    if to == cell.config.cell {
        crate::runs::wake(cell);
    }
    Ok(())
}

fn explained(run: &serde_json::Value) -> Option<Placed> {
    serde_json::from_str(meta::annotation(run, EXPLANATION)?).ok()
}

/// A run that is gone leaves Due rows behind on a cell that is gone.
async fn gone_run(theirs: &CellStore, run: &ObjectKey, why: Why) -> Result<(), CellError> {
    if !matches!(why, Why::Gone { .. }) {
        return Ok(());
    }
    let look = theirs.run_view(run, &Default::default(), &BTreeSet::new()).await?;
    match look {
        store::cell::view::Look::Gone(due) => theirs.due_consume(run, &due, &BTreeSet::new()).await,
        store::cell::view::Look::Found(_) => Ok(()),
    }
}

/// A run whose root is placed elsewhere, and that is still named by `theirs`.
async fn straggler(
    theirs: &CellStore,
    family: &Family,
    member: &View,
    row: Option<&RowKey>,
    why: Why,
) -> Result<(), CellError> {
    let Why::Gone { forgotten } = why else { return Ok(()) };
    let at = meta::annotation(&member.run.value, CELL).unwrap_or_default();
    if at != theirs.cell() {
        let Some(row) = row else { return Ok(()) };
        return theirs.due_give(&member.run.key, row, at).await;
    }
    if member.running().is_some_and(|attempt| !attempt.rerun) && !forgotten {
        return Ok(());
    }
    let target = Target {
        cell: family.cell().to_owned(),
        region: meta::annotation(&family.root.run.value, REGION).unwrap_or_default().to_owned(),
        epoch: epoch_of(&family.root.run.value),
        explanation: None,
        why: why.text(theirs.cell()),
    };
    theirs.run_move(member, &target).await
}

/// Looks at this cell's own runs that wait for a machine: those that have waited too long go where there is room.
async fn impatient(cell: &Arc<Inner>, live: &[CellView]) -> Result<(), CellError> {
    let now_us = cell.host.clock.utc().0;
    let mut handled = BTreeSet::new();
    for machine in cell.store.machines().await? {
        let Some(attempt) = machine.attempt.filter(|a| a.phase == Phase::Free) else { continue };
        if machine.machine.reserved || !handled.insert(attempt.run_uid.clone()) {
            continue;
        }
        let Some(family) = cell.store.family(&attempt.run_key()).await? else { continue };
        let root = &family.root.run.value;
        let request = Request::parse(&annotations(root), Residency::ANYWHERE);
        let Some(max_us) = request.ok().and_then(|request| request.max_wait_us) else { continue };
        let created = Micros::parse(meta::text(root, "creationTimestamp")).map(|t| t.0);
        let since_us = explained(root).map(|placed| placed.at_us).filter(|at| *at > 0).or(created);
        let waited_us = now_us - since_us.unwrap_or(machine.machine.created_us);
        let ours = family.cell() == cell.config.cell && !family.has_begun();
        if ours && waited_us >= max_us && cell.store.volume_of(&family).await?.is_none() {
            lenient(send(cell, &family, &cell.config.cell, Why::Waited, None, live).await)?;
        }
    }
    Ok(())
}

/// Looks at this cell's own runs that wait for a volume: those whose volume is in another cell go there.
async fn apart(cell: &Arc<Inner>, live: &[CellView]) -> Result<(), CellError> {
    let mut handled = BTreeSet::new();
    for machine in cell.store.machines().await? {
        let Some(attempt) = machine.attempt.filter(|a| a.phase == Phase::Free) else { continue };
        if attempt.claims.is_empty() || !handled.insert(attempt.run_uid.clone()) {
            continue;
        }
        let Some(family) = cell.store.family(&attempt.run_key()).await? else { continue };
        if family.cell() != cell.config.cell || family.has_begun() {
            continue;
        }
        let volume = cell.store.volume_of(&family).await?.filter(|(_, there)| *there != cell.config.cell);
        if volume.is_some() {
            lenient(send(cell, &family, &cell.config.cell, Why::Apart, volume, live).await)?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
