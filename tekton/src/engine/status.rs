//! Status of a TaskRun from the status of its Pod.

mod artifacts;
mod failure;
mod results;

use serde_json::{Value, json};

pub use failure::exceeds_nodes;

use crate::engine::condition::{self, Truth};
use crate::engine::doc::{is_empty, list, object_mut, text};
use crate::engine::taskspec::step_name;
use crate::engine::termination::{self, Entry, Kind};
use crate::engine::time::{parse, rfc3339};
use artifacts::Artifacts;
use results::Results;

pub const MESSAGE_RUNNING: &str = "Not all Steps in the Task have finished executing";
pub const MESSAGE_SUCCEEDED: &str = "All Steps have completed executing";

/// What a status is derived from.
pub struct Told<'a> {
    /// The Pod.
    pub pod: &'a Value,
    /// The task's spec as it was run.
    pub spec: &'a Value,
    /// The spec that the run embeds, or null: its declarations of results count beside the task's.
    pub embedded: &'a Value,
    /// A failure of the run does not matter to its pipeline.
    pub ignore_failure: bool,
    /// A container that could not be created in time may still be.
    pub hopeful: bool,
    /// Results are told beside the steps' messages: those do not show them.
    pub results_apart: bool,
}

/// What a Pod's status means for its run, beside the run's status.
#[derive(Default)]
pub struct Derived {
    /// Results that do not fit their declarations: the reference's text.
    pub misfit: Option<String>,
    /// What steps told and cannot be read: the reference's texts.
    pub errors: Vec<String>,
}

/// Writes into `status` what the Pod says.
pub fn derive(status: &mut Value, told: &Told, now_us: i64) -> Derived {
    if condition::succeeded(status).is_null() {
        condition::set(status, Truth::Unknown, "Running", MESSAGE_RUNNING, now_us);
    }
    object_mut(status).insert("podName".into(), told.pod["metadata"]["name"].clone());
    if is_complete(told.pod, told.spec) {
        finish(status, told, now_us);
    } else {
        progress(status, told, now_us);
    }
    let done = condition::is_done(status);
    let mut derived = Derived::default();
    let mut results = Results::of(told, done);
    steps(status, told, &mut results, &mut derived.errors);
    sidecars(status, told.pod);
    if done {
        derived.misfit = results.finish(status);
    }
    derived
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

/// States of the steps, in the spec's order.
fn steps(status: &mut Value, told: &Told, results: &mut Results, errors: &mut Vec<String>) {
    let old = list(status, "steps").to_vec();
    let mut states = Vec::new();
    let mut artifacts = Artifacts::default();
    for (index, step) in list(told.spec, "steps").iter().enumerate() {
        let container = crate::engine::names::restrict(&step_name(step, index));
        let Some(seen) = containers(told.pod, "step-").find(|c| text(c, "name") == container) else {
            continue;
        };
        let name = container.trim_start_matches("step-");
        let mut state = step_state(name, seen, step, results, &mut artifacts, errors);
        let before = old.iter().find(|state| text(state, "name") == name);
        if let Some(provenance) = before.map(|state| &state["provenance"]).filter(|p| !p.is_null()) {
            state["provenance"] = provenance.clone();
        }
        states.push(state);
    }
    if !states.is_empty() {
        object_mut(status).insert("steps".into(), Value::Array(states));
    }
    if condition::is_done(status) {
        object_mut(status).insert("artifacts".into(), artifacts.of_task());
    }
}

fn step_state(
    name: &str,
    seen: &Value,
    step: &Value,
    results: &mut Results,
    artifacts: &mut Artifacts,
    errors: &mut Vec<String>,
) -> Value {
    let mut state = json!({"name": name, "container": seen["name"], "imageID": seen["imageID"]});
    for kind in ["waiting", "running", "terminated"] {
        if !seen["state"][kind].is_null() {
            state[kind] = seen["state"][kind].clone();
        }
    }
    let message = text(&seen["state"]["terminated"], "message");
    if message.is_empty() {
        return state;
    }
    let entries = match termination::parse(message) {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(error.to_string());
            return state;
        }
    };
    let why = internal(&mut state["terminated"], &entries, errors);
    let own = results.take(text(seen, "name"), step, &entries, errors);
    if !own.is_empty() {
        state["results"] = Value::Array(own);
    }
    artifacts.take(&mut state, &entries, errors);
    let shown = |e: &Entry| match e.kind {
        Kind::Internal => false,
        Kind::TaskRunResult | Kind::StepResult => !results.apart,
        Kind::StepArtifacts | Kind::TaskArtifacts | Kind::Other(_) => true,
    };
    let visible: Vec<_> = entries.into_iter().filter(shown).collect();
    if visible.is_empty() {
        object_mut(&mut state["terminated"]).remove("message");
    } else {
        state["terminated"]["message"] = json!(termination::write(&visible));
    }
    state["terminationReason"] = json!(why);
    state
}

/// Takes over what the entrypoint tells of itself; returns why the step ended.
fn internal(terminated: &mut Value, entries: &[Entry], errors: &mut Vec<String>) -> String {
    let mut why = text(terminated, "reason").to_owned();
    let said = |key: &str| entries.iter().find(|e| e.key == key);
    if let Some(entry) = said("StartedAt") {
        // The container started earlier: it waited for its turn.
        match parse(&entry.value) {
            Some(at) => terminated["startedAt"] = json!(rfc3339(at)),
            None => errors.push(format!("could not parse time value {:?} in StartedAt field", entry.value)),
        }
    }
    if let Some(entry) = said("ExitCode") {
        match entry.value.parse::<u32>() {
            Ok(code) => {
                terminated["exitCode"] = json!(code);
                why = "Continued".into();
            }
            Err(_) => {
                let head = format!("could not parse int value {:?} in ExitCode field", entry.value);
                let fault = format!("strconv.ParseUint: parsing {:?}: invalid syntax", entry.value);
                errors.push(format!("{head}: {fault}"));
            }
        }
    }
    match entries.iter().find(|e| e.kind == Kind::Internal && e.key == "Reason" && !e.value.is_empty()) {
        Some(entry) => entry.value.clone(),
        None => why,
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
    } else if !is_empty(status, "sidecars") {
        object_mut(status).remove("sidecars");
    }
}

fn finish(status: &mut Value, told: &Told, now_us: i64) {
    match failure::of(told.pod) {
        None => condition::set(status, Truth::True, "Succeeded", MESSAGE_SUCCEEDED, now_us),
        Some((reason, message)) => {
            let reason = if told.ignore_failure { "FailureIgnored" } else { reason };
            condition::set(status, Truth::False, reason, &message, now_us);
        }
    }
    object_mut(status).insert("completionTime".into(), json!(rfc3339(now_us)));
}

fn progress(status: &mut Value, told: &Told, now_us: i64) {
    match text(&told.pod["status"], "phase") {
        "Running" => condition::set(status, Truth::Unknown, "Running", MESSAGE_RUNNING, now_us),
        "Pending" => {
            let (truth, reason, message) = failure::pending(told.pod, told.hopeful);
            condition::set(status, truth, reason, &message, now_us);
        }
        _ => {}
    }
}
