//! Replays recorded conversations of a reference API server against this crate: a server in thirty lines of glue per
//! verb, so that what remains is the crate's own behaviour. Lists, watches and HTTP itself are not in here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apimachinery::accept::warning;
use serde_json::Value;

mod matching;
mod server;

use matching::Bindings;
use server::{Answer, Server};

/// Folders of scenarios that are about single objects.
const FOLDERS: &[&str] =
    &["apply", "create", "delete", "get", "managed-fields", "patch", "quirks", "status", "update", "values"];

/// Steps whose answers differ, and why that is right.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("patch/merge", "s24", "an apiVersion that is refused is not warned about as well"),
    ("patch/merge-b", "s23", "an apiVersion that is refused is not warned about as well"),
];

/// Where the recorded scenarios are.
#[allow(clippy::disallowed_methods, reason = "tests find recorded answers through one variable")]
fn scenarios() -> PathBuf {
    let shared = std::env::var("CELLA_SHARED").unwrap_or_else(|_| "../shared".to_owned());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    workspace.join(shared).join("golden/api")
}

/// What came of one step.
enum Outcome {
    Passed,
    /// It needs what this replay doesn't have.
    Skipped,
    Failed(String),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    different: usize,
    failed: Vec<String>,
}

fn replay(path: &Path, tally: &mut Tally) {
    let text = std::fs::read_to_string(path).expect("scenario files can be read");
    let scenario: Value = serde_json::from_str(&text).expect("scenario files are JSON");
    let mut server = Server::default();
    let mut bindings = Bindings::new(&["ns", "ns2"]);
    for step in scenario["steps"].as_array().expect("a scenario has steps") {
        if let Some(ms) = step["sleep_ms"].as_u64() {
            server.sleep(ms);
            continue;
        }
        let (name, id) = (scenario["name"].as_str().unwrap_or(""), step["id"].as_str().unwrap_or(""));
        match run(step, &mut server, &mut bindings) {
            Outcome::Passed => tally.passed += 1,
            Outcome::Skipped => tally.skipped += 1,
            Outcome::Failed(_) if DIFFERENT.iter().any(|(n, i, _)| (*n, *i) == (name, id)) => {
                tally.different += 1;
            }
            Outcome::Failed(why) => {
                tally.failed.push(format!("{name} {id}: {why}"));
                // What follows depends on what was bound here.
                return;
            }
        }
    }
}

fn run(step: &Value, server: &mut Server, bindings: &mut Bindings) -> Outcome {
    let (request, expected) = (&step["request"], &step["response"]);
    if !request.is_object() || !expected.is_object() || request.get("body_fill").is_some() {
        return Outcome::Skipped;
    }
    let Some(answer) = server.answer(&bindings.fill(request)) else { return Outcome::Skipped };
    let Answer { code, body, warnings } = answer;
    let expected_code = expected["status"].as_u64().unwrap_or(0);
    if expected_code != u64::from(code) {
        let alternatives = expected["status_alt"].as_array().cloned().unwrap_or_default();
        if alternatives.iter().any(|c| c == code) {
            return Outcome::Passed;
        }
        return Outcome::Failed(format!("expected {expected_code}, got {code}: {}", body["message"]));
    }
    let advisory: Vec<&str> =
        expected["advisory"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(wanted) = expected["warnings"].as_array() {
        let counts_only = advisory.contains(&"warnings");
        let found: Vec<Value> = warnings.iter().map(|w| warning(w).into()).collect();
        if wanted.len() != found.len() || (!counts_only && *wanted != found) {
            return Outcome::Failed(format!("expected warnings {wanted:?}, got {found:?}"));
        }
    } else if !warnings.is_empty() {
        return Outcome::Failed(format!("unexpected warnings {warnings:?}"));
    }
    let Some(wanted) = expected.get("body") else { return Outcome::Passed };
    match bindings.matches(wanted, &body, &advisory) {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    }
}

#[test]
fn recorded_conversations() {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(scenarios().join(folder)).expect("the folder is there");
        let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("can be listed").path()).collect();
        paths.sort();
        for path in paths {
            replay(&path, tallies.entry(folder).or_default());
        }
    }
    let mut failures = Vec::new();
    for (folder, tally) in &tallies {
        println!(
            "{folder}: {} passed, {} skipped, {} failed",
            tally.passed,
            tally.skipped,
            tally.failed.len()
        );
        failures.extend(tally.failed.iter().cloned());
        if tally.passed == 0 {
            failures.push(format!("{folder}: nothing was replayed"));
        }
    }
    let different: usize = tallies.values().map(|tally| tally.different).sum();
    assert_eq!(different, DIFFERENT.len(), "a known difference is gone");
    assert!(failures.is_empty(), "{} scenarios failed:\n{}", failures.len(), failures.join("\n"));
}
