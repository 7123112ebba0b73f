//! Debian packages: fetched by apt, unpacked without running their scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a program and fails with its own words when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed ({}): {}", command.get_program(), output.status, said.trim());
    }
    Ok(())
}

/// The newest `.deb` of each package in `folder`, fetched where missing.
pub fn fetch(names: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let missing: Vec<_> = names.iter().filter(|name| find(folder, name).is_none()).collect();
    if !missing.is_empty() {
        let mut download = Command::new("apt-get");
        download.args(["download", "-q", "-o", "APT::Sandbox::User=root"]).args(&missing).current_dir(folder);
        if run(&mut download).is_err() {
            // A machine whose package lists were never fetched, or are old.
            run(Command::new("apt-get").args(["update", "-q"]))
                .context("cannot fetch Debian's package lists")?;
            run(&mut download)?;
        }
    }
    names
        .iter()
        .map(|name| find(folder, name).with_context(|| format!("package {name} was not fetched")))
        .collect()
}

/// Unpacks `debs` into `root`.
pub fn unpack(debs: &[PathBuf], root: &Path) -> Result<()> {
    std::fs::create_dir_all(root)?;
    for deb in debs {
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root))?;
    }
    Ok(())
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    // `name/release` says where apt shall take it from.
    let prefix = format!("{}_", name.split('/').next().unwrap_or(name));
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|e| e.path());
    entries
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
}
