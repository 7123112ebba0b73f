//! Fanning a pipeline's task out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Settings;
use super::references::{expressions, looks_like_result, result};
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{list, names, some, text, value_type};

/// Whether a task is fanned out.
pub(super) fn is_matrixed(task: &Value) -> bool {
    let matrix = &task["matrix"];
    !list(matrix, "params").is_empty() || !list(matrix, "include").is_empty()
}

/// Names within one list of parameters must be unique.
pub(super) fn unique(params: &[Value]) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for (index, name) in params.iter().map(|p| text(p, "name")).enumerate() {
        if !seen.insert(name) {
            let message =
                format!(r#"parameter names must be unique, the parameter "{name}" is also defined at"#);
            faults.add(Faults::at(message, &[&format!("[{index}].name")]));
        }
    }
    faults
}

fn combinations(matrix: &Value) -> usize {
    let (params, include) = (list(matrix, "params"), list(matrix, "include"));
    if params.is_empty() {
        return include.len();
    }
    let mut values: BTreeMap<&str, &[Value]> = BTreeMap::new();
    let mut count = 1_usize;
    for param in params {
        let items = list(param, "value");
        count = count.saturating_mul(items.len());
        values.insert(text(param, "name"), items);
    }
    for extra in include {
        for param in list(extra, "params") {
            match values.get(text(param, "name")) {
                Some(items) if items.contains(&param["value"]) => break,
                Some(_) => count += 1,
                None => {}
            }
        }
    }
    count
}

/// Faults of one task's matrix.
fn one(task: &Value, config: &Settings<'_>) -> Faults {
    let matrix = &task["matrix"];
    let mut faults = Faults::none();
    if is_matrixed(task) {
        faults.add(config.gate("matrix", Level::Beta));
        let (count, limit) = (combinations(matrix), config.matrix_limit());
        if count > limit {
            faults.add(Faults::at(format!("expected 0 <= {count} <= {limit}"), &["matrix"]));
        }
        for (index, include) in list(matrix, "include").iter().enumerate() {
            faults.add(unique(list(include, "params")).under(&format!("matrix.include[{index}].params")));
        }
        faults.add(unique(list(matrix, "params")).under("matrix.params"));
    }
    let included = list(matrix, "include").iter().flat_map(|i| names(i, "params"));
    let fanned: BTreeSet<_> = names(matrix, "params").chain(included).collect();
    for name in names(task, "params").filter(|n| fanned.contains(n)) {
        faults.add(Faults::both(&[&format!("matrix[{name}]"), &format!("params[{name}]")]));
    }
    faults
}

/// Faults of the matrices of a list of tasks.
pub(super) fn matrices(tasks: &[Value], config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    for (index, task) in tasks.iter().enumerate() {
        faults.add(one(task, config).index(index));
    }
    faults.add(consumed(tasks));
    faults
}

/// What stands in a parameter's value.
pub(super) fn of_param(param: &Value) -> Vec<&str> {
    let value = &param["value"];
    match value_type(value) {
        "array" => {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).flat_map(expressions).collect()
        }
        "object" => {
            let values = value.as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str());
            values.flat_map(expressions).collect()
        }
        _ => expressions(value.as_str().unwrap_or("")),
    }
}

/// What a matrixed task produces is a list, and is only to be had as one. The first task that errs is told; and as in
/// the reference, only the last use decides whether the types of results are looked at.
fn consumed(tasks: &[Value]) -> Faults {
    let by_name: BTreeMap<_, _> = tasks.iter().map(|t| (text(t, "name"), t)).collect();
    let mut last = Vec::new();
    for param in tasks.iter().flat_map(|t| list(t, "params")) {
        let found = of_param(param);
        if !found.iter().any(|e| looks_like_result(e)) {
            continue;
        }
        let of_matrixed =
            |e: &&str| e.split('.').nth(1).and_then(|t| by_name.get(t)).is_some_and(|t| is_matrixed(t));
        last = found.into_iter().filter(of_matrixed).collect();
        let mut faults = Faults::none();
        for expression in last.iter().filter(|e| !e.ends_with("[*]")) {
            let message = format!(
                "A matrixed pipelineTask can only be consumed in aggregate using [*] notation, but is currently set to {expression}"
            );
            faults.add(Faults::at(message, &[]));
        }
        if !faults.is_empty() {
            return faults;
        }
    }
    let mut faults = Faults::none();
    for reference in last.into_iter().filter_map(result) {
        let task = by_name.get(reference.task);
        for found in task.into_iter().flat_map(|t| list(&t["taskSpec"], "results")) {
            let kind = text(found, "type");
            if text(found, "name") == reference.result && kind != "string" && some(found, "type").is_some() {
                let name = &reference.result;
                faults.add(Faults::invalid(
                    format!(
                        "Matrixed PipelineTasks emitting results must have an underlying type string, but result {name} has type {kind} in pipelineTask"
                    ),
                    "",
                ));
            }
        }
    }
    faults
}
