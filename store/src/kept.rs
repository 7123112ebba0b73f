//! What was read and is kept until a bell says that it may have changed.
//!
//! For what is asked for with every request and changes a few times a minute. Bells are hints: what must not be stale is
//! checked again by the transaction that relies on it, and nothing is kept long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::host::Mono;
use futures_util::FutureExt;

use crate::backend::Bell;

/// Nothing is kept longer, whatever the bells say.
const AGE_MAX: Duration = Duration::from_secs(5);
/// So many are kept.
const KEPT_MAX: usize = 1024;

/// Values by key.
pub struct Kept<K, V>(Mutex<BTreeMap<K, Entry<V>>>);

struct Entry<V> {
    value: Arc<V>,
    bells: Vec<Box<dyn Bell>>,
    since: Mono,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V> Kept<K, V> {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<K, Entry<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept at `key`, if none of its bells has rung.
    pub fn get(&self, key: &K, now: Mono) -> Option<Arc<V>> {
        let mut entries = self.entries();
        let entry = entries.get_mut(key)?;
        let rung = entry.bells.iter_mut().any(|bell| bell.rung().now_or_never().is_some());
        if rung || now.since(entry.since) >= AGE_MAX {
            entries.remove(key);
            return None;
        }
        Some(entry.value.clone())
    }

    /// Keeps what was read at `since`. The bells must have been hung before it was read: what changes meanwhile rings
    /// them.
    pub fn put(&self, key: K, value: Arc<V>, bells: Vec<Box<dyn Bell>>, since: Mono) {
        let mut entries = self.entries();
        if entries.len() >= KEPT_MAX {
            entries.retain(|_, old| since.since(old.since) < AGE_MAX);
        }
        if entries.len() < KEPT_MAX {
            entries.insert(key, Entry { value, bells, since });
        }
    }

    /// Forgets what is kept at `key`.
    pub fn forget(&self, key: &K) {
        self.entries().remove(key);
    }
}

#[cfg(test)]
mod tests;
