//! What a cell writes about a ResolutionRequest: its status, and a word to the run that waits for it.

use std::collections::BTreeSet;

use apimachinery::meta;
use serde_json::Value;

use super::apply::consume_op;
use super::view::View;
use super::{CELL, CellError, CellStore, owner_key, replace};
use crate::backend::Op;
use crate::records::due;

/// Kind id of ResolutionRequests.
pub const KIND: &str = "resolutionrequests.resolution.tekton.dev";

/// What shall be written about a request.
#[derive(Clone, Debug, Default)]
pub struct RequestWrite {
    /// Its new status; `None`: unchanged.
    pub status: Option<Value>,
    /// When to look again, µs since 1970.
    pub timer_us: Option<i64>,
    /// Timers of it that exist, as far as the caller knows, µs since 1970.
    pub timers_known_us: BTreeSet<i64>,
}

impl CellStore {
    /// Writes about the request of `view`, consumes the rows that made the cell look, and makes the cell of its
    /// owner look at that, if the owner is in the view.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when the request has changed since `view`.
    pub async fn request_apply(&self, view: &View, write: RequestWrite) -> Result<(), CellError> {
        let key = &view.run.key;
        let timer = write.timer_us.map(|at_us| due::key(self.cell(), key, at_us));
        let stays = |row| timer.as_ref() == Some(row);
        let mut ops: Vec<Op> = view.due.iter().filter(|(row, _)| !stays(row)).map(consume_op).collect();
        let others = write.timers_known_us.iter().filter(|at_us| write.timer_us != Some(**at_us));
        ops.extend(self.timers_delete(key, others, &view.due));
        if let Some(at_us) = write.timer_us {
            ops.push(due::put(self.cell(), key, at_us));
        }
        let mut new = view.run.value.clone();
        if let Some(status) = write.status {
            new["status"] = status;
        }
        if new != view.run.value {
            ops.push(replace(&view.run, &new));
            if let Some((owner, _)) = owner_key(&key.tenant, &new) {
                let seen = view.objects.get(&owner).and_then(Option::as_ref);
                let cell = seen.and_then(|seen| meta::annotation(&seen.value, CELL)).unwrap_or(self.cell());
                ops.push(due::put(cell, &owner, 0));
            }
        }
        if ops.is_empty() { Ok(()) } else { self.commit("request_apply", ops).await.map(drop) }
    }
}
