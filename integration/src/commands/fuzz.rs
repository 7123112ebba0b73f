//! `cargo x fuzz [TARGET]`: libFuzzer against what must hold for every input (`tekton::fuzz`). What it finds belongs into
//! `tekton/src/fuzz/found/TARGET/`, where tests try it again.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{build_dir, shared, workspace};

const TARGETS: [&str; 3] = ["decode", "substitution", "termination"];
/// What cargo-fuzz would say, without a sanitizer: there is no unsafe code to watch. All of it is stable.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// Inputs longer than this are not tried.
const INPUT_MAX: usize = 8192;

/// Runs each target, or only one, for `seconds`.
///
/// # Errors
/// When the targets cannot be built.
pub fn run(only: Option<&str>, seconds: u64) -> Result<bool> {
    let dir = build_dir()?.join("fuzz");
    let triple = super::host_triple()?;
    let mut build = super::cargo_command();
    build.args(["build", "--quiet", "--release", "--target", &triple, "--manifest-path"]);
    build.arg(workspace().join("fuzz/Cargo.toml")).arg("--target-dir").arg(&dir).env("RUSTFLAGS", FLAGS);
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "the targets cannot be built");
    let (mut passed, mut total) = (0, 0);
    for target in TARGETS.into_iter().filter(|t| only.is_none_or(|wanted| wanted == *t)) {
        let corpus = dir.join("corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        seed(target, &corpus)?;
        let found = dir.join(format!("found-{target}-"));
        let status = Command::new(dir.join(&triple).join("release").join(target))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}", found.display()))
            .arg(format!("-max_len={INPUT_MAX}"))
            .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"])
            .arg(&corpus)
            .status()
            .with_context(|| format!("cannot run target {target}"))?;
        let outcome = if status.success() { "nothing found" } else { "FOUND: see the input named above" };
        println!("{target:<16} {seconds} s: {outcome}");
        total += 1;
        passed += usize::from(status.success());
    }
    ensure!(total > 0, "there is no target {:?}; there are {}", only.unwrap_or(""), TARGETS.join(", "));
    println!("fuzz: {passed}/{total}");
    Ok(passed == total)
}

/// Inputs to begin with: what is kept, and recorded cases where they are at hand.
fn seed(target: &str, corpus: &Path) -> Result<()> {
    let kept = workspace().join("tekton/src/fuzz/found").join(target);
    for entry in std::fs::read_dir(&kept).with_context(|| format!("cannot read {}", kept.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            std::fs::copy(&path, corpus.join(name))?;
        }
    }
    for (index, input) in recorded(target).into_iter().enumerate() {
        std::fs::write(corpus.join(format!("recorded-{index}")), input)?;
    }
    Ok(())
}

fn recorded(target: &str) -> Vec<Vec<u8>> {
    let golden = shared().join("golden");
    match target {
        "termination" => lines(&golden.join("termination/cases.jsonl"), "message"),
        "substitution" => lines(&golden.join("substitution/cases.jsonl"), "in"),
        _ => {
            let files = tekton::golden::files(&golden.join("admission")).unwrap_or_default();
            let cases = files.iter().flat_map(|(_, file)| file["cases"].as_array().into_iter().flatten());
            cases.enumerate().map(|(index, case)| as_input(index, &case["object"])).collect()
        }
    }
}

/// An object as the target reads it: kind and version, settings, body.
fn as_input(index: usize, object: &serde_json::Value) -> Vec<u8> {
    let kinds: Vec<_> = apimachinery::kind::all().filter(|k| k.group.ends_with("tekton.dev")).collect();
    let at = kinds.iter().position(|k| object["kind"] == k.kind).unwrap_or(0);
    let api_version = object["apiVersion"].as_str().unwrap_or("");
    let is_first = kinds[at].api_version(kinds[at].stored_version().name) == api_version;
    // The lower bits choose the kind, the upper ones the version.
    let choice = (0..=u8::MAX).find(|choice| {
        let version = usize::from(choice >> 4) % kinds[at].versions.len();
        usize::from(*choice) % kinds.len() == at && (version == 0) == is_first && choice & 8 == 0
    });
    let settings = u8::try_from(index % 256).unwrap_or(0);
    let mut out = vec![choice.unwrap_or(0), settings];
    out.extend(object.to_string().into_bytes());
    out
}

fn lines(file: &Path, field: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let cases = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    cases.filter_map(|case| case[field].as_str().map(|text| text.as_bytes().to_vec())).collect()
}
