//! Placing runs again: a new cell and a higher epoch on the root run, so that the old cell's writes about it fail
//! from then on; the runs below it follow.
//!
//! ```text
//! root_move:  the root's row and attempts change hands in one transaction; the new cell finds it due
//! pull:       the new cell takes over the runs below, before it decides about the run above them
//! due_forward: a wake-up that reached the old cell goes to the new one
//! ```
//! An attempt that has not started is revoked by the same transaction. One that has started is lost, or is left
//! where it is: whoever calls decides.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::meta;
use apimachinery::time::Micros;
use base::host::BoxFuture;
use serde_json::Value;
use tenancy::residency::Residency;

use super::apply::{EventWrite, Events, is_looked_at, is_run};
use super::machines::pod_lost;
use super::pods::end;
use super::view::{Look, View, Wanted};
use super::{
    CELL, CellError, CellStore, EPOCH, EXPLANATION, REGION, Seen, WAITING, epoch_of, owner_key, remove,
    replace, seen,
};
use crate::backend::{Op, Pre, Read, Revision, RowKey, Table};
use crate::object::{self, ObjectKey};
use crate::records::attempt::{Cause, Phase};
use crate::records::{self, due, tenant};

/// Deepest nesting of runs that is followed: pipelines in pipelines.
const DEPTH_MAX: usize = 16;
/// Kind of claims.
const CLAIMS: &str = "persistentvolumeclaims";
/// Rows of a gone cell that are read at a time.
const PAGE: usize = 200;

/// A root run and all runs below it.
#[derive(Clone, Debug)]
pub struct Family {
    /// The root.
    pub root: Box<View>,
    /// Every run below it.
    pub below: Vec<View>,
}

impl Family {
    fn all(&self) -> impl Iterator<Item = &View> {
        std::iter::once(&*self.root).chain(&self.below)
    }

    /// The cell of its root.
    pub fn cell(&self) -> &str {
        meta::annotation(&self.root.run.value, CELL).unwrap_or_default()
    }

    /// User code of it may have begun.
    pub fn has_begun(&self) -> bool {
        self.all().any(View::has_begun)
    }

    /// Something of it may be running now and may not be run again.
    pub fn is_bound(&self) -> bool {
        self.all().any(|view| view.running().is_some_and(|attempt| !attempt.rerun))
    }

    /// A claim of its own with a volume, which is a folder of its cell. One that has no volume yet gets it where the
    /// run goes.
    fn own_claim(&self) -> Option<&str> {
        let begun = self.has_begun();
        let bound =
            |seen: &&Seen| seen.key.kind == CLAIMS && (begun || seen.value["status"]["phase"] == "Bound");
        self.all().find_map(|view| view.owned.iter().find(bound)).map(|seen| seen.key.name.as_str())
    }

    /// Claims that its runs name.
    fn named_claims(&self) -> BTreeSet<&str> {
        let bindings =
            self.all().flat_map(|view| view.run.value["spec"]["workspaces"].as_array().into_iter().flatten());
        bindings.filter_map(|b| b["persistentVolumeClaim"]["claimName"].as_str()).collect()
    }

    /// It has ended.
    pub fn is_over(&self) -> bool {
        crate::quota::is_over(&self.root.run.value)
    }
}

/// Where a run goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The cell.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// The epoch that begins with it.
    pub epoch: u64,
    /// For the root: why, as JSON.
    pub explanation: Option<String>,
    /// Why it does not stay, for attempts that this ends.
    pub why: String,
}

impl CellStore {
    /// This store as another cell of the Home sees it, for reading what that one left.
    pub fn as_cell(&self, cell: &str) -> CellStore {
        CellStore { cell: cell.to_owned(), ..self.clone() }
    }

    /// The family that `run` belongs to; `None`: it is gone.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn family(&self, run: &ObjectKey) -> Result<Option<Family>, CellError> {
        let mut root = run.clone();
        for _ in 0..DEPTH_MAX {
            let answers = self.snapshot(vec![Read::Get(root.row())]).await?.answers;
            let found = answers.first().map(|rows| seen(&root, rows)).transpose()?.flatten();
            let Some(found) = found else { return Ok(None) };
            match owner_key(&root.tenant, &found.value).filter(|(owner, _)| is_run(&owner.kind)) {
                Some((owner, _)) if self.is_there(&owner).await? => root = owner,
                _ => break,
            }
        }
        let Look::Found(root) = self.run_view(&root, &Wanted::default(), &BTreeSet::new()).await? else {
            return Ok(None);
        };
        let mut below = Vec::new();
        self.gather(&root, 0, &mut below).await?;
        Ok(Some(Family { root, below }))
    }

    /// A claim of the family that has a volume, and the cell where that is and stays.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn volume_of(&self, family: &Family) -> Result<Option<(String, String)>, CellError> {
        if let Some(own) = family.own_claim() {
            return Ok(Some((own.to_owned(), family.cell().to_owned())));
        }
        let root = &family.root.run.key;
        let keys = family.named_claims().into_iter();
        let keys: Vec<_> = keys
            .map(|name| ObjectKey { kind: CLAIMS.into(), name: name.to_owned(), ..root.clone() })
            .collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let answers = self.snapshot(keys.iter().map(|key| Read::Get(key.row())).collect()).await?.answers;
        for (key, rows) in keys.into_iter().zip(&answers) {
            let claim = seen(&key, rows)?;
            if let Some(cell) = claim.as_ref().and_then(|claim| meta::annotation(&claim.value, CELL)) {
                return Ok(Some((key.name, cell.to_owned())));
            }
        }
        Ok(None)
    }

    async fn is_there(&self, key: &ObjectKey) -> Result<bool, CellError> {
        let answers = self.snapshot(vec![Read::Get(key.row())]).await?.answers;
        Ok(answers.first().is_some_and(|rows| !rows.rows.is_empty()))
    }

    fn gather<'a>(
        &'a self,
        view: &'a View,
        depth: usize,
        into: &'a mut Vec<View>,
    ) -> BoxFuture<'a, Result<(), CellError>> {
        Box::pin(async move {
            for child in view.owned.iter().filter(|child| is_run(&child.key.kind)) {
                let look = self.run_view(&child.key, &Wanted::default(), &BTreeSet::new()).await?;
                if let Look::Found(view) = look {
                    if depth < DEPTH_MAX {
                        self.gather(&view, depth + 1, into).await?;
                    }
                    into.push(*view);
                }
            }
            Ok(())
        })
    }

    /// Gives the run of `view` to the cell of `target`. Its attempts that have not started are revoked, those that
    /// have are lost.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when anything of it has changed: its cell lives after all, or somebody was faster.
    pub async fn run_move(&self, view: &View, target: &Target) -> Result<(), CellError> {
        let now = Micros(self.host().clock.utc().0);
        let mut ops = vec![replace(&view.run, &moved(&view.run.value, target))];
        let mut gone = BTreeSet::new();
        let mut lost = BTreeSet::new();
        for (attempt, revision) in &view.attempts {
            let phase = match attempt.phase {
                Phase::Free | Phase::Claimed => Phase::Revoked,
                Phase::Started => Phase::Lost,
                Phase::Revoked | Phase::Lost | Phase::Done => continue,
            };
            // What may be run again starts with a Pod of its own, and so does what never began.
            let set = if phase == Phase::Revoked || attempt.rerun { &mut gone } else { &mut lost };
            set.insert(attempt.id.as_str());
            ops.push(end(attempt, *revision, phase, Cause::Moved, &target.why, now));
        }
        for child in view.owned.iter().filter(|child| !is_run(&child.key.kind)) {
            let uid = meta::uid(&child.value);
            // One that somebody has deleted has no agent left that would say how it ended.
            let unwanted = lost.contains(uid) && meta::is_deleting(&child.value);
            if gone.contains(uid) || unwanted {
                ops.push(remove(child));
            } else if lost.contains(uid) {
                let failed = pod_lost(&moved(&child.value, target), &target.why);
                ops.push(replace(child, &failed));
            } else if meta::annotation(&child.value, CELL).is_some() {
                ops.push(replace(child, &moved(&child.value, target)));
                if is_looked_at(&child.key.kind) {
                    ops.push(due::put(&target.cell, &child.key, 0));
                }
            }
        }
        ops.extend(view.due.iter().map(|(key, revision)| Op::Delete {
            key: key.clone(),
            pre: Pre::Rev(*revision),
            last: None,
        }));
        ops.push(due::put(&target.cell, &view.run.key, 0));
        self.commit("run_move", ops).await.map(drop)
    }

    /// Takes over the runs right below the run of `view` that are still another cell's. One that is running and may
    /// not be run again stays where it is until it ends. Answers whether any was taken.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn pull(&self, view: &View) -> Result<bool, CellError> {
        let mut pulled = false;
        let region = meta::annotation(&view.run.value, REGION).unwrap_or_default().to_owned();
        let elsewhere = |child: &&Seen| {
            let cell = meta::annotation(&child.value, CELL);
            is_run(&child.key.kind) && cell.is_some_and(|cell| cell != self.cell())
        };
        for child in view.owned.iter().filter(elsewhere) {
            let cell = meta::annotation(&child.value, CELL).unwrap_or_default();
            let look = self.as_cell(cell).run_view(&child.key, &Wanted::default(), &BTreeSet::new()).await?;
            let Look::Found(child) = look else { continue };
            if child.running().is_some_and(|attempt| !attempt.rerun) {
                continue;
            }
            let target = Target {
                cell: self.cell().to_owned(),
                region: region.clone(),
                epoch: epoch_of(&view.run.value),
                explanation: None,
                why: format!("the run above it was placed on cell {}", self.cell()),
            };
            self.run_move(&child, &target).await?;
            pulled = true;
        }
        Ok(pulled)
    }

    /// Passes on what asked this cell to look at a run that is another cell's.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn due_forward(&self, view: &View, to: &str) -> Result<(), CellError> {
        let mut ops: Vec<Op> = view.due.iter().map(super::apply::consume_op).collect();
        ops.push(due::put(to, &view.run.key, 0));
        self.commit("due_forward", ops).await.map(drop)
    }

    /// Gives the Due row `row` of `key` to another cell, which looks at once: that of a run that is placed there, or
    /// of what is left of something deleted, which any cell can do.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when it is done already.
    pub async fn due_give(&self, key: &ObjectKey, row: &RowKey, to: &str) -> Result<(), CellError> {
        if key.kind == super::outbox::OUTBOX {
            return self.outbox_give(key, row, to).await;
        }
        let theirs = Op::Delete { key: row.clone(), pre: Pre::Present, last: None };
        self.commit("due_give", vec![theirs, due::put(to, key, 0)]).await.map(drop)
    }

    /// Says on the run what it waits for, once. Its cell looks at it when it can, and takes that back.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when the run has changed: look again.
    pub async fn run_waits(&self, view: &View, why: &str) -> Result<(), CellError> {
        if meta::annotation(&view.run.value, WAITING) == Some(why) {
            return Ok(());
        }
        let mut new = view.run.value.clone();
        meta::set_annotation(&mut new, WAITING, why);
        let cell = meta::annotation(&view.run.value, CELL).unwrap_or(self.cell());
        let mut ops = vec![replace(&view.run, &new), due::put(cell, &view.run.key, 0)];
        let event = EventWrite { kind: "Warning", reason: "Waiting".into(), message: why.to_owned() };
        let now = Micros(self.host().clock.utc().0);
        self.events(view, &[event], Events::Read, now, &mut ops).await?;
        self.commit("run_waits", ops).await.map(drop)
    }

    /// Looks at the run of `view` again at `at_us` only.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when it was asked to be looked at again meanwhile.
    pub async fn run_postpone(&self, view: &View, at_us: i64) -> Result<(), CellError> {
        let mut ops: Vec<Op> = view.due.iter().map(super::apply::consume_op).collect();
        ops.push(due::put(self.cell(), &view.run.key, at_us));
        self.commit("run_postpone", ops).await.map(drop)
    }

    /// Due rows of one bucket of this cell, also those of later, after the key `after`; and the key of the last one
    /// when there are more.
    ///
    /// # Errors
    /// [`CellError::Unavailable`].
    pub async fn due_page(
        &self,
        bucket: u32,
        after: &str,
    ) -> Result<(Vec<(ObjectKey, RowKey, Revision)>, Option<String>), CellError> {
        let from = if after.is_empty() { String::new() } else { format!("{after}\u{0}") };
        let partition = due::partition(self.cell(), bucket);
        let scan = Read::Scan { table: Table::Due, partition, from, to: String::new(), limit: PAGE };
        let rows = self.snapshot(vec![scan]).await?.answers.remove(0);
        let last = rows.rows.last().filter(|_| rows.more).map(|row| row.key.key.clone());
        let parsed = rows.rows.into_iter().filter_map(|row| {
            let (_, run) = due::parse(&row.key.key)?;
            Some((run, row.key, row.revision))
        });
        Ok((parsed.collect(), last))
    }

    /// Where runs of `run`'s tenant and namespace may be; `None`: what the namespace says of it cannot be read.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn residency(&self, run: &ObjectKey) -> Result<Option<Residency>, CellError> {
        let (tenant, name) = (run.tenant.clone(), run.namespace.clone());
        let namespace = ObjectKey { tenant, kind: "namespaces".into(), namespace: String::new(), name };
        let reads = vec![Read::Get(tenant::row(&run.tenant)), Read::Get(namespace.row())];
        let answers = self.snapshot(reads).await?.answers;
        let row = |n: usize| answers.get(n).and_then(|rows| rows.rows.first());
        let tenants = match row(0) {
            Some(row) => records::decode::<tenant::Tenant>(&row.body)?.residency,
            None => Vec::new(),
        };
        let namespaces = match row(1) {
            Some(row) => crate::tenant::residency(&object::of_row(row)?),
            None => Ok(Residency::ANYWHERE),
        };
        Ok(namespaces.ok().map(|namespaces| Residency::from(tenants).and(&namespaces)))
    }
}

/// All annotations of an object.
pub fn annotations(object: &Value) -> BTreeMap<String, String> {
    let all = object["metadata"]["annotations"].as_object().into_iter().flatten();
    all.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

fn moved(object: &Value, target: &Target) -> Value {
    let mut new = object.clone();
    meta::set_annotation(&mut new, CELL, target.cell.as_str());
    meta::set_annotation(&mut new, REGION, target.region.as_str());
    meta::set_annotation(&mut new, EPOCH, target.epoch.to_string());
    if let Some(explanation) = &target.explanation {
        meta::set_annotation(&mut new, EXPLANATION, explanation.as_str());
    }
    if let Some(map) = new["metadata"]["annotations"].as_object_mut() {
        map.remove(WAITING);
    }
    new
}
