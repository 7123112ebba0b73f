//! Substitution in the pipeline: params, context, workspaces; and what an embedded task inherits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::doc::{list, name, namespace, object_mut, text, uid};
use crate::engine::params::{self, Type, as_text, references};
use crate::engine::substitution::Replacements;

/// Defaults may refer to other params this deep.
const DEPTH_MAX: usize = 10;

/// Keys in an embedded task below which nothing is substituted.
const LITERAL: [&str; 5] = ["computeResources", "results", "timeout", "description", "displayName"];

/// The pipeline with params, context and workspaces of `run` substituted.
pub fn pipeline(mut spec: Value, run: &Value, pipeline_name: &str) -> Value {
    let all = [of_params(list(&spec, "params"), run), context(run, pipeline_name), workspaces(&spec, run)];
    for part in ["tasks", "finally"] {
        let tasks = object_mut(&mut spec).get_mut(part).and_then(Value::as_array_mut);
        for entry in tasks.into_iter().flatten().filter(|entry| has_variables(entry)) {
            all.iter().for_each(|replacements| task(entry, replacements));
        }
    }
    spec
}

/// Whether there is anything to replace in a document.
pub fn has_variables(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("$("),
        Value::Array(items) => items.iter().any(has_variables),
        Value::Object(map) => map.values().any(has_variables),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Replacements that the run's params and the pipeline's defaults give.
fn of_params(declared: &[Value], run: &Value) -> Replacements {
    let given = list(&run["spec"], "params");
    let mut out = Replacements::default();
    let names: BTreeSet<_> = given.iter().map(|p| text(p, "name")).collect();
    let mut defaults = BTreeMap::new();
    for spec in declared {
        let Some(default) = spec.get("default").filter(|d| !d.is_null()) else { continue };
        if !names.contains(text(spec, "name")) {
            defaults.insert(text(spec, "name"), default.clone());
        } else if Type::of(default) == Type::Object {
            // Keys that the given value does not have keep their default.
            put(&mut out, text(spec, "name"), default);
        }
    }
    for param in given {
        put(&mut out, text(param, "name"), &param["value"]);
    }
    // Texts first: lists and maps may refer to them.
    for _ in 0..=DEPTH_MAX {
        let mut waiting = BTreeMap::new();
        for (name, default) in defaults {
            let open = references(&default.to_string())
                .iter()
                .any(|r| r.starts_with("params") && !out.strings.contains_key(r.as_str()));
            if open {
                waiting.insert(name, default);
            } else {
                let value = out.value(&default);
                put(&mut out, name, &value);
            }
        }
        defaults = waiting;
        if defaults.is_empty() {
            break;
        }
    }
    for (name, default) in defaults {
        let value = out.value(&default);
        put(&mut out, name, &value);
    }
    out
}

/// What the run alone gives: its params, and the context.
pub fn of_run(run: &Value) -> Replacements {
    let mut out = of_params(&[], run);
    out.extend(context(run, ""));
    out.strings.remove("context.pipeline.name");
    out
}

fn put(out: &mut Replacements, name: &str, value: &Value) {
    let mut found = Replacements::default();
    params::replace(&mut found, name, value);
    // Pipelines never knew the old spelling.
    found.strings.retain(|key, _| !key.starts_with("inputs."));
    found.arrays.retain(|key, _| !key.starts_with("inputs."));
    found.objects.retain(|key, _| !key.starts_with("inputs."));
    out.extend(found);
}

fn context(run: &Value, pipeline_name: &str) -> Replacements {
    let mut out = Replacements::default();
    for (key, value) in [
        ("context.pipelineRun.name", name(run)),
        ("context.pipelineRun.namespace", namespace(run)),
        ("context.pipelineRun.uid", uid(run)),
        ("context.pipeline.name", pipeline_name),
    ] {
        out.strings.insert(key.into(), value.to_owned());
    }
    out
}

fn workspaces(spec: &Value, run: &Value) -> Replacements {
    let mut out = Replacements::default();
    for (all, bound) in [(list(spec, "workspaces"), false), (list(&run["spec"], "workspaces"), true)] {
        for workspace in all {
            out.strings.insert(format!("workspaces.{}.bound", text(workspace, "name")), bound.to_string());
        }
    }
    out
}

/// Substitutes in one entry of the pipeline.
fn task(entry: &mut Value, replacements: &Replacements) {
    let matrixed = !entry["matrix"].is_null();
    for part in ["params", "when", "displayName", "onError", "matrix"] {
        let Some(value) = object_mut(entry).get_mut(part) else { continue };
        match (part, value) {
            ("params", Value::Array(all)) => params::apply(all, replacements),
            ("matrix", value) => matrix(value, replacements),
            // Each combination has a name of its own.
            ("displayName", _) if matrixed && !replacements.strings.contains_key("context.pipeline.name") => {
            }
            (_, value) => replacements.document(value, &["operator"]),
        }
    }
    task_ref(entry, replacements);
    for workspace in
        object_mut(entry).get_mut("workspaces").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(path) = object_mut(workspace).get_mut("subPath") {
            replacements.document(path, &[]);
        }
    }
    embedded(entry, replacements);
}

/// Substitutes in a matrix: lists take lists, what is included takes texts.
pub fn matrix(matrix: &mut Value, replacements: &Replacements) {
    if !has_variables(matrix) {
        return;
    }
    let lists = Replacements { objects: BTreeMap::new(), ..replacements.clone() };
    if let Some(all) = object_mut(matrix).get_mut("params").and_then(Value::as_array_mut) {
        params::apply(all, &lists);
    }
    let texts = Replacements { arrays: BTreeMap::new(), ..lists };
    for included in object_mut(matrix).get_mut("include").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(all) = object_mut(included).get_mut("params").and_then(Value::as_array_mut) {
            params::apply(all, &texts);
        }
    }
}

/// Substitutes in the reference to a task: its name and its resolver's params.
pub fn task_ref(entry: &mut Value, replacements: &Replacements) {
    let Some(reference) = object_mut(entry).get_mut("taskRef").filter(|r| r.is_object()) else { return };
    if let Some(all) = object_mut(reference).get_mut("params").and_then(Value::as_array_mut) {
        params::apply(all, replacements);
    }
    if let Some(name) = object_mut(reference).get_mut("name") {
        replacements.document(name, &[]);
    }
}

/// An embedded task sees the pipeline's params, but for those that its entry gives another value.
fn embedded(entry: &mut Value, replacements: &Replacements) {
    if entry["taskSpec"].is_null() {
        return;
    }
    let mut visible = replacements.clone();
    for param in list(entry, "params") {
        let (name, value) = (text(param, "name"), &param["value"]);
        for spelling in [format!("params.{name}"), format!("params[\"{name}\"]"), format!("params['{name}']")]
        {
            shadow(&mut visible, name, &spelling, value);
        }
    }
    spec(&mut entry["taskSpec"], &visible);
}

fn shadow(visible: &mut Replacements, name: &str, spelling: &str, value: &Value) {
    if let Some(text) = visible.strings.get_mut(spelling) {
        *text = if Type::of(value) == Type::String { as_text(value) } else { String::new() };
    }
    let items = || -> Vec<String> { value.as_array().into_iter().flatten().map(as_text).collect() };
    for key in [spelling.to_owned(), format!("{spelling}[*]")] {
        if let Some(list) = visible.arrays.get_mut(&key) {
            *list = items();
        }
    }
    if let Some(map) = visible.objects.get_mut(&format!("{spelling}[*]")) {
        *map = value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), as_text(v))).collect();
        for (key, item) in map.clone() {
            visible.strings.insert(format!("params.{name}.{key}"), item);
        }
    }
}

/// Substitutes in the spec of an embedded task.
pub fn spec(spec: &mut Value, replacements: &Replacements) {
    for part in ["steps", "sidecars", "stepTemplate", "volumes", "workspaces"] {
        if let Some(value) = object_mut(spec).get_mut(part) {
            replacements.document(value, &LITERAL);
        }
    }
}

/// What only the pass that starts a task knows: `context.pipelineTask.retries`, sizes of matrices.
pub fn at_start(entry: &mut Value, mut sizes: Replacements) {
    let retries = entry["retries"].as_u64().unwrap_or(0);
    sizes.strings.insert("context.pipelineTask.retries".into(), retries.to_string());
    if let Some(all) = object_mut(entry).get_mut("params").and_then(Value::as_array_mut) {
        params::apply(all, &sizes);
    }
    if let Some(value) = object_mut(entry).get_mut("matrix") {
        matrix(value, &sizes);
    }
    if let Some(shown) = object_mut(entry).get_mut("displayName") {
        let text = sizes.string(shown.as_str().unwrap_or_default());
        *shown = json!(text);
    }
}
