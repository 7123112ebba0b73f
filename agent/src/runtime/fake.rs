//! A runtime without containers: what happens to the pod is told from outside. For tests and the simulated world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::host::{BoxFuture, Mono};
use k8s_openapi::api::core::v1::PodStatus;
use protocol::order::Order;
use tokio::sync::watch;

use super::{LogChunk, PodRuntime, Prepared, Seen};

/// A pod that does what it is told to have done.
pub struct Fake {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// What a [`Fake`] was asked, and what it shows.
#[derive(Default)]
pub struct State {
    /// The Order, once it is being prepared.
    pub order: Option<Arc<Order>>,
    /// How preparing ends; until then it goes on.
    pub prepared: Option<Prepared>,
    /// How often the containers were told to start: more than once is a broken promise.
    pub goes: u32,
    /// Graces of the stops that were asked.
    pub stops: Vec<u64>,
    /// Annotations that were last shown.
    pub annotations: BTreeMap<String, String>,
    /// End of the lease that was last given: whoever plays the pod ends it then.
    pub leased: Option<Mono>,
    /// Whether every trace was removed.
    pub removed: bool,
    status: PodStatus,
    logs: BTreeMap<String, (Vec<u8>, bool)>,
}

impl Default for Fake {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(1) }
    }
}

impl Fake {
    /// What it was asked and shows.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state());
        self.changed.send_modify(|n| *n += 1);
    }

    /// Ends the preparation.
    pub fn prepare_ends(&self, prepared: Prepared) {
        self.change(|state| state.prepared = Some(prepared));
    }

    /// The pod has this status now.
    pub fn show(&self, status: PodStatus) {
        self.change(|state| state.status = status);
    }

    /// A container has said this; with `complete` it says no more.
    pub fn say(&self, container: &str, bytes: &[u8], complete: bool) {
        self.change(|state| {
            let log = state.logs.entry(container.to_owned()).or_default();
            log.0.extend_from_slice(bytes);
            log.1 = complete;
        });
    }

    /// Completes when its state is as wanted.
    pub async fn until(&self, wanted: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        while !wanted(&self.state()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl PodRuntime for Fake {
    fn capabilities(&self) -> BTreeMap<String, String> {
        let lease = protocol::message::CAPABILITY_LEASE.to_owned();
        BTreeMap::from([("runtime".to_owned(), "fake".to_owned()), (lease, "true".to_owned())])
    }

    fn prepare(&self, order: Arc<Order>) -> BoxFuture<'_, Prepared> {
        Box::pin(async move {
            self.change(|state| state.order = Some(order));
            self.until(|state| state.prepared.is_some()).await;
            let prepared = self.state().prepared;
            prepared.unwrap_or(Prepared::Stuck)
        })
    }

    fn go(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.change(|state| state.goes += 1) })
    }

    fn seen(&self) -> Seen {
        let change = *self.changed.borrow();
        Seen { change, status: self.state().status.clone(), timings: BTreeMap::new() }
    }

    fn changed(&self, seen: u64) -> BoxFuture<'_, ()> {
        let mut changes = self.changed.subscribe();
        Box::pin(async move { drop(changes.wait_for(|n| *n > seen).await) })
    }

    fn log(&self, container: &str, offset: u64) -> LogChunk {
        let state = self.state();
        let Some((bytes, complete)) = state.logs.get(container) else { return LogChunk::default() };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        LogChunk { bytes: bytes[from..].to_vec(), complete: *complete }
    }

    fn log_grown<'a>(&'a self, container: &'a str, offset: u64) -> BoxFuture<'a, ()> {
        Box::pin(self.until(move |state| {
            state
                .logs
                .get(container)
                .is_some_and(|(bytes, complete)| bytes.len() as u64 > offset || *complete)
        }))
    }

    fn lease(&self, until: Mono) {
        self.change(|state| state.leased = state.leased.max(Some(until)));
    }

    fn annotate(&self, annotations: &BTreeMap<String, String>) {
        self.change(|state| state.annotations = annotations.clone());
    }

    fn stop(&self, grace_ms: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.change(|state| state.stops.push(grace_ms)) })
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.change(|state| state.removed = true) })
    }
}
