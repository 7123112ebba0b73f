//! What never changes once it was written, remembered: which uid a run has, what a machine's session is about, and what
//! a document says at a revision.
//!
//! It saves round trips and nothing else. Whatever is read by it is read at one moment and compared with what it says
//! itself; an entry that is wrong, because something of that name was made anew, costs one further read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Seen;
use crate::backend::RowKey;
use crate::object::ObjectKey;

/// More entries than this are not kept: all are forgotten then, and learnt again by reading.
const MAX: usize = 8192;
/// Documents that belong to runs of fewer are not kept: reading them anew costs little.
const KEPT_FROM: usize = 32;
/// So many documents are kept, of all runs together.
const KEPT_MAX: usize = 4096;

/// The rows that a machine's session is read from, beside the machine's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Subject {
    /// Row of the machine's attempt.
    pub attempt: RowKey,
    /// The attempt's Pod.
    pub pod: ObjectKey,
    /// The attempt's run.
    pub run: ObjectKey,
}

/// The memory of one process.
#[derive(Default)]
pub(super) struct Known {
    uids: Mutex<BTreeMap<ObjectKey, String>>,
    subjects: Mutex<BTreeMap<String, Subject>>,
    /// What a large run owned at the last look at it.
    owned: Mutex<BTreeMap<ObjectKey, Vec<Seen>>>,
}

impl Known {
    /// The uid that the run of this name had last.
    pub(super) fn uid(&self, run: &ObjectKey) -> Option<String> {
        lock(&self.uids).get(run).cloned()
    }

    /// The run of this name has this uid.
    pub(super) fn learn_uid(&self, run: &ObjectKey, uid: &str) {
        let mut uids = lock(&self.uids);
        if uids.get(run).is_none_or(|known| known != uid) {
            room(&mut uids).insert(run.clone(), uid.to_owned());
        }
    }

    /// There is no run of this name.
    pub(super) fn forget_run(&self, run: &ObjectKey) {
        lock(&self.uids).remove(run);
        lock(&self.owned).remove(run);
    }

    /// What `run` owned at the last look, if it was kept. It is not kept any more: whoever looks gives it back.
    pub(super) fn take_owned(&self, run: &ObjectKey) -> BTreeMap<ObjectKey, Seen> {
        let owned = lock(&self.owned).remove(run).unwrap_or_default();
        owned.into_iter().map(|seen| (seen.key.clone(), seen)).collect()
    }

    /// Keeps what `run` owns for the next look, if it is much.
    pub(super) fn keep_owned(&self, run: ObjectKey, owned: Vec<Seen>) {
        if owned.len() < KEPT_FROM {
            return;
        }
        let mut all = lock(&self.owned);
        if all.values().map(Vec::len).sum::<usize>() + owned.len() > KEPT_MAX {
            all.clear();
        }
        all.insert(run, owned);
    }

    /// What the session of this machine is about.
    pub(super) fn subject(&self, machine: &str) -> Option<Subject> {
        lock(&self.subjects).get(machine).cloned()
    }

    /// The session of this machine is about this.
    pub(super) fn learn_subject(&self, machine: &str, subject: Subject) {
        room(&mut lock(&self.subjects)).insert(machine.to_owned(), subject);
    }

    /// The machine is gone.
    pub(super) fn forget_subject(&self, machine: &str) {
        lock(&self.subjects).remove(machine);
    }
}

fn room<K: Ord, V>(map: &mut BTreeMap<K, V>) -> &mut BTreeMap<K, V> {
    if map.len() >= MAX {
        map.clear();
    }
    map
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
