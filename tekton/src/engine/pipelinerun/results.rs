//! Results: of tasks as replacements, and of the pipeline itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::facts::Facts;
use crate::engine::doc::{list, text};
use crate::engine::graph;
use crate::engine::params::{Type, as_text, references};
use crate::engine::substitution::Replacements;

/// Adds the replacements that a result gives: `HEAD.T.results.R` in its spellings.
pub fn replace(out: &mut Replacements, head: &str, task: &str, result: &str, value: &Value) {
    let spellings = [
        format!("{head}.{task}.results.{result}"),
        format!("{head}.{task}.results[\"{result}\"]"),
        format!("{head}.{task}.results['{result}']"),
    ];
    for spelling in spellings {
        match Type::of(value) {
            Type::String => {
                out.strings.insert(spelling, as_text(value));
            }
            Type::Array => {
                let items: Vec<_> = value.as_array().into_iter().flatten().map(as_text).collect();
                for (index, item) in items.iter().enumerate() {
                    out.strings.insert(format!("{spelling}[{index}]"), item.clone());
                }
                out.arrays.insert(format!("{spelling}[*]"), items);
            }
            Type::Object => {
                let map: std::collections::BTreeMap<_, _> =
                    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), as_text(v))).collect();
                for (key, item) in &map {
                    out.strings.insert(format!("{spelling}.{key}"), item.clone());
                }
                out.objects.insert(format!("{spelling}[*]"), map);
            }
        }
    }
}

/// The pipeline's results.
///
/// # Errors
/// Names of results that refer to what a task that succeeded did not give.
pub fn of_pipeline(spec: &Value, facts: &Facts) -> Result<Vec<Value>, Vec<String>> {
    let mut replacements = facts.replacements(false);
    let finally: Vec<_> = replacements.strings.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, value) in finally {
        if let Some(rest) = key.strip_prefix("tasks.") {
            replacements.strings.insert(format!("finally.{rest}"), value);
        }
    }
    let (mut out, mut missing) = (Vec::new(), BTreeSet::new());
    for result in list(spec, "results") {
        let (name, value) = (text(result, "name"), &result["value"]);
        let mut wanted = BTreeSet::new();
        collect(value, &mut wanted);
        let refs: Vec<_> = wanted
            .iter()
            .filter_map(|r| {
                graph::parse(&r.replacen("finally.", "tasks.", usize::from(r.starts_with("finally."))))
            })
            .collect();
        if let Some(lost) = refs.iter().find(|r| facts.result(r).is_none()) {
            // What a skipped or failed task did not give is left out; what a task that succeeded did not give is
            // a mistake of the pipeline.
            if facts.succeeded(&lost.task) {
                missing.insert(name.to_owned());
            }
            continue;
        }
        out.push(json!({"name": name, "value": replacements.value(value)}));
    }
    if missing.is_empty() { Ok(out) } else { Err(missing.into_iter().collect()) }
}

fn collect(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => out.extend(references(text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(map) => map.values().for_each(|item| collect(item, out)),
        _ => {}
    }
}
