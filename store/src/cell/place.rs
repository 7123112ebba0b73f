//! Adopting runs of a cell that is gone: a new cell and a higher epoch on the run, so that the old cell's writes
//! fail from then on.

use std::collections::BTreeSet;

use apimachinery::meta;
use serde_json::Value;

use super::pods::set_phase;
use super::view::{Look, View, Wanted};
use super::{CELL, CellError, CellStore, EPOCH, REGION, epoch_of, remove, replace};
use crate::backend::{Op, Pre, RowKey};
use crate::object::ObjectKey;
use crate::records::attempt::Phase;
use crate::records::due;

impl CellStore {
    /// Takes over `run` from the cell of `from`, whose row `due_row` names it. Attempts that have not started are revoked; started ones are lost. Answers whether it was taken.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when the other cell lives after all, or another one was faster.
    pub async fn adopt(
        &self,
        from: &CellStore,
        run: &ObjectKey,
        due_row: &RowKey,
        region: &str,
    ) -> Result<bool, CellError> {
        let rows = BTreeSet::from([due_row.clone()]);
        let view = match from.run_view(run, &Wanted::default(), &rows).await? {
            Look::Found(view) => view,
            Look::Gone(due) => {
                from.due_consume(run, &due, &BTreeSet::new()).await?;
                return Ok(false);
            }
        };
        if meta::annotation(&view.run.value, CELL) != Some(from.cell()) {
            return Ok(false);
        }
        let mut ops = vec![replace(&view.run, &self.moved(&view.run.value, region))];
        for child in &view.owned {
            self.adopt_child(&view, child, region, &mut ops);
        }
        ops.extend(view.due.iter().map(|(key, revision)| Op::Delete {
            key: key.clone(),
            pre: Pre::Rev(*revision),
            last: None,
        }));
        ops.push(due::put(self.cell(), run, 0));
        self.commit("run_adopt", ops).await?;
        Ok(true)
    }

    fn adopt_child(&self, view: &View, child: &super::Seen, region: &str, ops: &mut Vec<Op>) {
        let attempt = view.attempt(meta::uid(&child.value));
        match attempt {
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
        if super::apply::is_run(&child.key.kind) {
            ops.push(due::put(self.cell(), &child.key, 0));
        }
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
