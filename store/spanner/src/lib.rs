//! The Spanner back end of the store, on Google's own client.
//!
//! **For:** `cella` built with the feature `spanner` (several gateways and cells share one Home), tests and drills.
//! **May use:** store, base.
//! **Invariants:** a transaction is one read-write transaction of Spanner; what it looks at is read by key and what it
//! changes are mutations, never SQL; everything has a deadline; an outcome that is not known is said to be unknown;
//! nothing here compares a commit timestamp with a local clock.
//! **Read in this order:** [`settings`], `schema/0001.sql`, [`schema`], `plan` (what a transaction writes, pure),
//! `write`, `read`, `doorbell`, [`emulator`].

mod client;
mod doorbell;
pub mod emulator;
mod plan;
mod read;
mod rows;
pub mod schema;
pub mod settings;
mod write;

use std::sync::Arc;

use base::host::{BoxFuture, Host};
use store::backend::{
    At, Backend, Bell, Changes, Committed, Read, ReadError, RequestId, Revision, Settled, Snapshot, Table,
    Txn, TxnError,
};
use store::bells::Bells;
use tokio::sync::oneshot;

use client::Clients;
pub use settings::Settings;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Spanner does not answer, or refuses.
    #[error("the database {database} cannot be used: {why}")]
    Unusable {
        /// Its full name.
        database: String,
        /// What Spanner said.
        why: String,
    },
    /// The schema is not the one that this program knows.
    #[error(
        "the database {database} has schema version {found}, and this program needs {wanted}; run `cella store migrate` of the newer program"
    )]
    Schema {
        /// Its full name.
        database: String,
        /// What it has; 0: none.
        found: i64,
        /// What is needed.
        wanted: i64,
    },
}

/// A store of one Home in a Spanner database.
pub struct Spanner {
    clients: Arc<Clients>,
    bells: Arc<Bells>,
    host: Host,
    /// Says who rang a bell: our own are rung without Spanner's help.
    writer: String,
    _open: oneshot::Sender<()>,
}

/// Opens the store in a database whose schema is up to date (see [`schema::migrate`]).
///
/// # Errors
/// [`OpenError`] says what is wrong with the database.
pub async fn open(settings: &Settings, host: &Host) -> Result<Arc<Spanner>, OpenError> {
    let unusable = |why: String| OpenError::Unusable { database: settings.database.to_string(), why };
    let clients = Arc::new(Clients::connect(settings, host).await.map_err(unusable)?);
    let found = schema::version(&clients).await.map_err(unusable)?;
    if found != schema::VERSION {
        let (database, wanted) = (settings.database.to_string(), schema::VERSION);
        return Err(OpenError::Schema { database, found, wanted });
    }
    let bells = Arc::new(Bells::default());
    let writer = format!("{:032x}", host.id());
    let (open, closed) = oneshot::channel();
    let listener = doorbell::Listener {
        clients: clients.clone(),
        bells: bells.clone(),
        host: host.clone(),
        writer: writer.clone(),
        emulated: settings.emulator.is_some(),
    };
    host.spawn("doorbell", async move {
        base::host::race(closed, listener.run()).await;
    });
    Ok(Arc::new(Spanner { clients, bells, host: host.clone(), writer, _open: open }))
}

impl Backend for Spanner {
    fn snapshot(&self, at: At, reads: Vec<Read>) -> BoxFuture<'_, Result<Snapshot, ReadError>> {
        Box::pin(self.in_time(read::snapshot(&self.clients, at, reads)))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        assert!(txn.ops.len() <= Revision::ORDINALS as usize, "a transaction has at most 512 parts");
        Box::pin(async move {
            let slot = i64::try_from(self.host.id() % plan::BELL_SLOTS).unwrap_or(0);
            let bell = plan::Bell { slot, writer: self.writer.clone() };
            let ops = Arc::new(txn.ops);
            let plan = plan::Plan { id: txn.id, name: txn.name, ops: ops.clone(), bell };
            let done = write::transaction(&self.clients, &self.host, plan).await;
            // Of an unknown outcome as well: a ring too many is harmless.
            if matches!(done, Ok(_) | Err(TxnError::Unknown)) {
                self.bells.ring_for(ops.iter());
            }
            done
        })
    }

    fn settle(&self, id: RequestId) -> BoxFuture<'_, Result<Settled, ReadError>> {
        Box::pin(self.in_time(write::settle(&self.clients, id)))
    }

    fn changes(
        &self,
        scope: &str,
        after: Revision,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ReadError>> {
        let scope = scope.to_owned();
        Box::pin(self.in_time(read::changes(&self.clients, scope, after, limit)))
    }

    fn bell(&self, table: Table, partition: &str) -> Box<dyn Bell> {
        self.bells.subscribe(table, partition)
    }

    fn trim(&self, micros: i64) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.in_time(write::trim(&self.clients, micros)))
    }

    fn counter(&self, name: &str) -> BoxFuture<'_, Result<i64, ReadError>> {
        let name = name.to_owned();
        Box::pin(self.in_time(read::counter(&self.clients, name)))
    }
}

impl Spanner {
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
        let late = |_| ReadError::Unavailable("Spanner has not answered in time".into());
        self.host.within(self.clients.deadline, work).await.map_err(late)?
    }
}
