//! Garbage collection: what belonged to something deleted goes too. Driven by rows, not by searching: whoever
//! removes an owner writes [`dependents`] in the same transaction, and the runs loop finds it like any other work.

use apimachinery::kind::{self, Kind};
use apimachinery::meta;
use apimachinery::time::Micros;

use super::view::{View, attempts_of, of_row};
use super::{CellError, CellStore, Seen, remove, replace};
use crate::backend::{Op, Pre, Read, Revision, RowKey, Table};
use crate::object::{self, ObjectKey};
use crate::quota;
use crate::records::attempt::{Attempt, Phase};
use crate::records::{self, due};

/// Kind in the key of a Due row that says: collect what belonged to the uid given as the name.
pub const COLLECT: &str = "collect";
/// Kind of namespaces: a Due row for one says that its content must go.
pub const NAMESPACES: &str = "namespaces";

/// Most objects that go in one transaction.
const BATCH: usize = 100;
/// How long to wait for machines that still run what is collected, µs.
const AGAIN_US: i64 = 2_000_000;
/// How long to wait for what is left in a namespace, µs.
const NAMESPACE_US: i64 = 250_000;
/// Soon, but as a timer: the row for "now" is being consumed, µs.
const AT_ONCE_US: i64 = 1000;

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collected {
    /// When to look again, µs since 1970 (the row is written); `None`: nothing is left.
    pub again_us: Option<i64>,
    /// Attempts of what was collected.
    pub attempts: Vec<Attempt>,
}

/// The op that makes `cell` collect what belongs to the deleted object of `key` with `uid`.
pub fn dependents(cell: &str, key: &ObjectKey, uid: &str) -> Op {
    due::put(cell, &collect_key(&key.tenant, uid), 0)
}

fn collect_key(tenant: &str, uid: &str) -> ObjectKey {
    ObjectKey {
        tenant: tenant.to_owned(),
        kind: COLLECT.into(),
        namespace: String::new(),
        name: uid.to_owned(),
    }
}

impl CellStore {
    /// Removes what belonged to the object with the uid in `key`, a batch at a time, and consumes the `rows` that
    /// asked for it.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn collect(&self, key: &ObjectKey, rows: &[RowKey]) -> Result<Collected, CellError> {
        let (tenant, uid) = (&key.tenant, &key.name);
        let mut reads =
            vec![Read::Owned { tenant: tenant.clone(), owner: uid.clone() }, attempts_of(tenant, uid)];
        reads.extend(rows.iter().cloned().map(Read::Get));
        let answers = self.snapshot(reads).await?.answers;
        let now = self.host().clock.utc();
        let mut attempts = attempts(&answers[1].rows)?;
        // What another cell was running is that cell's to end; here it is as good as ended.
        let (ours, theirs): (Vec<_>, Vec<_>) = attempts.drain(..).partition(|(a, _)| a.cell == self.cell());
        let attempts = ours;
        let mut ops = Vec::new();
        let mut left = answers[0].rows.len() > BATCH;
        for row in answers[0].rows.iter().take(BATCH) {
            if let Some(owned) = of_row(row)? {
                left |= owned.key.kind == "pods";
                self.dependent_delete(&owned, &attempts, &mut ops);
            }
        }
        let live = attempts.iter().any(|(a, _)| matches!(a.phase, Phase::Claimed | Phase::Started));
        let volume = self.volume_remove(tenant, uid).await?;
        let again_us = (left || live || volume.is_err()).then_some(now.0 + AGAIN_US);
        if let Some(at_us) = again_us {
            ops.push(due::put(self.cell(), key, at_us));
        } else {
            let over = attempts.iter().chain(&theirs).map(|(attempt, revision)| Op::Delete {
                key: attempt.row(),
                pre: Pre::Rev(*revision),
                last: None,
            });
            ops.extend(over.take(BATCH));
            ops.extend(volume.ok().flatten());
        }
        for row in answers[2..].iter().flat_map(|a| &a.rows) {
            ops.push(Op::Delete { key: row.key.clone(), pre: Pre::Rev(row.revision), last: None });
        }
        if !ops.is_empty() {
            self.commit("collect", ops).await?;
        }
        Ok(Collected { again_us, attempts: attempts.into_iter().map(|(attempt, _)| attempt).collect() })
    }

    /// Goes on with the deletion of an object that waits for its dependents (foreground) or for them to forget
    /// it (orphan); answers whether it was such an object.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn finalize(&self, view: &View) -> Result<bool, CellError> {
        let run = &view.run;
        if !meta::is_deleting(&run.value) {
            return Ok(false);
        }
        let held = |what: &str| meta::finalizers(&run.value).any(|f| f == what);
        let mut ops: Vec<Op> = Vec::new();
        let mut done = None;
        if held(meta::ORPHAN) {
            for child in view.owned.iter().take(BATCH) {
                ops.push(replace(child, &disowned(child, meta::uid(&run.value))));
            }
            done = (view.owned.len() <= BATCH).then_some(meta::ORPHAN);
        } else if held(meta::FOREGROUND) {
            if view.owned.is_empty() {
                done = Some(meta::FOREGROUND);
            }
            for child in view.owned.iter().take(BATCH) {
                self.dependent_delete(child, &view.attempts, &mut ops);
            }
        } else {
            return Ok(false);
        }
        for (key, revision) in &view.due {
            ops.push(Op::Delete { key: key.clone(), pre: Pre::Rev(*revision), last: None });
        }
        match done {
            Some(finalizer) => self.release(run, finalizer, &mut ops),
            None => {
                // Pods take their time and ring when they have ended; the rest is gone with this transaction.
                let slow = view.owned.iter().any(|child| child.key.kind == "pods");
                let pause_us = if slow { AGAIN_US } else { AT_ONCE_US };
                ops.push(due::put(self.cell(), &run.key, self.host().clock.utc().0 + pause_us));
            }
        }
        self.commit("finalize", ops).await?;
        Ok(true)
    }

    /// Empties a namespace that is being deleted, a batch at a time, then removes it.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn namespace_empty(&self, key: &ObjectKey, rows: &[RowKey]) -> Result<(), CellError> {
        let kinds: Vec<&Kind> =
            kind::all().filter(|k| k.namespaced() && !k.versions.is_empty() && k.has_verb("list")).collect();
        let mut reads = vec![Read::Get(key.row())];
        reads.extend(kinds.iter().map(|kind| Read::Scan {
            table: Table::Object,
            partition: object::scope(&key.tenant, &kind.id()),
            from: format!("{}/", key.name),
            to: format!("{}0", key.name),
            limit: BATCH,
        }));
        let first_due = reads.len();
        reads.extend(rows.iter().cloned().map(Read::Get));
        let answers = self.snapshot(reads).await?.answers;
        let namespace = super::seen(key, &answers[0])?;
        let mut ops = Vec::new();
        for row in answers[first_due..].iter().flat_map(|a| &a.rows) {
            ops.push(Op::Delete { key: row.key.clone(), pre: Pre::Rev(row.revision), last: None });
        }
        let Some(namespace) = namespace.filter(|n| meta::is_deleting(&n.value)) else {
            return if ops.is_empty() { Ok(()) } else { self.commit("due_consume", ops).await.map(drop) };
        };
        let content: Vec<_> = answers[1..first_due].iter().flat_map(|a| &a.rows).collect();
        for row in content.iter().take(BATCH) {
            let Some(seen) = of_row(row)? else { continue };
            // Dependents follow their owners, so that Pods end in order.
            if meta::owners(&seen.value).next().is_none() {
                self.remove_with_dependents(&seen, &mut ops);
            }
        }
        if content.is_empty() {
            ops.push(remove(&namespace));
        } else {
            ops.push(due::put(self.cell(), key, self.host().clock.utc().0 + NAMESPACE_US));
        }
        self.commit("namespace_empty", ops).await.map(drop)
    }

    /// Removes events of all tenants that were last seen before `before_us`, at most `limit` of each tenant.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn events_expire(&self, before_us: i64, limit: usize) -> Result<usize, CellError> {
        let (from, to) = (String::new(), String::new());
        let tenants =
            Read::Scan { table: Table::Tenant, partition: "tenants".into(), from, to, limit: 100_000 };
        let tenants = self.snapshot(vec![tenants]).await?.answers.remove(0).rows;
        let mut removed = 0;
        for tenant in tenants {
            let scan = Read::Scan {
                table: Table::Object,
                partition: object::scope(&tenant.key.key, "events"),
                from: String::new(),
                to: String::new(),
                limit: 100_000,
            };
            let rows = self.snapshot(vec![scan]).await?.answers.remove(0).rows;
            let old: Vec<_> = rows.iter().filter(|r| r.revision.micros() < before_us).take(limit).collect();
            for batch in old.chunks(BATCH) {
                let mut ops = Vec::with_capacity(batch.len());
                for row in batch {
                    ops.extend(of_row(row)?.as_ref().map(remove));
                }
                removed += ops.len();
                self.commit("events_expire", ops).await?;
            }
        }
        Ok(removed)
    }

    /// Forgets log entries and request ids older than `age_us`.
    ///
    /// # Errors
    /// [`CellError::Unavailable`].
    pub async fn trim(&self, age_us: i64) -> Result<(), CellError> {
        Ok(self.backend.trim(self.host().clock.utc().0 - age_us).await?)
    }

    fn dependent_delete(&self, child: &Seen, attempts: &[(Attempt, Revision)], ops: &mut Vec<Op>) {
        if child.key.kind == "pods" {
            let attempt = attempts.iter().find(|(a, _)| a.id == meta::uid(&child.value));
            self.pod_delete(child, attempt, Micros(self.host().clock.utc().0), ops);
        } else {
            self.remove_with_dependents(child, ops);
        }
    }

    /// Removes an object; what it owns goes next, and so do the timers of a run.
    pub(super) fn remove_with_dependents(&self, object: &Seen, ops: &mut Vec<Op>) {
        ops.push(remove(object));
        ops.extend(quota::given_back(&object.key, &object.value));
        ops.push(dependents(self.cell(), &object.key, meta::uid(&object.value)));
        if super::apply::is_run(&object.key.kind) {
            ops.push(due::put(self.cell(), &object.key, 0));
        }
    }

    fn release(&self, run: &Seen, finalizer: &str, ops: &mut Vec<Op>) {
        let left: Vec<&str> = meta::finalizers(&run.value).filter(|f| *f != finalizer).collect();
        if left.is_empty() {
            // The pass that finds the run gone consumes its Due row.
            let consumed = std::mem::take(ops);
            ops.extend(consumed.into_iter().filter(|op| !is_due_of(op, &run.key)));
            self.remove_with_dependents(run, ops);
        } else {
            let mut new = run.value.clone();
            meta::set(&mut new, "finalizers", left);
            ops.push(replace(run, &new));
        }
    }
}

/// The op consumes the row that makes `run` be looked at now.
fn is_due_of(op: &Op, run: &ObjectKey) -> bool {
    matches!(op, Op::Delete { key, .. } if key.table == Table::Due && due::parse(&key.key) == Some((0, run.clone())))
}

fn disowned(child: &Seen, uid: &str) -> serde_json::Value {
    let mut new = child.value.clone();
    let left: Vec<_> = meta::owners(&child.value).filter(|o| o["uid"] != uid).cloned().collect();
    if left.is_empty() {
        meta::unset(&mut new, "ownerReferences");
    } else {
        meta::set(&mut new, "ownerReferences", left);
    }
    new
}

fn attempts(rows: &[crate::backend::Row]) -> Result<Vec<(Attempt, Revision)>, CellError> {
    rows.iter().map(|row| Ok((records::decode(&row.body)?, row.revision))).collect()
}
