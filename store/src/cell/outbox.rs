//! What a cell has to say to the world outside: messages that were decided together with a run's status, written in
//! the same transaction, and kept until somebody took them. They are rows among the Due rows, so that whatever finds
//! work finds them, at the time that stands in their key.

use std::collections::BTreeSet;

use apimachinery::meta;
use apimachinery::time::Micros;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::apply::{EventWrite, event_key, event_object};
use super::{CellError, CellStore, Seen, key_of};
use crate::backend::{Op, Pre, Read, Revision, RowKey};
use crate::object::{self, ObjectKey};
use crate::records::{self, due};

/// Kind in the key of a row that is a message.
pub const OUTBOX: &str = "outbox";

/// A message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Tells it from others.
    pub id: String,
    /// What it says; whoever sends it knows what that means.
    pub content: Value,
    /// How often sending it was tried.
    pub tries: u32,
    /// When it was written, µs since 1970.
    pub since_us: i64,
}

/// A message with the row that holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The row.
    pub row: RowKey,
    /// Its revision.
    pub revision: Revision,
    /// The message.
    pub message: Message,
}

fn key(run: &ObjectKey, id: &str) -> ObjectKey {
    ObjectKey { kind: OUTBOX.into(), name: format!("{}.{id}", run.name), ..run.clone() }
}

/// The op that keeps a message about `run` until `at_us`, and makes `cell` look at it then.
pub(super) fn put(cell: &str, run: &ObjectKey, message: &Message, at_us: i64) -> Op {
    put_at(due::key(cell, &key(run, &message.id), at_us), message)
}

fn put_at(key: RowKey, message: &Message) -> Op {
    Op::Put { key, pre: Pre::Any, owner: None, body: records::encode(message), prev: None }
}

impl CellStore {
    /// The messages in `rows`.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn outbox_read(&self, rows: &BTreeSet<RowKey>) -> Result<Vec<Held>, CellError> {
        let reads = rows.iter().cloned().map(Read::Get).collect();
        let answers = self.snapshot(reads).await?.answers;
        let held = answers.iter().flat_map(|answer| &answer.rows).map(|row| {
            let message = records::decode(&row.body)?;
            Ok(Held { row: row.key.clone(), revision: row.revision, message })
        });
        held.collect()
    }

    /// Removes a message that was taken, or given up, and says so in an event about `run`.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when somebody else has dealt with it.
    pub async fn outbox_done(&self, held: &Held, run: &Value, event: &EventWrite) -> Result<(), CellError> {
        let tenant = due::parse(&held.row.key).map(|(_, key)| key.tenant).unwrap_or_default();
        let gone = Op::Delete { key: held.row.clone(), pre: Pre::Rev(held.revision), last: None };
        let mut ops = vec![gone];
        if let Some(key) = key_of(&tenant, run) {
            let revision = meta::text(run, "resourceVersion").parse().map_or(Revision(0), Revision);
            let run = Seen { key, value: run.clone(), revision };
            let now = Micros(self.host().clock.utc().0);
            let key = event_key(&run, event);
            ops.push(object::put(&key, Pre::Any, &event_object(&run, &key, event, now), None));
        }
        self.commit("outbox_done", ops).await.map(drop)
    }

    /// Keeps a message that nobody took until `at_us`.
    ///
    /// # Errors
    /// [`CellError::Conflict`] when somebody else has dealt with it.
    pub async fn outbox_again(&self, key: &ObjectKey, held: &Held, at_us: i64) -> Result<(), CellError> {
        let message = Message { tries: held.message.tries + 1, ..held.message.clone() };
        let gone = Op::Delete { key: held.row.clone(), pre: Pre::Rev(held.revision), last: None };
        let ops = vec![gone, put_at(due::key(self.cell(), key, at_us), &message)];
        self.commit("outbox_again", ops).await.map(drop)
    }

    /// Gives a message of a cell that is gone to another one.
    pub(super) async fn outbox_give(&self, key: &ObjectKey, row: &RowKey, to: &str) -> Result<(), CellError> {
        for held in self.outbox_read(&BTreeSet::from([row.clone()])).await? {
            let gone = Op::Delete { key: held.row.clone(), pre: Pre::Rev(held.revision), last: None };
            let now_us = self.host().clock.utc().0;
            let ops = vec![gone, put_at(due::key(to, key, now_us), &held.message)];
            self.commit("outbox_give", ops).await?;
        }
        Ok(())
    }
}
