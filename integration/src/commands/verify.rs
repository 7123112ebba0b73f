//! `cargo verify`: installs what tests need and runs every test, the end-to-end ones included.

use anyhow::{Context, Result};

use crate::commands::{self, Clock};

/// What selects everything that the tests are built with: their own dependencies count for features as well.
pub const EVERYTHING: &[&str] = &["--workspace", "--all-features", "--test", "verify"];
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
    let say = &mut |line: &str| eprintln!("{line}");
    crate::tools::debian(say)?;
    let tools = commands::build_dir()?.join("cella-tools");
    crate::tools::kubectl(&tools, say)?;
    crate::tools::tkn(&tools, say)?;
    commands::images::layout(say)?;
    commands::cella_among(EVERYTHING)?;
    for arguments in [
        &["fmt", "--all", "--check"][..],
        &["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"],
        &["test", "--workspace", "--all-features", "--quiet"],
    ] {
        let step = Clock::now();
        eprintln!("cargo {}", arguments.join(" "));
        let mut cargo = commands::cargo_command();
        cargo.args(arguments).env("CARGO_TARGET_DIR", commands::build_dir()?).env(UNDER_WAY, "1");
        let status = cargo.status().context("cannot run cargo")?;
        eprintln!("cargo {}: {status} after {:.0} s", arguments[0], step.elapsed().as_secs_f64());
        if !status.success() {
            return Ok(false);
        }
    }
    eprintln!("verified in {:.0} s", began.elapsed().as_secs_f64());
    Ok(true)
}
