//! The embedded back end: SQLite in one file per Home, owned by one process.
//!
//! One writer thread commits whatever has come in as one SQLite transaction (group commit), so that many writers
//! share one disk sync; a few reader threads answer snapshots; a checkpoint thread copies the log of SQLite into the
//! file without making writers wait, and has the writer begin it anew between two batches when it is long. Nothing
//! here needs an async runtime: answers come through channels.

mod lock;
mod reader;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use base::host::{BoxFuture, Host};
use tokio::sync::oneshot;

use crate::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Table,
    Txn, TxnError,
};
use crate::bells::Bells;

pub use lock::LockError;

/// Threads that answer reads.
const READERS: usize = 3;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The file is not ours, or is damaged.
    #[error("{path} cannot be used: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A store in a folder.
pub struct Embedded {
    write: Option<Sender<writer::Request>>,
    read: Arc<reader::Requests>,
    bells: Arc<Bells>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    _lock: lock::Lock,
}

/// Opens the store in `folder`, or makes one there.
///
/// # Errors
/// [`OpenError`] names the file and says who has it, or what is wrong with it.
pub fn open(folder: &Path, host: &Host) -> Result<Arc<Embedded>, OpenError> {
    let lock = lock::Lock::take(folder)?;
    let path = folder.join("home.db");
    let unusable = |why: String| OpenError::Unusable { path: path.clone(), why };
    let connection = schema::open(&path).map_err(&unusable)?;
    let bells = Arc::new(Bells::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (write, writes) = channel();
    let read = Arc::new(reader::Requests::default());
    let mut threads = Vec::new();
    let mut start = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        thread.map(|t| threads.push(t)).map_err(|e| unusable(e.to_string()))
    };
    let log = Arc::new(schema::Log::default());
    let writer =
        writer::Writer::new(connection, host.clock.clone(), bells.clone(), log.clone()).map_err(&unusable)?;
    start("store-writer", Box::new(move || writer.run(&writes)))?;
    let pool = reader::Pool::new(read.clone(), path.clone(), host.clock.clone());
    for _ in 0..READERS {
        let pool = pool.clone();
        start("store-reader", Box::new(move || pool.run()))?;
    }
    let (file, stopping) = (path.clone(), stop.clone());
    let release = move || pool.release();
    start("store-checkpoint", Box::new(move || schema::checkpoints(&file, &stopping, &log, &release)))?;
    Ok(Arc::new(Embedded { write: Some(write), read, bells, threads, stop, _lock: lock }))
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Closing ends the threads after what they have.
        self.write = None;
        self.read.close();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Embedded {
    async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, ReadError>>) -> reader::Request,
    ) -> Result<T, ReadError> {
        let away = || ReadError::Unavailable("the store is closing".into());
        let (reply, answer) = oneshot::channel();
        if !self.read.add(make(reply)) {
            return Err(away());
        }
        answer.await.map_err(|_| away())?
    }

    async fn tell<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> writer::Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.write.as_ref()?.send(make(reply)).ok()?;
        answer.await.ok()
    }
}

impl Backend for Embedded {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        Box::pin(self.ask(move |reply| reader::Request::Snapshot { at, reads, reply }))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        assert!(txn.ops.len() <= Revision::ORDINALS as usize, "a transaction has at most 512 parts");
        Box::pin(async move {
            let answer = self.tell(|reply| writer::Request::Txn { txn, reply }).await;
            answer.unwrap_or_else(|| Err(TxnError::Unavailable("the store is closing".into())))
        })
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        Box::pin(async move {
            let answer = self.tell(|reply| writer::Request::Settle { id, reply }).await;
            answer.unwrap_or_else(|| Err(ReadError::Unavailable("the store is closing".into())))
        })
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        let scope = scope.to_owned();
        Box::pin(self.ask(move |reply| reader::Request::Changes { scope, after, limit, reply }))
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.bells.subscribe(table, partition)
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let answer = self.tell(|reply| writer::Request::Trim { micros, reply }).await;
            answer.unwrap_or_else(|| Err(ReadError::Unavailable("the store is closing".into())))
        })
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        let name = name.to_owned();
        Box::pin(self.ask(move |reply| reader::Request::Counter { name, reply }))
    }
}

#[cfg(test)]
mod tests;
