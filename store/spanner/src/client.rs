//! Connections to a database, and who may use them when.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::host::Host;
use google_cloud_auth::credentials::anonymous;
use google_cloud_spanner::builder::SpannerBuilderExt;
use google_cloud_spanner::channel_pool::StaticChannelPoolConfig;
use google_cloud_spanner::client::{DatabaseClient, Spanner};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::settings::Settings;

/// Pause before an emulator's one writer is asked again whether it has done.
const TURN_PAUSE: Duration = Duration::from_millis(1);
/// Transactions of several requests that may be under way at one time in an emulator.
const EMULATOR_CLIENTS: usize = 16;

/// Clients of one database.
pub(crate) struct Clients {
    /// How long anything may take.
    pub(crate) deadline: Duration,
    spanner: Spanner,
    database: String,
    /// For reads of a single request, which never stand in one another's way.
    plain: DatabaseClient,
    pool: Option<Arc<Pool>>,
}

/// The emulator breaks transactions of several requests that share a client (which has one multiplexed session), and
/// aborts read-write transactions that meet: each gets a client of its own here, and of the latter there is one at a
/// time, in all processes of this host together. Without that, six processes that all ask again and again abort one
/// another for minutes on a busy host.
struct Pool {
    host: Host,
    /// What stands for the one that writes: a name of the kernel's, which goes with the process that has it.
    turn: Option<SocketAddr>,
    slots: Arc<Semaphore>,
    writer: Arc<Semaphore>,
    free: Mutex<Vec<DatabaseClient>>,
}

/// A client for one transaction of several requests.
pub(crate) struct Lease {
    pub(crate) client: DatabaseClient,
    back: Option<Arc<Pool>>,
    _permits: Vec<OwnedSemaphorePermit>,
    _turn: Option<UnixListener>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pool) = self.back.take() {
            pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.client.clone());
        }
    }
}

/// Google's crates are built without a provider of cryptography of their own: the rest of us has one already. They look
/// for it when a client is made, also of an emulator without TLS.
pub(crate) fn cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Clients {
    /// Connects; in words if it cannot.
    pub(crate) async fn connect(settings: &Settings, host: &Host) -> Result<Self, String> {
        cryptography();
        let mut builder = Spanner::builder();
        if let Some(emulator) = &settings.emulator {
            builder = builder
                .with_endpoint(format!("http://{}", emulator.grpc))
                .with_credentials(anonymous::Builder::new().build())
                .with_channel_pool(StaticChannelPoolConfig::new(1));
        }
        let database = settings.database.to_string();
        let connect = async {
            let spanner = builder.build().await.map_err(|e| e.to_string())?;
            let plain = spanner.database_client(database.clone()).build().await.map_err(|e| e.to_string())?;
            Ok::<_, String>((spanner, plain))
        };
        let connected = host.within(settings.deadline, connect).await;
        let (spanner, plain) = connected.map_err(|_| "it does not answer in time".to_owned())??;
        let pool = settings.emulator.as_ref().map(|emulator| {
            let turn = format!("cella emulator {} {}", emulator.grpc, settings.database);
            Arc::new(Pool {
                host: host.clone(),
                turn: SocketAddr::from_abstract_name(turn).ok(),
                slots: Arc::new(Semaphore::new(EMULATOR_CLIENTS)),
                writer: Arc::new(Semaphore::new(1)),
                free: Mutex::default(),
            })
        });
        Ok(Self { deadline: settings.deadline, spanner, database, plain, pool })
    }

    /// For reads of a single request.
    pub(crate) fn plain(&self) -> &DatabaseClient {
        &self.plain
    }

    /// For a read-only transaction.
    pub(crate) async fn reader(&self) -> google_cloud_spanner::Result<Lease> {
        self.lease(false).await
    }

    /// For a read-write transaction.
    pub(crate) async fn writer(&self) -> google_cloud_spanner::Result<Lease> {
        self.lease(true).await
    }

    async fn lease(&self, writes: bool) -> google_cloud_spanner::Result<Lease> {
        let Some(pool) = &self.pool else {
            return Ok(Lease { client: self.plain.clone(), back: None, _permits: Vec::new(), _turn: None });
        };
        let mut permits = Vec::new();
        for semaphore in writes.then_some(&pool.writer).into_iter().chain([&pool.slots]) {
            permits.extend(semaphore.clone().acquire_owned().await.ok());
        }
        let turn = if writes { pool.turn().await } else { None };
        let free = pool.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let client = match free {
            Some(client) => client,
            None => self.spanner.database_client(self.database.clone()).build().await?,
        };
        Ok(Lease { client, back: Some(pool.clone()), _permits: permits, _turn: turn })
    }
}

impl Pool {
    /// Waits until no other process of this host writes.
    async fn turn(&self) -> Option<UnixListener> {
        let name = self.turn.as_ref()?;
        loop {
            match UnixListener::bind_addr(name) {
                Ok(turn) => return Some(turn),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    self.host.clock.sleep(TURN_PAUSE).await;
                }
                // It aborts then, as it would have without.
                Err(_) => return None,
            }
        }
    }
}
