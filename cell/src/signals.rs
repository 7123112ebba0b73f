//! Wakes requests that wait for one attempt or one log of this process. A hint like every bell: whoever waits
//! looks before it waits, and looks again after a while in any case.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Signals by name.
#[derive(Default)]
pub struct Signals {
    waiting: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl Signals {
    /// The signal of `name`. Ask for its `notified()` (and `enable` it) before looking at what it is about.
    pub fn of(&self, name: &str) -> Arc<Notify> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(name.to_owned()).or_default().clone()
    }

    /// Wakes all that wait for `name`.
    pub fn ring(&self, name: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = waiting.get(name) {
            signal.notify_waiters();
            if Arc::strong_count(signal) == 1 {
                waiting.remove(name);
            }
        }
    }
}
