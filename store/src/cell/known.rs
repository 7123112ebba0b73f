//! What never changes once it was written, remembered: which uid a run has, and what a machine's session is about.
//!
//! It saves round trips and nothing else. Whatever is read by it is read at one moment and compared with what it says
//! itself; an entry that is wrong, because something of that name was made anew, costs one further read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::RowKey;
use crate::object::ObjectKey;

/// More entries than this are not kept: all are forgotten then, and learnt again by reading.
const MAX: usize = 8192;

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

    /// There is no run of this name, or nobody will look at it any more.
    pub(super) fn forget_uid(&self, run: &ObjectKey) {
        lock(&self.uids).remove(run);
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
