//! Which store the processes of an installation share, as `--store` names it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::host::Host;
use store::backend::Store;

/// Arguments that say where the store is.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArguments {
    /// `embedded` (a file in the data folder, for one process), `spanner-emulator` (an emulator of its own, which is
    /// gone with this process) or `spanner://projects/P/instances/I/databases/D`.
    #[arg(long, default_value = "embedded", env = "CELLA_STORE")]
    pub store: String,
    /// HOST:PORT of a Spanner emulator; without it a `spanner://` store is Google's, with the credentials of the
    /// environment.
    #[arg(long, env = "SPANNER_EMULATOR_HOST")]
    pub spanner_emulator: Option<String>,
    /// HOST:PORT of the emulator's REST side; ten ports above the other one if it is not given.
    #[arg(long, env = "SPANNER_EMULATOR_REST")]
    pub spanner_emulator_rest: Option<String>,
    /// Makes every commit so many milliseconds longer: for measuring how many stand one behind another.
    #[arg(long, hide = true, default_value_t = 0)]
    pub commit_delay_ms: u64,
}

impl Default for StoreArguments {
    fn default() -> Self {
        Self {
            store: EMBEDDED.into(),
            spanner_emulator: None,
            spanner_emulator_rest: None,
            commit_delay_ms: 0,
        }
    }
}

/// Store of one process.
const EMBEDDED: &str = "embedded";
/// Store with an emulator of our own.
#[cfg(feature = "spanner")]
const EMULATOR: &str = "spanner-emulator";
/// Beginning of a database's name.
#[cfg(not(feature = "spanner"))]
const SPANNER: &str = "spanner";

/// An open store.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// How other processes reach the same store; `None`: they cannot.
    pub shared: Option<StoreArguments>,
    /// Process ids of an emulator of our own, the one that holds the data first.
    pub emulator: Vec<u32>,
    /// What must live as long as the store.
    _keeps: Option<Arc<dyn Send + Sync>>,
}

/// Opens the store. A database of an emulator is made if it is not there.
///
/// # Errors
/// Says what is wrong with the name, the database or the folder.
pub async fn open(arguments: &StoreArguments, data: &Path, host: &Host) -> Result<Opened> {
    let mut opened = if arguments.store == EMBEDDED {
        let store = store::embedded::open(&data.join("home"), host).context("cannot open the store")?;
        Opened { store, shared: None, emulator: Vec::new(), _keeps: None }
    } else {
        spanner_open(arguments, host).await?
    };
    if arguments.commit_delay_ms > 0 {
        let longer = Duration::from_millis(arguments.commit_delay_ms);
        opened.store = store::slow::Slow::new(opened.store, host.clone(), longer);
    }
    Ok(opened)
}

/// Brings the schema of a `spanner://` store up to date; says what it did.
///
/// # Errors
/// Says what Spanner said.
pub async fn migrate(arguments: &StoreArguments, host: &Host) -> Result<String> {
    anyhow::ensure!(
        arguments.store != EMBEDDED,
        "the embedded store needs no migration; name a database with --store spanner://projects/P/instances/I/databases/D"
    );
    spanner_migrate(arguments, host).await
}

#[cfg(feature = "spanner")]
async fn spanner_open(arguments: &StoreArguments, host: &Host) -> Result<Opened> {
    if arguments.store == EMULATOR {
        let emulator = spanner::emulator::start(host).await?;
        let settings = emulator.database("cella", "global")?;
        spanner::schema::migrate(&settings, host).await?;
        let store = spanner::open(&settings, host).await?;
        let shared = StoreArguments {
            store: settings.url(),
            spanner_emulator: Some(emulator.address.grpc.clone()),
            spanner_emulator_rest: Some(emulator.address.rest.clone()),
            commit_delay_ms: arguments.commit_delay_ms,
        };
        let pids = emulator.processes();
        return Ok(Opened { store, shared: Some(shared), emulator: pids, _keeps: Some(Arc::new(emulator)) });
    }
    let settings = settings(arguments)?;
    if settings.emulator.is_some() {
        spanner::schema::migrate(&settings, host).await?;
    }
    let store = spanner::open(&settings, host).await?;
    Ok(Opened { store, shared: Some(arguments.clone()), emulator: Vec::new(), _keeps: None })
}

#[cfg(feature = "spanner")]
async fn spanner_migrate(arguments: &StoreArguments, host: &Host) -> Result<String> {
    let settings = settings(arguments)?;
    let (had, has) = (spanner::schema::migrate(&settings, host).await?, spanner::schema::VERSION);
    Ok(if had == has {
        format!("{} has schema version {has}; nothing was to be done", settings.database)
    } else {
        format!("{} had schema version {had} and now has {has}", settings.database)
    })
}

#[cfg(feature = "spanner")]
fn settings(arguments: &StoreArguments) -> Result<spanner::Settings> {
    let settings = spanner::Settings::parse(&arguments.store)?;
    Ok(match &arguments.spanner_emulator {
        Some(grpc) => settings.in_emulator(grpc, arguments.spanner_emulator_rest.as_deref())?,
        None => settings,
    })
}

#[cfg(not(feature = "spanner"))]
async fn spanner_open(arguments: &StoreArguments, _host: &Host) -> Result<Opened> {
    Err(without(arguments))
}

#[cfg(not(feature = "spanner"))]
async fn spanner_migrate(arguments: &StoreArguments, _host: &Host) -> Result<String> {
    Err(without(arguments))
}

#[cfg(not(feature = "spanner"))]
fn without(arguments: &StoreArguments) -> anyhow::Error {
    if arguments.store.starts_with(SPANNER) {
        return anyhow::anyhow!(
            "this cella was built without the Spanner back end; build it with `cargo build --package cli --features spanner`"
        );
    }
    anyhow::anyhow!(
        "{:?} is no store; write embedded, spanner-emulator or spanner://projects/P/instances/I/databases/D",
        arguments.store
    )
}
