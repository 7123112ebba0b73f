//! A queue of keys to look at. A key is never worked on twice at the same time, and a key that is added while it
//! is worked on is worked on once more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue of keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    ready: Notify,
}

struct State<K> {
    waiting: VecDeque<K>,
    keys: BTreeMap<K, Phase>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    RunningAndAgain,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), keys: BTreeMap::new() }),
            ready: Notify::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Asks for `key` to be worked on.
    pub fn add(&self, key: K) {
        let mut state = self.state();
        match state.keys.get(&key).copied() {
            Some(Phase::Waiting | Phase::RunningAndAgain) => {}
            Some(Phase::Running) => {
                state.keys.insert(key, Phase::RunningAndAgain);
            }
            None => {
                state.keys.insert(key.clone(), Phase::Waiting);
                state.waiting.push_back(key);
                drop(state);
                self.ready.notify_one();
            }
        }
    }

    /// The next key. Give it back with [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            {
                let mut state = self.state();
                if let Some(key) = state.waiting.pop_front() {
                    state.keys.insert(key.clone(), Phase::Running);
                    if !state.waiting.is_empty() {
                        // One permit may stand for several keys: pass it on.
                        self.ready.notify_one();
                    }
                    return key;
                }
            }
            self.ready.notified().await;
        }
    }

    /// The work on `key` is over.
    pub fn done(&self, key: &K) {
        let mut state = self.state();
        if state.keys.remove(key) == Some(Phase::RunningAndAgain) {
            state.keys.insert(key.clone(), Phase::Waiting);
            state.waiting.push_back(key.clone());
            drop(state);
            self.ready.notify_one();
        }
    }

    /// How many keys wait and how many are worked on.
    pub fn len(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.keys.len() - state.waiting.len())
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
