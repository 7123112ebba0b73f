use std::path::{Path, PathBuf};
use std::process::Command;

use integration::commands::workspace;

fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files"]).current_dir(workspace()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = text.lines().map(|l| workspace().join(l)).collect();
    assert!(files.len() > 50, "the files of this repository cannot be listed");
    files
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name == "tests.rs" || path.components().any(|c| c.as_os_str() == "tests")
}

#[test]
fn files_are_short() {
    let long: Vec<_> = tracked()
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs") && !is_test(p))
        .filter_map(|p| Some((std::fs::read_to_string(&p).ok()?.lines().count(), p)))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "files over 600 lines: {long:?}");
}

#[test]
fn crates_depend_only_downwards() {
    let allowed: &[(&str, &[&str])] = &[
        ("apimachinery", &[]),
        ("tekton", &["apimachinery"]),
        ("tenancy", &["apimachinery"]),
        ("protocol", &[]),
        ("base", &[]),
        ("store", &["tenancy", "apimachinery", "base"]),
        ("store/spanner", &["store", "base"]),
        ("gateway", &["store", "tekton", "tenancy", "apimachinery", "base"]),
        ("cell", &["store", "tekton", "tenancy", "protocol", "base", "apimachinery"]),
        ("agent", &["protocol", "base"]),
        ("agent/entrypoint", &[]),
    ];
    let ours: Vec<_> = allowed.iter().map(|(n, _)| *n).chain(["cli", "integration", "spanner"]).collect();
    for (name, may) in allowed {
        let manifest = std::fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for line in normal.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or("");
            if ours.contains(&dependency) {
                assert!(may.contains(&dependency), "{name} may not use {dependency}");
            }
        }
    }
}

#[test]
fn pure_crates_have_no_runtime() {
    for name in ["apimachinery", "tekton", "tenancy", "protocol"] {
        let manifest = std::fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for banned in ["tokio", "hyper", "axum", "rand", "getrandom"] {
            assert!(!normal.contains(banned), "{name} is pure and may not use {banned}");
        }
    }
}

#[test]
fn the_api_half_of_tekton_does_not_know_the_engine() {
    for path in tracked().iter().filter(|p| p.starts_with(workspace().join("tekton/src/api"))) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(!text.contains("crate::engine"), "{} uses the engine", path.display());
    }
}

#[test]
fn nothing_is_left_open_and_no_path_of_a_machine_is_kept() {
    let words = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "todo".to_owned() + "!(",
        "#[ign".to_owned() + "ore",
    ];
    for path in tracked() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if path.extension().is_some_and(|e| e == "rs") {
            for word in &words {
                assert!(!text.contains(word.as_str()), "{} holds {word}", path.display());
            }
        }
        let here = workspace();
        // A folder that every machine has says nothing of this one.
        let common = ["/", "/tmp", "/root", "/home", "/opt", "/srv", "/mnt", "/usr/src", "/var/tmp"];
        let around =
            here.parent().filter(|parent| !common.iter().any(|c| *parent == std::path::Path::new(c)));
        for folder in [Some(here), around].into_iter().flatten() {
            let named = format!("{}/", folder.display());
            let lock = path.extension().is_some_and(|e| e == "lock");
            assert!(lock || !text.contains(&named), "{} holds a path of this machine", path.display());
        }
    }
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    for path in tracked().iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let place = path.parent().unwrap().join(target);
            assert!(place.exists(), "{} links to {target}, which is not there", path.display());
        }
    }
}

#[test]
fn every_crate_says_what_it_is() {
    for path in tracked().iter().filter(|p| p.ends_with("src/lib.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        for part in ["**For:**", "**May use:**", "**Invariants:**", "**Read in this order:**"] {
            assert!(text.contains(part), "{} does not say {part}", path.display());
        }
    }
}
