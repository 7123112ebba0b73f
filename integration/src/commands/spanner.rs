//! A database in an emulator of our own, where this program is built with the feature `spanner`; and how to build it so.

use std::process::ExitCode;

use anyhow::{Context, Result};
use base::host::Host;
use store::backend::Store;

/// Whether this program has the Spanner back end.
pub const HERE: bool = cfg!(feature = "spanner");

/// Builds this very program with the feature and runs it with the same arguments.
///
/// # Errors
/// When cargo cannot be run.
pub fn again_with_it() -> Result<ExitCode> {
    eprintln!("this needs the Spanner back end: building with it (minutes, the first time)");
    let status = super::cargo_command()
        .args(["run", "--quiet", "--package", "integration", "--features", "spanner", "--bin", "x", "--"])
        .args(std::env::args_os().skip(1))
        .env("CARGO_TARGET_DIR", super::build_dir()?)
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A fresh database.
pub struct Database {
    /// The store in it.
    pub store: Store,
    #[cfg(feature = "spanner")]
    _emulator: spanner::emulator::Emulator,
}

impl Database {
    /// Starts an emulator and makes a database.
    ///
    /// # Errors
    /// Says what to install where there is no emulator.
    #[cfg(feature = "spanner")]
    pub async fn fresh(host: &Host) -> Result<Self> {
        let emulator = spanner::emulator::start(host).await?;
        let settings = emulator.database("cella", "fresh")?;
        spanner::schema::migrate(&settings, host).await?;
        let store = spanner::open(&settings, host).await?;
        Ok(Self { store, _emulator: emulator })
    }

    /// Cannot be had here.
    ///
    /// # Errors
    /// Always: this program has no Spanner back end.
    #[cfg(not(feature = "spanner"))]
    pub async fn fresh(_host: &Host) -> Result<Self> {
        anyhow::bail!("this program is built without the feature spanner")
    }
}
