//! Machines that only exist in a list: a test, or the simulated world, plays their agents.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::host::BoxFuture;
use tokio::sync::Notify;

use super::{MachineProvider, MachineSpec, MachineState, ProviderError};

/// A provider without machines.
#[derive(Default)]
pub struct Sim {
    state: Mutex<State>,
    changed: Notify,
    created: Notify,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<String, MachineState>,
    fresh: Vec<MachineSpec>,
    refuses: bool,
    keeps: bool,
    most: usize,
}

impl Sim {
    /// The next machine that was created and not yet taken.
    pub async fn taken(&self) -> MachineSpec {
        loop {
            let created = self.created.notified();
            {
                let mut state = self.state();
                if !state.fresh.is_empty() {
                    return state.fresh.remove(0);
                }
            }
            created.await;
        }
    }

    /// The machine stops by itself.
    pub fn exit(&self, id: &str, why: &str) {
        if let Some(state) = self.state().machines.get_mut(id) {
            *state = MachineState::Exited(why.to_owned());
        }
        self.changed.notify_one();
    }

    /// All machines disappear, as those of a server on the same host do when it dies.
    pub fn vanish(&self) {
        let mut state = self.state();
        state.machines.clear();
        state.fresh.clear();
        drop(state);
        self.changed.notify_one();
    }

    /// Whether creation is refused from now on.
    pub fn refuse(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// Whether deletion fails from now on.
    pub fn keep(&self, keeps: bool) {
        self.state().keeps = keeps;
    }

    /// Most machines that there were at one time.
    pub fn most(&self) -> usize {
        self.state().most
    }

    /// The machine is there and has not stopped.
    pub fn is_running(&self, id: &str) -> bool {
        self.state().machines.get(id) == Some(&MachineState::Running)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MachineProvider for Sim {
    fn create(&self, spec: MachineSpec) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.refuses {
                return Err(ProviderError::Exhausted("none left".into()));
            }
            if !state.machines.contains_key(&spec.id) {
                state.machines.insert(spec.id.clone(), MachineState::Running);
                state.most = state.most.max(state.machines.len());
                state.fresh.push(spec);
                self.created.notify_one();
            }
            Ok(())
        })
    }

    fn delete(&self, id: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let id = id.to_owned();
        Box::pin(async move {
            let mut state = self.state();
            if state.keeps {
                return Err(ProviderError::Failed("it cannot be deleted now".into()));
            }
            state.machines.remove(&id);
            state.fresh.retain(|spec| spec.id != id);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<BTreeMap<String, MachineState>, ProviderError>> {
        Box::pin(async move { Ok(self.state().machines.clone()) })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.changed.notified())
    }
}
