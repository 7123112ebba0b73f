//! Status of a TaskRun from the status of its Pod.

mod failure;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::engine::condition::{self, Truth};
use crate::engine::doc::{is_empty, list, object_mut, text};
use crate::engine::params::Type;
use crate::engine::taskspec::step_name;
use crate::engine::termination::{self, Entry, Kind};
use crate::engine::time::{parse, rfc3339};

pub const MESSAGE_RUNNING: &str = "Not all Steps in the Task have finished executing";
pub const MESSAGE_SUCCEEDED: &str = "All Steps have completed executing";

/// What a Pod's status means for its run.
pub struct Derived {
    /// Results that do not fit their declarations: the reference's text.
    pub misfit: Option<String>,
    /// The run has ended.
    pub done: bool,
}

/// Writes into `status` what `pod` says. `spec` is the task's spec as it was run.
pub fn derive(
    status: &mut Value,
    pod: &Value,
    spec: &Value,
    on_error_continue: bool,
    now_us: i64,
) -> Derived {
    if condition::succeeded(status).is_null() {
        condition::set(status, Truth::Unknown, "Running", MESSAGE_RUNNING, now_us);
    }
    object_mut(status).insert("podName".into(), pod["metadata"]["name"].clone());
    let complete = is_complete(pod, spec);
    let mut misfit = None;
    let entries = steps(status, pod, spec, &mut misfit);
    sidecars(status, pod);
    if complete {
        results(status, spec, &entries, &mut misfit);
        finish(status, pod, on_error_continue, now_us);
    } else {
        progress(status, pod, now_us);
    }
    Derived { misfit, done: complete }
}

fn containers<'a>(pod: &'a Value, prefix: &'a str) -> impl Iterator<Item = &'a Value> {
    list(&pod["status"], "containerStatuses").iter().filter(move |c| text(c, "name").starts_with(prefix))
}

/// All steps have ended, or the Pod has.
fn is_complete(pod: &Value, spec: &Value) -> bool {
    match text(&pod["status"], "phase") {
        "Succeeded" | "Failed" => true,
        "Running" => {
            let ended: Vec<_> =
                containers(pod, "step-").map(|c| !c["state"]["terminated"].is_null()).collect();
            let out_of_memory =
                containers(pod, "step-").any(|c| text(&c["state"]["terminated"], "reason") == "OOMKilled");
            out_of_memory
                || (!ended.is_empty() && ended.len() >= list(spec, "steps").len() && ended.iter().all(|e| *e))
        }
        _ => false,
    }
}

/// States of the steps, in the spec's order; returns the results they tell.
fn steps(
    status: &mut Value,
    pod: &Value,
    spec: &Value,
    misfit: &mut Option<String>,
) -> Vec<(String, Vec<Entry>)> {
    let mut states = Vec::new();
    let mut all = Vec::new();
    let mut artifacts = json!({});
    for (index, step) in list(spec, "steps").iter().enumerate() {
        let container = crate::engine::names::restrict(&step_name(step, index));
        let Some(seen) = containers(pod, "step-").find(|c| text(c, "name") == container) else { continue };
        let name = container.trim_start_matches("step-").to_owned();
        let (state, entries) = step_state(&name, seen, &mut artifacts, misfit);
        states.push(state);
        all.push((name, entries));
    }
    if states.is_empty() && is_empty(status, "steps") {
        states = list(spec, "steps")
            .iter()
            .enumerate()
            .map(|(index, step)| json!({"name": step_name(step, index).trim_start_matches("step-")}))
            .collect();
    }
    if !states.is_empty() {
        object_mut(status).insert("steps".into(), Value::Array(states));
    }
    if !artifacts.as_object().is_none_or(serde_json::Map::is_empty) {
        object_mut(status).insert("artifacts".into(), artifacts);
    }
    all
}

fn step_state(
    name: &str,
    seen: &Value,
    artifacts: &mut Value,
    misfit: &mut Option<String>,
) -> (Value, Vec<Entry>) {
    let mut state = json!({"name": name, "container": seen["name"], "imageID": seen["imageID"]});
    let mut entries = Vec::new();
    for kind in ["waiting", "running", "terminated"] {
        if !seen["state"][kind].is_null() {
            state[kind] = seen["state"][kind].clone();
        }
    }
    if seen["state"]["terminated"].is_null() {
        return (state, entries);
    }
    let message = text(&seen["state"]["terminated"], "message");
    let parsed = termination::parse(message);
    let mut why = text(&seen["state"]["terminated"], "reason").to_owned();
    if let Ok(parsed) = parsed {
        let mut visible = Vec::new();
        for entry in parsed {
            match (entry.kind, entry.key.as_str()) {
                (Kind::Internal, "StartedAt") => {
                    // The container started earlier: it waited for its turn.
                    if let Some(at) = parse(&entry.value) {
                        state["terminated"]["startedAt"] = json!(rfc3339(at));
                    }
                }
                (Kind::Internal, "ExitCode") => {
                    if let Ok(code) = entry.value.parse::<i64>() {
                        state["terminated"]["exitCode"] = json!(code);
                        why = "Continued".into();
                    }
                }
                (Kind::Internal, "Reason") => why = entry.value.clone(),
                (Kind::Internal, _) => {}
                (Kind::StepArtifacts, _) => add_artifacts(&mut state, &entry.value, misfit),
                (Kind::TaskArtifacts, _) => merge_artifacts(artifacts, &entry.value, misfit),
                (Kind::StepResult, _) => {
                    let value = result_value(&entry.value, None).unwrap_or_else(|_| json!(entry.value));
                    let kind = Type::of(&value).as_str();
                    let results = crate::engine::doc::list_mut(&mut state, "results");
                    results.push(json!({"name": entry.key, "type": kind, "value": value}));
                    visible.push(entry);
                }
                (Kind::TaskRunResult | Kind::Other(_), _) => visible.push(entry),
            }
        }
        if visible.is_empty() {
            object_mut(&mut state["terminated"]).remove("message");
        } else {
            state["terminated"]["message"] = json!(termination::write(&visible));
        }
        entries = visible;
    }
    state["terminationReason"] = json!(why);
    (state, entries)
}

fn add_artifacts(state: &mut Value, text: &str, misfit: &mut Option<String>) {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            for key in ["inputs", "outputs"] {
                if !is_empty(&value, key) {
                    state[key] = value[key].clone();
                }
            }
        }
        Err(error) => *misfit = Some(error.to_string()),
    }
}

fn merge_artifacts(artifacts: &mut Value, text: &str, misfit: &mut Option<String>) {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            for key in ["inputs", "outputs"] {
                if !is_empty(&value, key) {
                    artifacts[key] = value[key].clone();
                }
            }
        }
        Err(error) => *misfit = Some(error.to_string()),
    }
}

fn sidecars(status: &mut Value, pod: &Value) {
    let states: Vec<_> = containers(pod, "sidecar-")
        .map(|seen| {
            let name = text(seen, "name").trim_start_matches("sidecar-");
            let mut state = json!({"name": name, "container": seen["name"], "imageID": seen["imageID"]});
            for kind in ["waiting", "running", "terminated"] {
                if !seen["state"][kind].is_null() {
                    state[kind] = seen["state"][kind].clone();
                }
            }
            state
        })
        .collect();
    if !states.is_empty() {
        object_mut(status).insert("sidecars".into(), Value::Array(states));
    }
}

/// A result's text as a value: what is not declared a string is JSON.
fn result_value(text: &str, declared: Option<Type>) -> Result<Value, String> {
    match declared {
        Some(Type::String) => Ok(json!(text)),
        _ => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Array(_) | Value::Object(_))) if Type::of(&value) != Type::String => Ok(value),
            _ => Ok(json!(text)),
        },
    }
}

fn results(status: &mut Value, spec: &Value, entries: &[(String, Vec<Entry>)], misfit: &mut Option<String>) {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (_, step) in entries {
        for entry in step.iter().filter(|e| e.kind == Kind::TaskRunResult) {
            texts.insert(entry.key.clone(), entry.value.clone());
        }
    }
    // Results that are taken from a step's result.
    for result in list(spec, "results") {
        let Some(reference) = result["value"].as_str() else { continue };
        if let Some(text) = from_step(reference, entries) {
            texts.insert(text_name(result), text);
        }
    }
    let mut wrong = Vec::new();
    let mut out = Vec::new();
    for (name, text) in texts {
        let Some(declared) = crate::engine::taskspec::result(spec, &name) else { continue };
        let kind = Type::declared(declared);
        let value = result_value(&text, Some(kind)).unwrap_or_else(|_| json!(text));
        if Type::of(&value) == kind {
            out.push(json!({"name": name, "type": kind.as_str(), "value": value}));
        } else {
            wrong.push(format!(
                " {name:?}: task result is expected to be {:?} type but was initialized to a different type {:?}",
                kind.as_str(),
                Type::of(&value).as_str()
            ));
        }
    }
    if !wrong.is_empty() {
        let head = "Provided results don't match declared results; may be invalid JSON or missing result declaration: ";
        *misfit = Some(format!("{head}{}", wrong.join(",")));
    }
    if !out.is_empty() {
        object_mut(status).insert("results".into(), Value::Array(out));
    }
}

fn text_name(result: &Value) -> String {
    text(result, "name").to_owned()
}

/// Text of `$(steps.S.results.R)`.
fn from_step(reference: &str, entries: &[(String, Vec<Entry>)]) -> Option<String> {
    let inner = reference.strip_prefix("$(steps.")?.strip_suffix(')')?;
    let (step, result) = inner.split_once(".results.")?;
    let result = result.trim_end_matches("[*]");
    let (_, of_step) = entries.iter().find(|(name, _)| name == step)?;
    of_step.iter().find(|e| e.kind == Kind::StepResult && e.key == result).map(|e| e.value.clone())
}

fn finish(status: &mut Value, pod: &Value, on_error_continue: bool, now_us: i64) {
    if is_empty(status, "artifacts") {
        object_mut(status).insert("artifacts".into(), json!({}));
    }
    match failure::of(pod) {
        None => condition::set(status, Truth::True, "Succeeded", MESSAGE_SUCCEEDED, now_us),
        Some((reason, message)) => {
            let reason = if on_error_continue { "FailureIgnored" } else { reason };
            condition::set(status, Truth::False, reason, &message, now_us);
        }
    }
    object_mut(status).insert("completionTime".into(), json!(rfc3339(now_us)));
}

fn progress(status: &mut Value, pod: &Value, now_us: i64) {
    if text(&pod["status"], "phase") == "Pending" {
        let (reason, message) = failure::pending(pod);
        condition::set(status, Truth::Unknown, &reason, &message, now_us);
    } else {
        condition::set(status, Truth::Unknown, "Running", MESSAGE_RUNNING, now_us);
    }
}
