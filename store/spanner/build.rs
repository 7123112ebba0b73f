//! Tests that need Google's emulator are shown as ignored where it is missing; in CI they run all the same, and fail.

use std::path::PathBuf;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(no_emulator)");
    for name in ["CELLA_SPANNER_EMULATOR", "PATH", "CI"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    if folder().is_none_or(|folder| !folder.join("gateway_main").is_file()) && !in_ci {
        println!("cargo::rustc-cfg=no_emulator");
    }
}

fn folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CELLA_SPANNER_EMULATOR") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let gcloud = std::env::split_paths(&path).map(|dir| dir.join("gcloud")).find(|file| file.exists())?;
    Some(gcloud.canonicalize().ok()?.parent()?.join("cloud_spanner_emulator"))
}
