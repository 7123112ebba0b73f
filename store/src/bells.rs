//! Bells of one process: who waits for a partition is woken when something is written there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base::host::BoxFuture;
use tokio::sync::Notify;

use crate::backend::{Bell, Op, Table};

/// Who waits for a partition.
type Waiting = BTreeMap<(Table, String), Vec<Weak<Notify>>>;

/// All bells of a back end.
#[derive(Default)]
pub struct Bells {
    waiting: Mutex<Waiting>,
}

struct Subscription(Arc<Notify>);

impl Bell for Subscription {
    fn rung(&mut self) -> BoxFuture<'_, ()> {
        // `notify_one` keeps one ring for a subscriber that is not waiting at the moment.
        Box::pin(self.0.notified())
    }
}

impl Bells {
    /// A bell that rings for `partition`.
    pub fn subscribe(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        let notify = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let list = waiting.entry((table, partition.to_owned())).or_default();
        list.retain(|other| other.strong_count() > 0);
        list.push(Arc::downgrade(&notify));
        Box::new(Subscription(notify))
    }

    /// Wakes whoever waits for `partition`.
    pub fn ring(&self, table: Table, partition: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (table, partition.to_owned());
        let Some(list) = waiting.get_mut(&key) else { return };
        list.retain(|notify| notify.upgrade().inspect(|n| n.notify_one()).is_some());
        if list.is_empty() {
            waiting.remove(&key);
        }
    }

    /// Rings for everything that transactions wrote, once for each partition.
    pub fn ring_for<'a>(&self, ops: impl IntoIterator<Item = &'a Op>) {
        let partitions: BTreeSet<_> = ops.into_iter().filter_map(concerns).collect();
        partitions.into_iter().for_each(|(table, partition)| self.ring(table, partition));
    }

    /// Wakes everybody: what was written meanwhile is not known.
    pub fn ring_all(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, list| {
            list.retain(|notify| notify.upgrade().inspect(|n| n.notify_one()).is_some());
            !list.is_empty()
        });
    }
}

/// Where somebody may be waiting for what `op` does. Nobody waits for a Due row to go: whoever looks for work removes
/// it, and would only look once more.
pub fn concerns(op: &Op) -> Option<(Table, &str)> {
    match op {
        Op::Delete { key, .. } if key.table == Table::Due => None,
        Op::Put { key, .. } | Op::Delete { key, .. } => Some((key.table, &key.partition)),
        Op::Check { .. } | Op::Add { .. } => None,
    }
}
