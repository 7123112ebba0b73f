//! `cargo verify`: installs what tests need and runs every test, the end-to-end ones included.

use anyhow::{Context, Result, anyhow};

use crate::commands::{self, Clock};

/// What selects everything that the tests are built with: their own dependencies count for features as well, and so that
/// every crate is compiled once, it is their profile.
pub const EVERYTHING: &[&str] = &["--workspace", "--all-features", "--test", "verify", "--profile", "test"];
/// Set for what is run by this command.
const UNDER_WAY: &str = "CELLA_VERIFY";

/// This program is, or was started by, `cargo verify`.
pub fn is_under_way() -> bool {
    #[allow(clippy::disallowed_methods, reason = "between this command and the tests that it runs")]
    std::env::var_os(UNDER_WAY).is_some()
}

/// Runs everything; the first failure ends it.
pub fn run() -> Result<bool> {
    let began = Clock::now();
    crate::tools::debian(&mut say)?;
    // Beside the compiler, which leaves a core idle often enough.
    let outside = std::thread::spawn(outside);
    commands::cella_among(EVERYTHING)?;
    let compiled = cargo(&["fmt", "--all", "--check"])?
        && cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])?
        && cargo(&["test", "--workspace", "--all-features", "--quiet", "--no-run"])?;
    outside.join().map_err(|_| anyhow!("the thread that gets kubectl and tkn has panicked"))??;
    let passed = compiled && cargo(&["test", "--workspace", "--all-features", "--quiet"])?;
    eprintln!("{} in {:.0} s", if passed { "verified" } else { "failed" }, began.elapsed().as_secs_f64());
    Ok(passed)
}

fn say(line: &str) {
    eprintln!("{line}");
}

/// What the tests use of other people's.
fn outside() -> Result<()> {
    let tools = commands::build_dir()?.join("cella-tools");
    crate::tools::kubectl(&tools, &mut say)?;
    crate::tools::tkn(&tools, &mut say)?;
    commands::images::layout(&mut say)?;
    Ok(())
}

/// Runs one command of cargo's, and says how long it took.
fn cargo(arguments: &[&str]) -> Result<bool> {
    let began = Clock::now();
    eprintln!("cargo {}", arguments.join(" "));
    let mut cargo = commands::cargo_command();
    cargo.args(arguments).env("CARGO_TARGET_DIR", commands::build_dir()?).env(UNDER_WAY, "1");
    let status = cargo.status().context("cannot run cargo")?;
    eprintln!("cargo {}: {status} after {:.0} s", arguments[0], began.elapsed().as_secs_f64());
    Ok(status.success())
}
