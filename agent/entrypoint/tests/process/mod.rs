//! What the tests of the entrypoint do with processes.

use std::process::{Child, Command};
use std::time::Duration;

/// Waits for a predicate, for at most 15 seconds.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never happened: {what}");
}

/// Sends a signal to a child.
pub fn kill(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}
