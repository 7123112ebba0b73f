//! Preparing a task's spec: substitution, step template, overrides.

use serde_json::{Map, Value, json};

use crate::engine::doc::{is_empty, list, list_mut, name, named, namespace, object_mut, text, uid};
use crate::engine::params;
use crate::engine::substitution::Replacements;

/// Keys below which nothing is substituted.
const LITERAL: [&str; 5] = ["computeResources", "results", "timeout", "description", "displayName"];

/// Replacements `context.*` of a TaskRun.
pub fn context(run: &Value, task_name: &str) -> Replacements {
    let mut out = Replacements::default();
    let retries = list(&run["status"], "retriesStatus").len();
    for (key, value) in [
        ("context.taskRun.name", name(run).to_owned()),
        ("context.task.name", task_name.to_owned()),
        ("context.taskRun.namespace", namespace(run).to_owned()),
        ("context.taskRun.uid", uid(run).to_owned()),
        ("context.task.retry-count", retries.to_string()),
    ] {
        out.strings.insert(key.into(), value);
    }
    out
}

/// Replacements for paths: results of task and steps, exit codes, artifacts.
pub fn paths(spec: &Value) -> Replacements {
    let mut out = Replacements::default();
    let mut put = |key: String, value: String| {
        out.strings.insert(key, value);
    };
    for result in list(spec, "results") {
        let name = text(result, "name");
        let path = format!("/tekton/results/{name}");
        for spelling in
            [format!("results.{name}"), format!("results[\"{name}\"]"), format!("results['{name}']")]
        {
            put(format!("{spelling}.path"), path.clone());
        }
    }
    for (index, step) in list(spec, "steps").iter().enumerate() {
        let container = step_name(step, index);
        put(format!("steps.{container}.exitCode.path"), format!("/tekton/steps/{container}/exitCode"));
    }
    put("artifacts.path".into(), "/tekton/artifacts/provenance.json".into());
    put("credentials.path".into(), "/tekton/creds".into());
    out
}

/// Container name of a step: `step-NAME` or `step-unnamed-I`.
pub fn step_name(step: &Value, index: usize) -> String {
    match text(step, "name") {
        "" => format!("step-unnamed-{index}"),
        name => format!("step-{name}"),
    }
}

/// Applies `replacements` to everything in `spec` that takes variables.
pub fn apply(spec: &mut Value, replacements: &Replacements) {
    for part in ["stepTemplate", "sidecars"] {
        if let Some(value) = object_mut(spec).get_mut(part) {
            replacements.document(value, &LITERAL);
        }
    }
    for volume in object_mut(spec).get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        apply_to_volume(volume, replacements);
    }
    if let Some(workspaces) = object_mut(spec).get_mut("workspaces").and_then(Value::as_array_mut) {
        for workspace in workspaces {
            if let Some(path) = object_mut(workspace).get_mut("mountPath") {
                replacements.document(path, &[]);
            }
        }
    }
    if is_empty(spec, "steps") {
        return;
    }
    for (index, step) in list_mut(spec, "steps").iter_mut().enumerate() {
        let mut own = own_paths(step, index);
        own.extend(replacements.clone());
        own.document(step, &LITERAL);
    }
}

/// The parts of a volume that take variables.
const IN_VOLUMES: [&str; 9] = [
    "/name",
    "/configMap/name",
    "/configMap/items",
    "/secret/secretName",
    "/secret/items",
    "/persistentVolumeClaim/claimName",
    "/csi/nodePublishSecretRef",
    "/csi/volumeAttributes",
    "/projected/sources",
];

fn apply_to_volume(volume: &mut Value, replacements: &Replacements) {
    for part in IN_VOLUMES {
        if let Some(value) = volume.pointer_mut(part) {
            replacements.document(value, &["items", "path"]);
        }
    }
    for part in ["/configMap/items", "/secret/items"] {
        if let Some(items) = volume.pointer_mut(part) {
            replacements.document(items, &[]);
        }
    }
}

/// Variables that mean this very step.
fn own_paths(step: &Value, index: usize) -> Replacements {
    let mut out = Replacements::default();
    let container = step_name(step, index);
    for result in list(step, "results") {
        let name = text(result, "name");
        let path = format!("/tekton/steps/{container}/results/{name}");
        for head in [
            format!("step.results.{name}"),
            format!("step.results[\"{name}\"]"),
            format!("step.results['{name}']"),
        ] {
            out.strings.insert(format!("{head}.path"), path.clone());
        }
    }
    out.strings
        .insert("step.artifacts.path".into(), format!("/tekton/steps/{container}/artifacts/provenance.json"));
    out
}

/// Replacements of a task's params.
pub fn params_of(spec: &Value, given: &[Value]) -> Replacements {
    let mut out = Replacements::default();
    for (name, value) in params::values(list(spec, "params"), given) {
        params::replace(&mut out, &name, &value);
    }
    out
}

/// Steps of `spec` with its step template under each (Kubernetes strategic merge): lists with a key are merged
/// by it, the step wins; other lists and scalars of the step replace the template's.
pub fn steps_with_template(spec: &Value) -> Vec<Value> {
    let template = &spec["stepTemplate"];
    list(spec, "steps")
        .iter()
        .map(|step| {
            if template.is_null()
                || !text(&step["ref"], "name").is_empty()
                || !text(&step["ref"], "resolver").is_empty()
            {
                return step.clone();
            }
            let mut merged = merge(template, step);
            object_mut(&mut merged).remove("displayName");
            merged
        })
        .collect()
}

/// Key by which a list of containers' parts is merged.
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "env" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

fn merge(base: &Value, over: &Value) -> Value {
    let mut out: Map<String, Value> = base.as_object().cloned().unwrap_or_default();
    for (field, value) in over.as_object().into_iter().flatten() {
        let merged = match (out.get(field), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(_)), Value::Object(_)) => merge(&out[field], value),
            (Some(Value::Array(there)), Value::Array(new)) => match merge_key(field) {
                Some(key) => Value::Array(merge_lists(there, new, key)),
                None if new.is_empty() => continue,
                None => value.clone(),
            },
            _ => value.clone(),
        };
        out.insert(field.clone(), merged);
    }
    Value::Object(out)
}

/// The step's entries first (merged with the template's of the same key), then the template's others.
fn merge_lists(base: &[Value], over: &[Value], key: &str) -> Vec<Value> {
    let mut out: Vec<Value> = over
        .iter()
        .map(|entry| match base.iter().find(|b| b[key] == entry[key]) {
            // A value and a source of a value exclude each other: the step's wins.
            Some(there) if key == "name" => {
                let mut there = there.clone();
                if !entry["valueFrom"].is_null() {
                    object_mut(&mut there).remove("value");
                }
                if entry.get("value").is_some() {
                    object_mut(&mut there).remove("valueFrom");
                }
                merge(&there, entry)
            }
            Some(there) => merge(there, entry),
            None => entry.clone(),
        })
        .collect();
    out.extend(base.iter().filter(|b| !over.iter().any(|o| o[key] == b[key])).cloned());
    out
}

/// Lays `overrides` (stepSpecs, sidecarSpecs) over the compute resources of `containers`.
pub fn override_resources(containers: &mut [Value], overrides: &[Value]) {
    for specific in overrides {
        let name = text(specific, "name");
        if let Some(container) = containers.iter_mut().find(|c| text(c, "name") == name) {
            container["computeResources"] =
                merge(&container["computeResources"], &specific["computeResources"]);
        }
    }
}

/// Overrides must name a step or sidecar that there is.
///
/// # Errors
/// The reference's text.
pub fn check_overrides(spec: &Value, run_spec: &Value) -> Result<(), String> {
    for (part, overrides, what) in [("steps", "stepSpecs", "Step"), ("sidecars", "sidecarSpecs", "Sidecar")] {
        for specific in list(run_spec, overrides) {
            let name = text(specific, "name");
            if named(spec, part, name).is_none() {
                return Err(format!("invalid {what}Override: No {what} named {name}"));
            }
        }
    }
    Ok(())
}

/// The spec of a task with the run's params, context, paths and workspaces substituted.
pub fn substituted(spec: &Value, run: &Value, task_name: &str, workspaces: Replacements) -> Value {
    let mut replacements = params_of(spec, list(&run["spec"], "params"));
    replacements.extend(context(run, task_name));
    replacements.extend(paths(spec));
    replacements.extend(workspaces);
    let mut out = spec.clone();
    apply(&mut out, &replacements);
    out
}

/// The declaration of a result of the task, by name.
pub fn result<'a>(spec: &'a Value, name: &str) -> Option<&'a Value> {
    named(spec, "results", name)
}

/// An empty object where `value` has nothing.
pub fn or_empty(value: &Value) -> Value {
    if value.is_null() { json!({}) } else { value.clone() }
}
