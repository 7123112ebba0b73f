//! Logs in memory: the model of what a sink promises, and the sink of the simulated world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::host::BoxFuture;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{Chunk, LogError, LogId, LogSink};

/// Logs in memory.
#[derive(Default)]
pub struct Memory {
    logs: Mutex<BTreeMap<LogId, Log>>,
    signals: Mutex<BTreeMap<LogId, Arc<Notify>>>,
}

#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    ended: bool,
}

impl Memory {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<LogId, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_pod(&self, tenant: &str, namespace: &str, pod: &str) -> Vec<LogId> {
        let logs = self.logs();
        let of_pod = |id: &&LogId| id.pod == pod && id.namespace == namespace && id.tenant == tenant;
        logs.keys().filter(of_pod).cloned().collect()
    }

    fn finish(&self, log: &LogId) {
        self.logs().entry(log.clone()).or_default().ended = true;
        self.signal(log).notify_waiters();
    }
}

impl LogSink for Memory {
    fn append(&self, log: &LogId, offset: u64, bytes: Bytes) -> BoxFuture<'_, Result<u64, LogError>> {
        let log = log.clone();
        Box::pin(async move {
            let next = {
                let mut logs = self.logs();
                let kept = logs.entry(log.clone()).or_default();
                let next = kept.bytes.len() as u64;
                let known = usize::try_from(next.checked_sub(offset).ok_or(LogError::Gap { next })?);
                let fresh = known.ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
                if !kept.ended {
                    kept.bytes.extend_from_slice(fresh);
                }
                kept.bytes.len() as u64
            };
            self.signal(&log).notify_waiters();
            Ok(next)
        })
    }

    fn read(&self, log: &LogId, offset: u64, max: usize) -> BoxFuture<'_, Result<Option<Chunk>, LogError>> {
        let chunk = self.logs().get(log).map(|kept| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(kept.bytes.len());
            let to = from.saturating_add(max).min(kept.bytes.len());
            let bytes = Bytes::copy_from_slice(&kept.bytes[from..to]);
            Chunk { bytes, ended: kept.ended && to == kept.bytes.len() }
        });
        Box::pin(async move { Ok(chunk) })
    }

    fn end(&self, log: &LogId) -> BoxFuture<'_, Result<(), LogError>> {
        self.finish(log);
        Box::pin(async { Ok(()) })
    }

    fn end_pod(&self, tenant: &str, namespace: &str, pod: &str) -> BoxFuture<'_, Result<(), LogError>> {
        self.of_pod(tenant, namespace, pod).iter().for_each(|log| self.finish(log));
        Box::pin(async { Ok(()) })
    }

    fn remove_pod(&self, tenant: &str, namespace: &str, pod: &str) -> BoxFuture<'_, Result<(), LogError>> {
        for log in self.of_pod(tenant, namespace, pod) {
            self.logs().remove(&log);
            self.signal(&log).notify_waiters();
        }
        Box::pin(async { Ok(()) })
    }

    fn signal(&self, log: &LogId) -> Arc<Notify> {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.entry(log.clone()).or_default().clone()
    }
}
