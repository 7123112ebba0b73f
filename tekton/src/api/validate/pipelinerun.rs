//! PipelineRuns.

use apimachinery::field_error::quote;
use apimachinery::time::go_duration;
use serde_json::{Value, json};

use super::Settings;
use super::matrix::of_param;
use super::references::{looks_like_result, result};
use super::taskrun::{self, Declared};
use super::update::{self, Rules};
use super::{params, pipeline, pipelineparams, refs, variables, workspaces};
use crate::api::fault::Faults;
use crate::api::read::{duration, list, names, some, text, value_type};

const RULES: Rules = Rules {
    kind: "PipelineRun",
    pending: "PipelineRunPending",
    runs: ["pipelineRef", "pipelineSpec"],
    free: &["status"],
    tip: "Once the PipelineRun has started, only status updates are allowed",
};
const STATUSES: [&str; 4] = ["Cancelled", "CancelledRunFinally", "StoppedRunFinally", "PipelineRunPending"];

/// Faults of a PipelineRun.
pub(super) fn pipeline_run(object: &Value, old: Option<&Value>, config: &Settings<'_>) -> Faults {
    update::run(object, old, &RULES, config, spec)
}

fn spec(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    if let Some(inner) = some(spec, "pipelineSpec") {
        faults.add(pipeline::spec(inner, config).under("pipelineSpec"));
        faults.add(pipeline::beta(inner, config));
        faults.add(inline_params(spec, inner, config));
    }
    faults.add(given_params(spec));
    for (index, specific) in list(spec, "taskRunSpecs").iter().enumerate() {
        let mut found = taskrun::specifics(specific, config);
        found.add(taskrun::pod_template(specific, config));
        found.add(taskrun::not_negative(specific, "timeout", "timeout"));
        faults.add(found.field_index("taskRunSpecs", index));
    }
    faults.add(timeouts(spec, config));
    if config.older || some(spec, "timeouts").is_some() {
        faults.add(specific_timeouts(spec, config));
    }
    let status = text(spec, "status");
    if !status.is_empty() && !STATUSES.contains(&status) {
        let [a, b, c, d] = STATUSES;
        faults.add(Faults::invalid(format!("{status} should be {a}, {b}, {c} or {d}"), "status"));
    }
    faults.add(bindings(spec));
    faults.add(taskrun::pod_template(&spec["taskRunTemplate"], config).under("taskRunTemplate"));
    faults
}

fn bindings(spec: &Value) -> Faults {
    let mut seen = std::collections::BTreeMap::new();
    let mut faults = Faults::none();
    for (index, bound) in list(spec, "workspaces").iter().enumerate() {
        faults.add(workspaces::binding(bound).field_index("workspaces", index));
        let name = text(bound, "name");
        if let Some(before) = seen.insert(name, index) {
            let message = format!(
                "workspace {} provided by pipelinerun more than once, at index {before} and {index}",
                quote(name)
            );
            faults.add(Faults::at(message, &["name"]).field_index("workspaces", index));
        }
    }
    faults
}

fn given_params(spec: &Value) -> Faults {
    let mut faults = refs::unique_by_key(names(spec, "params")).under("params");
    for param in list(spec, "params") {
        let found: Vec<_> = of_param(param).into_iter().filter(|e| looks_like_result(e)).collect();
        if found.iter().any(|e| result(e).is_some()) {
            let message = format!(
                "cannot use result expressions in [{}] as PipelineRun parameter values",
                found.join(" ")
            );
            faults.add(Faults::invalid(message, "value").field_key("params", text(param, "name")));
        }
    }
    faults
}

/// Takes over the values of a task's parameters, which an embedded spec of it sees.
fn add_values(declared: &mut Declared, task: &Value) {
    for param in list(task, "params") {
        let value = &param["value"];
        let Some(known) = declared.get_mut(text(param, "name")) else {
            declared.insert(text(param, "name").to_owned(), taskrun::from_value(param));
            continue;
        };
        if value_type(value) == "object" && known["type"] == "object" {
            for key in value.as_object().into_iter().flatten().map(|(k, _)| k) {
                known["properties"][key] = json!({"type": "string"});
            }
        }
    }
}

/// Faults of parameters that embedded specs use without declaring them.
fn inline_params(spec: &Value, inner: &Value, config: &Settings<'_>) -> Faults {
    let mut declared = Declared::new();
    for param in list(spec, "params") {
        declared.insert(text(param, "name").to_owned(), taskrun::from_value(param));
    }
    let mut faults = Faults::none();
    for param in list(inner, "params") {
        faults.add(taskrun::combine(&mut declared, param));
    }
    let tasks = list(inner, "tasks");
    for task in tasks {
        add_values(&mut declared, task);
        for param in list(&task["taskSpec"], "params") {
            faults.add(taskrun::combine(&mut declared, param));
        }
    }
    let declared: Vec<_> = declared.into_values().collect();
    for task in tasks {
        let steps = list(&task["taskSpec"], "steps");
        if !steps.is_empty() {
            faults.add(params::types(&declared));
            faults.add(params::with_steps(steps, &declared, config));
            faults.add(variables::declared(steps, &declared, config));
        }
    }
    if !tasks.is_empty() {
        faults.add(pipelineparams::declarations(tasks, &declared, config));
        faults.add(pipelineparams::uses(tasks, &declared));
    }
    faults
}

fn timeouts(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    let Some(timeouts) = some(spec, "timeouts") else { return faults };
    for part in ["tasks", "finally", "pipeline"] {
        faults.add(taskrun::not_negative(timeouts, part, part).under("timeouts"));
    }
    let (limit, tip) = match duration(timeouts, "pipeline") {
        Some(limit) => (limit, "should be <= pipeline duration"),
        None => (config.default_timeout(), "should be <= default timeout duration"),
    };
    let (tasks, finally) = (duration(timeouts, "tasks"), duration(timeouts, "finally"));
    for (part, own) in [("timeouts.tasks", tasks), ("timeouts.finally", finally)] {
        if let Some(own) = own.filter(|own| limit != 0 && (*own > limit || *own == 0)) {
            let note = if own == 0 { " (no timeout)" } else { "" };
            faults.add(Faults::invalid(format!("{}{note} {tip}", go_duration(own)), part));
        }
    }
    // The sum is compared even where there is no limit, as in the reference.
    if let (Some(tasks), Some(finally)) = (tasks, finally)
        && tasks.saturating_add(finally) > limit
    {
        let message = format!("{} + {} {tip}", go_duration(tasks), go_duration(finally));
        faults.add(Faults::at(format!("invalid value: {message}"), &["timeouts.tasks", "timeouts.finally"]));
    }
    faults
}

/// A single task may not have more time than all of them.
fn specific_timeouts(spec: &Value, config: &Settings<'_>) -> Faults {
    let timeouts = &spec["timeouts"];
    let fallback = if config.older { "default pipeline duration" } else { "default timeout duration" };
    let (limit, source) = match (duration(timeouts, "tasks"), duration(timeouts, "pipeline")) {
        (Some(limit), _) => (limit, "pipeline tasks duration"),
        (None, Some(limit)) => (limit, "pipeline duration"),
        (None, None) => (config.default_timeout(), fallback),
    };
    let mut faults = Faults::none();
    for (index, specific) in list(spec, "taskRunSpecs").iter().enumerate() {
        if let Some(own) = duration(specific, "timeout").filter(|own| limit > 0 && *own > limit) {
            let message = format!("{} should be <= {source} {}", go_duration(own), go_duration(limit));
            faults.add(Faults::invalid(message, "timeout").field_index("taskRunSpecs", index));
        }
    }
    faults
}
