//! What an agent needs of whatever runs its pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::host::{BoxFuture, Mono};
use k8s_openapi::api::core::v1::PodStatus;
use protocol::order::Order;

#[cfg(feature = "fake")]
pub mod fake;

/// Runs one pod. A pod goes forward only: prepared, started, ended, removed.
///
/// Level-triggered: whoever watches asks for the state of now and for the next change, and misses nothing that
/// matters by being slow.
pub trait PodRuntime: Send + Sync {
    /// What this machine offers, for the cell's log and for people.
    fn capabilities(&self) -> BTreeMap<String, String>;
    /// Pulls images, makes volumes, creates containers; runs nothing of the user's. What fails shows in the
    /// status (`ImagePullBackOff`, `CreateContainerConfigError`).
    fn prepare(&self, order: Arc<Order>) -> BoxFuture<'_, Prepared>;
    /// Starts all containers in the Pod's order. Called once, after the start gate.
    fn go(&self) -> BoxFuture<'_, ()>;
    /// What is known now.
    fn seen(&self) -> Seen;
    /// Completes when [`Seen::change`] is above `seen`.
    fn changed(&self, seen: u64) -> BoxFuture<'_, ()>;
    /// Bytes of a container's log (CRI format) from `offset`; as many as are there, up to a bound.
    fn log(&self, container: &str, offset: u64) -> LogChunk;
    /// Completes when [`PodRuntime::log`] has more for `offset` than nothing, or the log is complete.
    fn log_grown<'a>(&'a self, container: &'a str, offset: u64) -> BoxFuture<'a, ()>;
    /// Everything of the pod ends at this moment of the boot clock, unless a later one is given before: by something
    /// that does not need the agent to be alive or awake.
    fn lease(&self, until: Mono);
    /// Shows these annotations in downward volumes.
    fn annotate(&self, annotations: &BTreeMap<String, String>);
    /// Ends all containers that run and starts none: TERM, and KILL after `grace_ms`. Completes when all ended.
    fn stop(&self, grace_ms: u64) -> BoxFuture<'_, ()>;
    /// Ends whatever is left and removes every trace.
    fn remove(&self) -> BoxFuture<'_, ()>;
}

/// How preparing ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prepared {
    /// Everything is created and waits for the gate.
    Ready,
    /// It cannot be run; the status says why.
    Stuck,
    /// What was to run it is gone, and nothing of the user's has begun: another machine may do it.
    Lost,
}

/// A pod at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Counts changes.
    pub change: u64,
    /// As a kubelet would give it.
    pub status: PodStatus,
    /// Instants that the runtime knows, µs since 1970: `pulled`, `created`, `first_step`.
    pub timings: BTreeMap<String, i64>,
}

/// Part of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogChunk {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Nothing will follow these bytes.
    pub complete: bool,
}
