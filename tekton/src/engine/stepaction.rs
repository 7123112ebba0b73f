//! StepActions: a step that refers to one takes over what it says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::doc::{is_empty, list, object_mut, text};
use crate::engine::params::{self, Type};
use crate::engine::substitution::Replacements;

/// How often defaults that refer to other params are looked through.
const DEPTH_MAX: usize = 10;
/// What a step takes from its action where the action has it.
const WHERE_SAID: [&str; 6] = ["command", "args", "script", "env", "volumeMounts", "results"];
/// What a step takes from its action, even if it is nothing.
const ALWAYS: [&str; 3] = ["image", "securityContext", "workingDir"];

/// `step` with everything that `action` (its spec) says. `task` are the replacements of the task's params.
///
/// # Errors
/// The reference's text, without its head.
pub fn merged(step: &Value, action: &Value, task: &Replacements) -> Result<Value, String> {
    let specs = list(action, "params");
    check(list(step, "params"), specs)?;
    let mut given = list(step, "params").to_vec();
    params::apply(&mut given, task);
    let mut said = json!({});
    for field in ALWAYS.into_iter().chain(WHERE_SAID) {
        if !is_empty(action, field) {
            said[field] = action[field].clone();
        }
    }
    let mut replacements = task.clone();
    replacements.extend(own(specs, &given, &said));
    replacements.document(&mut said, &["results"]);
    let mut out = step.clone();
    let map = object_mut(&mut out);
    for field in ALWAYS {
        map.remove(field);
    }
    for gone in ["ref", "params"] {
        map.remove(gone);
    }
    for (field, value) in object_mut(&mut said).iter() {
        map.insert(field.clone(), value.clone());
    }
    Ok(out)
}

fn check(given: &[Value], specs: &[Value]) -> Result<(), String> {
    let named = |all: &[Value], name: &str| all.iter().any(|one| text(one, "name") == name);
    let names = |wrong: Vec<&Value>| {
        let names: Vec<_> = wrong.into_iter().map(|one| text(one, "name")).collect();
        (!names.is_empty()).then(|| names.join(" "))
    };
    if let Some(extra) = names(given.iter().filter(|p| !named(specs, text(p, "name"))).collect()) {
        return Err(format!("extra params passed by Step to StepAction: [{extra}]"));
    }
    let required = specs.iter().filter(|s| s["default"].is_null());
    match names(required.filter(|s| !named(given, text(s, "name"))).collect()) {
        Some(missing) => Err(format!("non-existent params in Step: [{missing}]")),
        None => Ok(()),
    }
}

/// Replacements of the action's own params: defaults, then what the step gives, then references to results of
/// earlier steps, which only the entrypoint can read.
fn own(specs: &[Value], given: &[Value], said: &Value) -> Replacements {
    let mut out = Replacements::default();
    let mut defaults: BTreeMap<&str, Value> = specs
        .iter()
        .filter(|spec| !spec["default"].is_null())
        .map(|spec| (text(spec, "name"), spec["default"].clone()))
        .collect();
    for _ in 0..DEPTH_MAX {
        for (name, value) in &defaults {
            params::replace(&mut out, name, value);
        }
        for param in given {
            params::replace(&mut out, text(param, "name"), &param["value"]);
        }
        let before = defaults.clone();
        defaults.values_mut().for_each(|value| *value = out.value(value));
        if defaults == before {
            break;
        }
    }
    for param in given {
        let reference = param["value"].as_str().and_then(step_result);
        let spec = specs.iter().find(|spec| text(spec, "name") == text(param, "name"));
        if let (Some(reference), Some(spec)) = (reference, spec) {
            refer(&mut out, spec, reference, said);
        }
    }
    out
}

/// `steps.S.results.R` of a text that is a reference to it.
fn step_result(value: &str) -> Option<&str> {
    let inner = value.strip_prefix("$(")?.strip_suffix(')')?;
    inner.starts_with("steps.").then_some(inner.trim_end_matches("[*]"))
}

fn refer(out: &mut Replacements, spec: &Value, reference: &str, said: &Value) {
    let name = text(spec, "name");
    let spellings = [format!("params.{name}"), format!("params[\"{name}\"]"), format!("params['{name}']")];
    for spelling in spellings {
        out.arrays.remove(&format!("{spelling}[*]"));
        match Type::declared(spec) {
            Type::Object => {
                for key in spec["properties"].as_object().into_iter().flat_map(serde_json::Map::keys) {
                    out.strings.insert(format!("{spelling}.{key}"), format!("$({reference}.{key})"));
                }
            }
            Type::Array => {
                out.strings.insert(format!("{spelling}[*]"), format!("$({reference}[*])"));
                for index in indexes(said, &spelling) {
                    out.strings.insert(format!("{spelling}[{index}]"), format!("$({reference}[{index}])"));
                }
            }
            Type::String => {
                out.strings.insert(spelling, format!("$({reference})"));
            }
        }
    }
}

/// Indexes with which `spelling` is used anywhere in `said`.
fn indexes(said: &Value, spelling: &str) -> BTreeSet<usize> {
    match said {
        Value::String(text) => params::references(text)
            .iter()
            .filter_map(|r| r.strip_prefix(spelling)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| indexes(item, spelling)).collect(),
        Value::Object(map) => map.values().flat_map(|item| indexes(item, spelling)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => BTreeSet::new(),
    }
}
