//! In which order a pipeline's tasks can run.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field_error::quote;
use serde_json::Value;

use super::references::{expressions, result};
use crate::api::fault::Faults;
use crate::api::read::{list, text, texts};

/// Every text within a value.
pub(super) fn all_texts<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|i| all_texts(i, out)),
        Value::Object(map) => map.values().for_each(|v| all_texts(v, out)),
        _ => {}
    }
}

/// Tasks that must be done before `task` starts: those it names, and those whose results it uses.
fn parents(task: &Value) -> BTreeSet<&str> {
    let mut values = Vec::new();
    for part in ["params", "matrix", "when"] {
        all_texts(&task[part], &mut values);
    }
    for part in ["steps", "sidecars"] {
        all_texts(&task["taskSpec"][part], &mut values);
    }
    let used = values.into_iter().flat_map(expressions).filter_map(result).map(|r| r.task);
    used.chain(texts(task, "runAfter")).collect()
}

/// Faults of the order of a pipeline's tasks.
pub(super) fn graph(spec: &Value) -> Faults {
    match order(list(spec, "tasks")) {
        Ok(()) => Faults::none(),
        Err(why) => Faults::invalid(why, "tasks"),
    }
}

fn order(tasks: &[Value]) -> Result<(), String> {
    let mut all = BTreeMap::new();
    for task in tasks {
        let name = text(task, "name");
        if all.insert(name, parents(task)).is_some() {
            return Err(format!(
                "task {name} is already present in Graph, can't add it again: duplicate pipeline task"
            ));
        }
    }
    // What has no parents of its own, or is not there, holds nobody up.
    let mut open: BTreeMap<&str, BTreeSet<&str>> =
        all.iter().filter(|(_, p)| !p.is_empty()).map(|(n, p)| (*n, p.clone())).collect();
    loop {
        let waiting: BTreeSet<_> = open.keys().copied().collect();
        for parents in open.values_mut() {
            parents.retain(|p| waiting.contains(p));
        }
        let before = open.len();
        open.retain(|_, parents| !parents.is_empty());
        if open.len() == before {
            break;
        }
    }
    if let Some((task, parents)) = open.first_key_value() {
        let parents: Vec<_> = parents.iter().map(|p| quote(p)).collect();
        return Err(format!("cycle detected; task {} depends on {}", quote(task), parents.join(", ")));
    }
    for (task, parents) in &all {
        if let Some(gone) = parents.iter().find(|p| !all.contains_key(*p)) {
            return Err(format!(
                "couldn't add link between {task} and {gone}: task {task} depends on {gone} but {gone} wasn't present in Pipeline"
            ));
        }
    }
    Ok(())
}
