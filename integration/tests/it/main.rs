//! End to end: the real executable, real containers, the real clients. Needs root and what `cargo verify` installs.

mod clients;
mod crash;
mod demo;
#[cfg(feature = "spanner")]
mod emulator;
mod homes;
#[path = "kube.rs"]
mod kube_crate;
#[cfg(feature = "spanner")]
mod residency;
mod resolvers;
mod tidy;
mod trace;
mod why;
mod world;

use tokio::sync::{Mutex, MutexGuard};

/// Tests that count what is left on the host run one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// This test's turn, held until the answer is dropped.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.blocking_lock()
}

/// [`alone`], for a test that runs on a runtime.
pub async fn alone_async() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}
