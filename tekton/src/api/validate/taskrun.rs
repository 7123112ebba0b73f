//! TaskRuns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Settings;
use super::update::{self, Rules};
use super::{params, refs, task, variables, workspaces};
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{duration, list, map, names, some, text, texts, value_type};

const RULES: Rules = Rules {
    kind: "TaskRun",
    pending: "TaskRunPending",
    runs: ["taskRef", "taskSpec"],
    free: &["status", "statusMessage"],
    tip: "Once the TaskRun has started, only status and statusMessage updates are allowed",
};

/// Faults of a TaskRun.
pub(super) fn task_run(object: &Value, old: Option<&Value>, config: &Settings<'_>) -> Faults {
    update::run(object, old, &RULES, config, spec)
}

fn spec(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    if let Some(inner) = some(spec, "taskSpec") {
        faults.add(task::spec(inner, config).under("taskSpec"));
    }
    faults.add(refs::unique_by_key(names(spec, "params")).under("params"));
    faults.add(inline_params(spec, config));
    for (index, binding) in list(spec, "workspaces").iter().enumerate() {
        faults.add(workspaces::binding(binding).field_index("workspaces", index));
    }
    faults.add(refs::unique_by_index(names(spec, "workspaces")).under("workspaces"));
    if let Some(debug) = some(spec, "debug") {
        faults.add(config.gate("debug", Level::Alpha));
        faults.add(breakpoints(debug).under("debug"));
    }
    faults.add(specifics(spec, config));
    faults.add(status(spec, config));
    faults.add(pod_template(spec, config));
    faults
}

fn status(spec: &Value, config: &Settings<'_>) -> Faults {
    let (status, message) = (text(spec, "status"), text(spec, "statusMessage"));
    let mut faults = Faults::none();
    if !matches!(status, "" | "TaskRunCancelled" | "TaskRunPending") {
        let text = format!("{status} should be TaskRunCancelled or TaskRunPending");
        faults.add(Faults::invalid(text, "status"));
    }
    if status.is_empty() && !message.is_empty() {
        let text = format!(
            "statusMessage should not be set if status is not set, but it is currently set to {message}"
        );
        faults.add(Faults::invalid(text, "statusMessage"));
    }
    // v1beta1 never looked at the number of retries.
    let retries = spec.get("retries").and_then(Value::as_i64).filter(|r| *r < 0 && !config.older);
    if let Some(retries) = retries {
        faults.add(Faults::invalid(format!("{retries} should be >= 0"), "retries"));
    }
    faults.add(not_negative(spec, "timeout", "timeout"));
    faults
}

/// A duration of at least nothing.
pub(super) fn not_negative(holder: &Value, field: &str, path: &str) -> Faults {
    match duration(holder, field).filter(|d| *d < 0) {
        None => Faults::none(),
        Some(nanos) => {
            Faults::invalid(format!("{} should be >= 0", apimachinery::time::go_duration(nanos)), path)
        }
    }
}

fn breakpoints(debug: &Value) -> Faults {
    let Some(breakpoints) = some(debug, "breakpoints") else { return Faults::none() };
    let mut faults = Faults::none();
    match text(breakpoints, "onFailure") {
        "enabled" => {}
        "" => faults.add(Faults::invalid(
            "onFailure breakpoint is empty, it is only allowed to be set as enabled",
            "breakpoints.onFailure",
        )),
        other => faults.add(Faults::invalid(
            format!(
                "{other} is not a valid onFailure breakpoint value, onFailure breakpoint is only allowed to be set as enabled"
            ),
            "breakpoints.onFailure",
        )),
    }
    let mut seen = BTreeSet::new();
    for (index, step) in texts(breakpoints, "beforeSteps").enumerate() {
        if !seen.insert(step) {
            faults.add(Faults::at(
                format!("before step must be unique, the same step: {step} is defined multiple times at"),
                &[&format!("breakpoints.beforeSteps[{index}]")],
            ));
        }
    }
    faults
}

/// Fields that say something of single steps and sidecars; `Overrides` are what v1beta1 calls them.
const SPECIFICS: [&str; 4] = ["stepSpecs", "sidecarSpecs", "stepOverrides", "sidecarOverrides"];

/// Faults of what a run says of single steps and sidecars, and of its own resources.
pub(super) fn specifics(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    for field in SPECIFICS {
        if some(spec, field).is_none() {
            continue;
        }
        faults.add(config.gate(field, Level::Beta));
        let mut named = Vec::new();
        for (index, name) in names(spec, field).enumerate() {
            if name.is_empty() {
                faults.add(Faults::missing("name").field_index(field, index));
            } else {
                named.push(name);
            }
        }
        faults.add(refs::unique_by_index(named.into_iter()).under(field));
    }
    if some(spec, "computeResources").is_some() {
        faults.add(config.gate("computeResources", Level::Beta));
        for (field, part) in [("stepSpecs", "computeResources"), ("stepOverrides", "resources")] {
            let sized = |s: &Value| map(s, part).is_some_and(|r| !r.is_empty());
            if list(spec, field).iter().any(sized) {
                faults.add(Faults::both(&[&format!("{field}.resources"), "computeResources"]));
            }
        }
    }
    faults
}

/// Faults of a pod template's environment.
pub(super) fn pod_template(holder: &Value, config: &Settings<'_>) -> Faults {
    let forbidden = config.forbidden_env();
    let mut faults = Faults::none();
    for name in names(&holder["podTemplate"], "env").filter(|n| forbidden.contains(n)) {
        faults.add(Faults::invalid(
            format!("PodTemplate cannot update a forbidden env: {name}"),
            "PodTemplate.Env",
        ));
    }
    faults
}

/// Declarations by name, as a run's values and the embedded spec together make them.
pub(super) type Declared = BTreeMap<String, Value>;

/// The declaration that a value amounts to.
pub(super) fn from_value(param: &Value) -> Value {
    let value = &param["value"];
    let kind = value_type(value);
    let mut declared = json!({"name": text(param, "name"), "type": kind, "default": value});
    if kind == "object" {
        let keys = value.as_object().into_iter().flatten();
        declared["properties"] = keys.map(|(k, _)| (k.clone(), json!({"type": "string"}))).collect();
    }
    declared
}

/// Adds a declaration to those of values.
pub(super) fn combine(declared: &mut Declared, param: &Value) -> Faults {
    let name = text(param, "name");
    let Some(known) = declared.get_mut(name) else {
        declared.insert(name.to_owned(), param.clone());
        return Faults::none();
    };
    let object = some(param, "default").is_some_and(|d| value_type(d) == "object");
    if (object || known["type"] == "object") && some(param, "properties").is_none() {
        return Faults::missing(&format!("{name}.properties"));
    }
    if known["type"] == "object" {
        known["properties"] = param["properties"].clone();
    }
    Faults::none()
}

/// Faults of parameters that an embedded spec uses without declaring them.
fn inline_params(spec: &Value, config: &Settings<'_>) -> Faults {
    let Some(inner) = some(spec, "taskSpec") else { return Faults::none() };
    let mut declared = Declared::new();
    for param in list(spec, "params") {
        declared.insert(text(param, "name").to_owned(), from_value(param));
    }
    let mut faults = Faults::none();
    for param in list(inner, "params") {
        faults.add(combine(&mut declared, param));
    }
    let declared: Vec<_> = declared.into_values().collect();
    let steps = list(inner, "steps");
    if !steps.is_empty() {
        faults.add(params::types(&declared));
        faults.add(params::with_steps(steps, &declared, config));
        faults.add(variables::declared(steps, &declared, config));
    }
    faults
}
