//! The commands of `cargo x`.

use std::path::PathBuf;

use anyhow::{Context, Result};

pub mod images;

/// The build folder (`target/`), where everything that can be made again is kept.
pub fn build_dir() -> Result<PathBuf> {
    // target/debug/x -> target
    let exe = std::env::current_exe().context("cannot find this executable")?;
    let mut dir = exe.as_path();
    while let Some(parent) = dir.parent() {
        if dir.file_name().is_some_and(|name| name == "debug" || name == "release") {
            return Ok(parent.to_owned());
        }
        dir = parent;
    }
    anyhow::bail!("{} is not inside a build folder", exe.display())
}
