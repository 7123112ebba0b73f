//! `cargo verify`: installs what tests need and runs every test, the end-to-end ones included.

use std::process::Command;

use anyhow::{Context, Result};

use crate::commands::{self, Clock};

/// Runs everything; the first failure ends it.
pub fn run() -> Result<bool> {
    let began = Clock::now();
    let say = &mut |line: &str| eprintln!("{line}");
    crate::tools::debian(say)?;
    let tools = commands::build_dir()?.join("cella-tools");
    crate::tools::kubectl(&tools, say)?;
    crate::tools::tkn(&tools, say)?;
    commands::images::layout(say)?;
    commands::cella()?;
    for arguments in [
        &["fmt", "--all", "--check"][..],
        &["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"],
        &["test", "--workspace", "--all-features", "--quiet"],
    ] {
        let step = Clock::now();
        eprintln!("cargo {}", arguments.join(" "));
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(arguments)
            .current_dir(commands::workspace())
            .env("CARGO_TARGET_DIR", commands::build_dir()?);
        let status = cargo.status().context("cannot run cargo")?;
        eprintln!("cargo {}: {status} after {:.0} s", arguments[0], step.elapsed().as_secs_f64());
        if !status.success() {
            return Ok(false);
        }
    }
    eprintln!("verified in {:.0} s", began.elapsed().as_secs_f64());
    Ok(true)
}
