//! Adopting runs of a cell that is gone: a new cell and a higher epoch on the run, so that the old cell's writes
//! fail from then on. What it has started there is lost; what it has not goes again.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::meta;
use base::host::BoxFuture;
use serde_json::Value;
use tenancy::placement::{self, CellView, Request};
use tenancy::residency::Residency;

use super::pods::set_phase;
use super::view::{Look, View, Wanted};
use super::{CELL, CellError, CellStore, EPOCH, REGION, Seen, epoch_of, remove, replace};
use crate::backend::{Op, Pre, Read, RowKey};
use crate::object::{self, ObjectKey};
use crate::records::attempt::Phase;
use crate::records::{self, due, tenant};

/// What became of an adoption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adoption {
    /// The run is this cell's now.
    Taken,
    /// It is not the other cell's any more, or gone.
    NotTheirs,
    /// It may not run in this cell's region: it waits for its own.
    Pinned,
}

impl CellStore {
    /// Takes over `run` from the cell of `from`, whose row `due_row` names it. Attempts that have not started are
    /// revoked; started ones are lost. Child runs follow.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when the other cell lives after all, or another one was faster.
    pub async fn adopt(
        &self,
        from: &CellStore,
        run: &ObjectKey,
        due_row: &RowKey,
        region: &str,
    ) -> Result<Adoption, CellError> {
        if !super::apply::is_run(&run.kind) {
            // Work on what was deleted: anybody can do it.
            let theirs = Op::Delete { key: due_row.clone(), pre: Pre::Present, last: None };
            self.commit("due_adopt", vec![theirs, due::put(self.cell(), run, 0)]).await?;
            return Ok(Adoption::Taken);
        }
        let rows = BTreeSet::from([due_row.clone()]);
        let view = match from.run_view(run, &Wanted::default(), &rows).await? {
            Look::Found(view) => view,
            Look::Gone(due) => {
                from.due_consume(run, &due, &BTreeSet::new()).await?;
                return Ok(Adoption::NotTheirs);
            }
        };
        if meta::annotation(&view.run.value, CELL) != Some(from.cell()) {
            from.due_consume(run, &view.due, &BTreeSet::new()).await?;
            return Ok(Adoption::NotTheirs);
        }
        if !self.may_take(&view.run, region).await? {
            return Ok(Adoption::Pinned);
        }
        self.take(from, &view, region).await?;
        Ok(Adoption::Taken)
    }

    /// Children first: as long as the run itself is the other cell's, all of this is repeated.
    fn take<'a>(
        &'a self,
        from: &'a CellStore,
        view: &'a View,
        region: &'a str,
    ) -> BoxFuture<'a, Result<(), CellError>> {
        Box::pin(async move {
            let mut ops = vec![replace(&view.run, &self.moved(&view.run.value, region))];
            for child in &view.owned {
                if super::apply::is_run(&child.key.kind) {
                    let look = from.run_view(&child.key, &Wanted::default(), &BTreeSet::new()).await?;
                    if let Look::Found(view) = look
                        && meta::annotation(&view.run.value, CELL) == Some(from.cell())
                    {
                        self.take(from, &view, region).await?;
                    }
                } else {
                    self.take_child(view, child, region, &mut ops);
                }
            }
            ops.extend(view.due.iter().map(|(key, revision)| Op::Delete {
                key: key.clone(),
                pre: Pre::Rev(*revision),
                last: None,
            }));
            ops.push(due::put(self.cell(), &view.run.key, 0));
            self.commit("run_adopt", ops).await.map(drop)
        })
    }

    fn take_child(&self, view: &View, child: &Seen, region: &str, ops: &mut Vec<Op>) {
        match view.attempt(meta::uid(&child.value)) {
            Some((attempt, revision)) if matches!(attempt.phase, Phase::Free | Phase::Claimed) => {
                ops.push(set_phase(attempt, *revision, Phase::Revoked));
                ops.push(remove(child));
            }
            Some((attempt, revision)) if attempt.phase == Phase::Started => {
                ops.push(set_phase(attempt, *revision, Phase::Lost));
                ops.push(replace(child, &self.moved(&child.value, region)));
            }
            _ => ops.push(replace(child, &self.moved(&child.value, region))),
        }
    }

    /// Neither the run's own wishes nor the residency of its tenant and its namespace are against this cell's region.
    async fn may_take(&self, run: &Seen, region: &str) -> Result<bool, CellError> {
        let (tenant, name) = (run.key.tenant.clone(), run.key.namespace.clone());
        let namespace = ObjectKey { tenant, kind: "namespaces".into(), namespace: String::new(), name };
        let reads = vec![Read::Get(tenant::row(&run.key.tenant)), Read::Get(namespace.row())];
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
        let Ok(namespaces) = namespaces else { return Ok(false) };
        let residency = Residency::from(tenants).and(&namespaces);
        let annotations = run.value["metadata"]["annotations"].as_object().into_iter().flatten();
        let annotations: BTreeMap<String, String> =
            annotations.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        let now_us = self.host().clock.utc().0;
        let here = CellView {
            cell: self.cell().to_owned(),
            region: region.to_owned(),
            heard_us: now_us,
            draining: false,
            machines: 0,
            machines_max: 1,
        };
        let request = Request::parse(&annotations, residency);
        Ok(request.is_ok_and(|request| placement::place(&request, &[here], now_us, 0).is_ok()))
    }

    fn moved(&self, object: &Value, region: &str) -> Value {
        let mut new = object.clone();
        let epoch = epoch_of(object) + 1;
        meta::set_annotation(&mut new, CELL, self.cell());
        meta::set_annotation(&mut new, REGION, region);
        meta::set_annotation(&mut new, EPOCH, epoch.to_string());
        new
    }

    /// This store as another cell of the Home sees it, for reading what that one left.
    pub fn as_cell(&self, cell: &str) -> CellStore {
        CellStore { cell: cell.to_owned(), ..self.clone() }
    }
}
