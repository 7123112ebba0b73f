//! The commands of `cargo x`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::host::Mono;

use crate::server::{Server, Store};

pub mod bench;
pub mod clients;
pub mod conformance;
pub mod demo;
pub mod drill;
pub mod examples;
pub mod fuzz;
pub mod golden;
pub mod images;
pub mod sim;
pub mod spanner;
pub mod verify;

/// The build folder (`target/`), where everything that can be made again is kept.
pub fn build_dir() -> Result<PathBuf> {
    // target/debug/x -> target; tests run from target/debug/deps
    let exe = std::env::current_exe().context("cannot find this executable")?;
    let mut dir = exe.as_path();
    while let Some(parent) = dir.parent() {
        if dir.file_name().is_some_and(|name| name == "debug" || name == "release") {
            return Ok(parent.to_owned());
        }
        dir = parent;
    }
    bail!("{} is not inside a build folder", exe.display())
}

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Folder of the shared specifications, examples and recorded answers; `CELLA_SHARED` overrides it.
pub fn shared() -> PathBuf {
    #[allow(clippy::disallowed_methods, reason = "a developer's setting, read here only")]
    let named = std::env::var("CELLA_SHARED").ok();
    named.map_or_else(|| workspace().join("../shared"), PathBuf::from)
}

/// A stop-watch on the real clock, for commands that measure.
pub struct Clock(Mono);

impl Clock {
    /// Starts.
    pub fn now() -> Self {
        Self(base::host::Clock::mono(&base::real::RealClock))
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        base::host::Clock::mono(&base::real::RealClock).since(self.0)
    }
}

/// What most commands need: the `cella` executable, images, kubectl, tkn.
pub struct Tools {
    /// The `cella` executable, built just now.
    pub cella: PathBuf,
    /// Layout of stand-in images.
    pub images: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
}

impl Tools {
    /// Builds and installs what is missing, and says what it does on standard error.
    ///
    /// # Errors
    /// Names what cannot be had.
    pub fn ready() -> Result<Self> {
        Self::with(Store::wished())
    }

    /// As [`Tools::ready`], for a server on this store.
    ///
    /// # Errors
    /// Names what cannot be had.
    pub fn with(store: Store) -> Result<Self> {
        anyhow::ensure!(
            store == Store::Embedded || spanner::HERE,
            "this program is built without the Spanner back end; build it with --features spanner"
        );
        let say = &mut |line: &str| eprintln!("{line}");
        crate::tools::debian(say)?;
        Ok(Self {
            cella: cella()?,
            images: images::layout(say)?,
            kubectl: crate::tools::kubectl(&build_dir()?.join("cella-tools"), say)?,
        })
    }

    /// Runs kubectl as a tenant and returns its standard output.
    ///
    /// # Errors
    /// When kubectl fails; with what it said.
    pub fn kubectl(&self, server: &Server, tenant: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(server.kubeconfig(tenant)).args(arguments);
        let output = command.output().context("cannot run kubectl")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {} failed: {}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Builds the `cella` executable, and the static entrypoint beside it.
///
/// # Errors
/// When the compiler refuses.
pub fn cella() -> Result<PathBuf> {
    if let Some(built) = built() {
        return Ok(built);
    }
    // As this very program is built, so that every crate is compiled once, with the same features, instead of once for
    // each of the two; without Spanner when nobody here needs it: it makes the build a good deal longer.
    let ours = ["--package", "cli", "--package", env!("CARGO_PKG_NAME"), "--features", "integration/spanner"];
    cella_among(match (verify::is_under_way(), spanner::HERE) {
        (true, _) => verify::EVERYTHING,
        (false, true) => &ours,
        (false, false) => &ours[..4],
    })
}

/// The same, among what `selected` tells cargo to build, whatever was built before.
///
/// # Errors
/// When the compiler refuses.
pub fn cella_among(selected: &[&str]) -> Result<PathBuf> {
    let target = build_dir()?;
    cargo(&[&["build", "--quiet", "--bin", "cella", "--bin", "x"], selected].concat(), &[])?;
    // Static, so that it runs inside any image; a target folder of its own, so that the flag does not make
    // everything else be compiled again.
    let static_dir = target.join("static");
    let static_dir_text = static_dir.to_string_lossy().into_owned();
    let triple = host_triple()?;
    cargo(
        &[
            "build",
            "--quiet",
            "--package",
            "entrypoint",
            "--target",
            &triple,
            "--target-dir",
            &static_dir_text,
        ],
        &[("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols -C relocation-model=static")],
    )?;
    let built = static_dir.join(&triple).join("debug/entrypoint");
    let beside = target.join("debug/entrypoint");
    let fresh = target.join(format!("debug/entrypoint.{}", std::process::id()));
    std::fs::copy(&built, &fresh).with_context(|| format!("cannot copy {}", built.display()))?;
    std::fs::rename(fresh, beside)?;
    Ok(target.join("debug/cella"))
}

/// An executable that was built elsewhere, with the entrypoint beside it: `CELLA_BIN` names their folder.
fn built() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "a developer's setting, read here only")]
    std::env::var("CELLA_BIN").ok().map(|folder| Path::new(&folder).join("cella"))
}

/// Variables by which cargo tells a program that it runs which package it is of; what their names begin with.
const OF_A_PACKAGE: [&str; 5] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "OUT_DIR"];

/// A cargo for this workspace, which is told nothing of the package that this program is of: ring's build script takes
/// that for a change, and ring and everything above it would be compiled anew each time.
pub(crate) fn cargo_command() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if OF_A_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace());
    command
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = cargo_command();
    command.args(arguments).envs(environment.iter().copied());
    command.env("CARGO_TARGET_DIR", build_dir()?);
    let status = command.status().context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|l| l.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests;
