//! Where the bytes that containers print are kept: files in the CRI format, addressed by (container, offset), so
//! that a repeated chunk changes nothing. They never enter the store.

use std::sync::Arc;

use base::host::BoxFuture;
use bytes::Bytes;
use tokio::sync::Notify;

pub mod files;
pub mod memory;
pub mod serve;

/// Names one container's log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogId {
    /// Tenant.
    pub tenant: String,
    /// Namespace.
    pub namespace: String,
    /// Uid of the Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

/// A part of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The bytes; empty at the end of what is there.
    pub bytes: Bytes,
    /// Nothing follows these bytes, now or later.
    pub ended: bool,
}

/// Why the sink did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Names that cannot be one.
    #[error("not a log: {0}")]
    Name(String),
    /// A chunk from beyond what is there.
    #[error("the log has {next} bytes so far")]
    Gap {
        /// The offset that is expected.
        next: u64,
    },
    /// The disk.
    #[error("the log cannot be kept")]
    Disk(#[from] std::io::Error),
}

/// Keeps logs.
pub trait LogSink: Send + Sync {
    /// Appends bytes whose first one is at `offset`; those that are there already are left out. Answers the offset
    /// that is expected next.
    fn append(&self, log: &LogId, offset: u64, bytes: Bytes) -> BoxFuture<'_, Result<u64, LogError>>;
    /// At most `max` bytes from `offset`; `None`: nothing is known of that log.
    fn read(&self, log: &LogId, offset: u64, max: usize) -> BoxFuture<'_, Result<Option<Chunk>, LogError>>;
    /// Nothing will be added to this log.
    fn end(&self, log: &LogId) -> BoxFuture<'_, Result<(), LogError>>;
    /// Nothing will be added to any log of this Pod.
    fn end_pod(&self, tenant: &str, namespace: &str, pod: &str) -> BoxFuture<'_, Result<(), LogError>>;
    /// Forgets all logs of this Pod.
    fn remove_pod(&self, tenant: &str, namespace: &str, pod: &str) -> BoxFuture<'_, Result<(), LogError>>;
    /// Wakes its waiters when the log has changed.
    fn signal(&self, log: &LogId) -> Arc<Notify>;
}
