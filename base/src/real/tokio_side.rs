//! Clock, jobs and entropy of this operating system.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngCore;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::host::{BoxFuture, Clock, Entropy, Jobs, Mono, Utc};

/// CLOCK_REALTIME and CLOCK_BOOTTIME.
pub struct RealClock;

impl Clock for RealClock {
    fn utc(&self) -> Utc {
        let now = clock_gettime(ClockId::Realtime);
        Utc(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
    }

    fn mono(&self) -> Mono {
        let now = clock_gettime(ClockId::Boottime);
        Mono(u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).unwrap_or(0))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the real side of the seam")]
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Bytes of each thread's cryptographic generator, which the kernel seeds again and again: an id costs no system call.
pub struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// Jobs on tokio: named, counted, and stopped together.
///
/// A panic in a job is a bug: the process reports it through its panic hook, and [`RealJobs::panicked`] ends,
/// so that `main` can stop instead of going on crippled.
#[derive(Default)]
pub struct RealJobs {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    live: Mutex<Live>,
    left: Notify,
    panicked: Notify,
}

#[derive(Default)]
struct Live {
    next: u64,
    closed: bool,
    jobs: BTreeMap<u64, (&'static str, Option<AbortHandle>)>,
}

impl RealJobs {
    /// How many jobs of each name are running, for `/statusz`.
    pub fn running(&self) -> BTreeMap<&'static str, usize> {
        let mut out = BTreeMap::new();
        for (name, _) in self.state.live().jobs.values() {
            *out.entry(*name).or_default() += 1;
        }
        out
    }

    /// Ends when a job has panicked.
    pub async fn panicked(&self) {
        self.state.panicked.notified().await;
    }

    /// Takes no more jobs, cancels those that run, waits for them to leave, and names whoever is late.
    pub async fn shutdown(&self, grace: Duration) -> Vec<&'static str> {
        {
            let mut live = self.state.live();
            live.closed = true;
            live.jobs.values().filter_map(|(_, handle)| handle.as_ref()).for_each(AbortHandle::abort);
        }
        let all_left = async {
            loop {
                let left = self.state.left.notified();
                if self.state.live().jobs.is_empty() {
                    return;
                }
                left.await;
            }
        };
        match crate::host::race(all_left, RealClock.sleep(grace)).await {
            crate::host::Either::Left(()) => Vec::new(),
            crate::host::Either::Right(()) => {
                self.state.live().jobs.values().map(|(name, _)| *name).collect()
            }
        }
    }
}

impl State {
    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a job off the list when it ends, is cancelled, or panics.
struct Leave(Arc<State>, u64);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.live().jobs.remove(&self.1);
        self.0.left.notify_waiters();
        if std::thread::panicking() {
            self.0.panicked.notify_one();
        }
    }
}

impl Jobs for RealJobs {
    #[allow(clippy::disallowed_methods, reason = "this is the real side of the seam")]
    fn spawn(&self, name: &'static str, job: BoxFuture<'static, ()>) {
        let mut live = self.state.live();
        if live.closed {
            return;
        }
        let id = live.next;
        live.next += 1;
        live.jobs.insert(id, (name, None));
        drop(live);
        let leave = Leave(self.state.clone(), id);
        let handle = tokio::spawn(async move {
            let _leave = leave;
            job.await;
        });
        if let Some(entry) = self.state.live().jobs.get_mut(&id) {
            entry.1 = Some(handle.abort_handle());
        }
    }
}
