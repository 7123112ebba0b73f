//! End to end: the real executable, real containers, the real clients. Needs root and what `cargo verify` installs.

mod clients;
mod crash;
mod demo;
mod tidy;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tests that count what is left on the host run one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
