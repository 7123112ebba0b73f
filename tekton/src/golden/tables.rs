//! Tables of small functions: names, substitution, termination messages.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Outcomes;
use crate::engine::doc::text;
use crate::engine::substitution::Replacements;
use crate::engine::{names, termination};

fn lines(file: &Path) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| e.to_string())).collect()
}

/// Checks each line of a table.
pub(super) fn each(dir: &Path, check: impl Fn(&Value) -> Result<(), String>) -> Result<Outcomes, String> {
    let cases = lines(&dir.join("cases.jsonl"))?;
    Ok(cases.iter().enumerate().map(|(i, case)| (format!("line {}", i + 1), check(case))).collect())
}

fn same(expected: &Value, actual: &Value) -> Result<(), String> {
    if expected == actual { Ok(()) } else { Err(format!("expected {expected}, got {actual}")) }
}

/// Names of children.
pub fn childname(dir: &Path) -> Result<Outcomes, String> {
    each(dir, |case| {
        same(&case["out"], &json!(names::child_name(text(case, "parent"), text(case, "suffix"))))
    })
}

/// Termination messages.
pub fn termination(dir: &Path) -> Result<Outcomes, String> {
    each(dir, |case| match (termination::parse(text(case, "message")), case.get("error")) {
        // Users read the text in events: it is the reference's, to the letter.
        (Err(error), Some(expected)) => same(expected, &json!(error.to_string())),
        (Ok(_), Some(error)) => Err(format!("accepted; the reference says {error}")),
        (Err(error), None) => Err(format!("refused: {error}")),
        (Ok(entries), None) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|e| {
                    let mut out = json!({"key": e.key, "value": e.value});
                    if e.kind.number() != 0 {
                        out["type"] = json!(e.kind.number());
                    }
                    out
                })
                .collect();
            let none = json!([]);
            let expected = if case["results"].is_null() { &none } else { &case["results"] };
            same(expected, &Value::Array(entries))
        }
    })
}

/// Substitution.
pub fn substitution(dir: &Path) -> Result<Outcomes, String> {
    let text = std::fs::read_to_string(dir.join("sets.json")).map_err(|e| e.to_string())?;
    let sets: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    each(dir, |case| {
        let set = sets.get(case["set"].as_str().unwrap_or("")).ok_or("no such set")?;
        let mut replacements = Replacements::default();
        for (key, value) in set["strings"].as_object().into_iter().flatten() {
            replacements.strings.insert(key.clone(), value.as_str().unwrap_or("").to_owned());
        }
        for (key, value) in set["arrays"].as_object().into_iter().flatten() {
            let items = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            replacements.arrays.insert(key.clone(), items.collect());
        }
        let input = case["in"].as_str().unwrap_or("");
        match case.get("outList") {
            Some(expected) => {
                let none = json!([]);
                let expected = if expected.is_null() { &none } else { expected };
                same(expected, &json!(replacements.element(input)))
            }
            None => same(&case["out"], &json!(replacements.string(input))),
        }
    })
}
