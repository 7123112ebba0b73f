//! `cargo x drill NAME`: real processes on Spanner's emulator, of which some are killed, stopped or cut off while runs
//! go, and what must still be true then.

use anyhow::{Result, bail};

pub mod kill;
pub mod outage;
pub mod region;
pub mod stage;

/// How much of a drill is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// `kill -9`s of `kill`.
    pub kills: usize,
    /// Seconds for which the store is away in `outage`.
    pub seconds: u64,
}

/// Plays a drill; true when all held.
///
/// # Errors
/// When it cannot be played.
pub fn run(name: &str, size: Size) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match name {
        "kill" => runtime.block_on(kill::run(size.kills)),
        "outage" => runtime.block_on(outage::run(size.seconds)),
        "region" => runtime.block_on(region::run()),
        other => bail!("there is no drill {other:?}; there are kill, outage and region"),
    }
}
