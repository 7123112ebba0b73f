//! Tasks and embedded task specs.

use std::collections::BTreeSet;

use apimachinery::field_error::quote;
use serde_json::Value;

use super::Settings;
use super::{metadata, params, results, steps, variables, workspaces};
use crate::api::fault::Faults;
use crate::api::read::{list, some, text};

/// Faults of a Task. It cannot count on parameters of a run, so that all it uses must be declared.
pub(super) fn task(object: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = metadata::metadata(object);
    let inner = &object["spec"];
    let mut found = spec(inner, config);
    found.add(variables::declared(list(inner, "steps"), list(inner, "params"), config));
    faults.add(found.under("spec"));
    faults
}

/// Faults of a task spec.
pub(super) fn spec(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    if list(spec, "steps").is_empty() {
        faults.add(Faults::missing("steps"));
    }
    faults.add(volumes(spec));
    faults.add(workspaces::declared(spec));
    faults.add(workspaces::used(spec, config));
    faults.add(steps::steps(&merged(spec), config));
    faults.add(steps::sidecars(spec, config));
    let (own, declared) = (list(spec, "steps"), list(spec, "params"));
    faults.add(params::types(declared).under("params"));
    faults.add(params::with_steps(own, declared, config));
    faults.add(variables::context(own, config));
    faults.add(variables::results(spec, config));
    for (index, result) in list(spec, "results").iter().enumerate() {
        faults.add(results::task_result(result).field_index("results", index));
    }
    faults
}

fn volumes(spec: &Value) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let name = text(volume, "name");
        if !seen.insert(name) {
            let message = format!("multiple volumes with same name {}", quote(name));
            faults.add(Faults::at(message, &["name"]).field_index("volumes", index));
        }
    }
    faults
}

/// Steps with what the template gives them, as far as validation looks at it; steps with a reference stay alone.
fn merged(spec: &Value) -> Vec<Value> {
    let template = &spec["stepTemplate"];
    let mut steps = list(spec, "steps").to_vec();
    for step in steps.iter_mut().filter(|s| some(s, "ref").is_none()) {
        for field in ["image", "command", "args", "workingDir", "imagePullPolicy"] {
            let absent = text(step, field).is_empty() && list(step, field).is_empty();
            if let (true, Some(value)) = (absent, some(template, field)) {
                step[field] = value.clone();
            }
        }
        for (field, key) in [("env", "name"), ("volumeMounts", "mountPath"), ("envFrom", "")] {
            let more: Vec<_> = list(template, field)
                .iter()
                .filter(|t| key.is_empty() || list(step, field).iter().all(|s| s[key] != t[key]))
                .cloned()
                .collect();
            if !more.is_empty() {
                let own = list(step, field).iter().cloned();
                step[field] = own.chain(more).collect();
            }
        }
    }
    steps
}
