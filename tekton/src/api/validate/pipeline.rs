//! Pipelines and embedded pipeline specs.

use std::collections::BTreeSet;

use apimachinery::field_error::quote;
use serde_json::Value;

use super::Settings;
use super::matrix::{self, of_param};
use super::references::{self, expressions, looks_like_result};
use super::{graph, metadata, pipelineparams, pipelinetask, variables, when};
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{list, names, some, text, texts};

const SECTIONS: [&str; 2] = ["tasks", "finally"];

/// Faults of a Pipeline. It cannot count on a run's parameters and workspaces, so that all it uses must be declared.
pub(super) fn pipeline(object: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = metadata::metadata(object);
    let inner = &object["spec"];
    let mut found = spec(inner, config);
    let declared = list(inner, "params");
    let workspaces: BTreeSet<_> = names(inner, "workspaces").collect();
    for section in SECTIONS {
        let tasks = list(inner, section);
        for (index, task) in tasks.iter().enumerate() {
            if let Some(embedded) = some(task, "taskSpec") {
                let all: Vec<_> = list(embedded, "params").iter().chain(declared).cloned().collect();
                let fault = variables::declared(list(embedded, "steps"), &all, config);
                found.add(fault.field_index(section, index));
            }
            found.add(bound_workspaces(task, &workspaces).field_index(section, index));
        }
        found.add(pipelineparams::uses(tasks, declared).under(section));
    }
    faults.add(found.under("spec"));
    faults.add(beta(inner, config));
    faults
}

/// Faults of fields of the beta level, in a pipeline that is not merely converted.
pub(super) fn beta(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    for task in SECTIONS.into_iter().flat_map(|s| list(spec, s)) {
        let reference = &task["taskRef"];
        if !text(reference, "resolver").is_empty() {
            faults.add(config.gate("taskref.resolver", Level::Beta));
        }
        if !list(reference, "params").is_empty() {
            faults.add(config.gate("taskref.params", Level::Beta));
        }
    }
    faults
}

/// Faults of the workspaces that a task is bound to, which must be among `declared`.
pub(super) fn bound_workspaces(task: &Value, declared: &BTreeSet<&str>) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for (index, bound) in list(task, "workspaces").iter().enumerate() {
        let name = text(bound, "name");
        if !seen.insert(name) {
            let message = format!("workspace name {} must be unique", quote(name));
            faults.add(Faults::at(message, &[""]).field_index("workspaces", index));
        }
        let wanted = match text(bound, "workspace") {
            "" => name,
            other => other,
        };
        if !declared.contains(wanted) {
            let message = format!(
                "pipeline task {} expects workspace with name {} but none exists in pipeline spec",
                quote(text(task, "name")),
                quote(wanted)
            );
            faults.add(Faults::invalid(message, "").field_index("workspaces", index));
        }
    }
    faults
}

/// Faults of a pipeline spec.
pub(super) fn spec(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    let is_set = |v: &Value| match v {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    if !spec.as_object().is_some_and(|s| s.values().any(is_set)) {
        let fields = ["description", "params", "resources", "tasks", "workspaces"];
        faults.add(Faults::at("expected at least one, got none", &fields));
    }
    let mut seen = BTreeSet::new();
    for section in SECTIONS {
        for (index, task) in list(spec, section).iter().enumerate() {
            if !seen.insert(text(task, "name")) {
                faults.add(Faults::both(&["name"]).field_index(section, index));
            }
            faults.add(pipelinetask::pipeline_task(task, config).field_index(section, index));
        }
    }
    faults.add(graph::graph(spec));
    for section in SECTIONS {
        let tasks = list(spec, section);
        faults.add(pipelineparams::declarations(tasks, list(spec, "params"), config).under(section));
        faults.add(pipelineparams::context(tasks).under(section));
        faults.add(pipelineparams::roots(tasks).under(section));
        for (index, task) in tasks.iter().enumerate() {
            faults.add(when::when(task, config).field_index(section, index));
        }
        faults.add(matrix::matrices(tasks, config).under(section));
    }
    faults.add(execution_status(spec));
    faults.add(workspaces(spec));
    faults.add(results(spec));
    faults.add(finally(spec));
    faults.add(artifacts(spec, config));
    faults
}

fn workspaces(spec: &Value) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for (index, name) in names(spec, "workspaces").enumerate() {
        let mut wrong = |message: String| {
            faults.add(Faults::invalid(message, "").field_index("workspaces", index));
        };
        if name.is_empty() {
            wrong(format!("workspace {index} has empty name"));
        }
        if !seen.insert(name) {
            wrong(format!("workspace with name {} appears more than once", quote(name)));
        }
    }
    faults
}

/// References in a task's parameters and when expressions, with the paths that they are told at.
fn referring(task: &Value) -> Vec<(Vec<&str>, String)> {
    let mut out = Vec::new();
    for param in list(task, "params") {
        out.push((of_param(param), format!("params[{}].value", text(param, "name"))));
    }
    for (index, expression) in list(task, "when").iter().enumerate() {
        let values = [text(expression, "input"), text(expression, "cel")].into_iter();
        let found = values.chain(texts(expression, "values")).flat_map(expressions).collect();
        out.push((found, format!("when[{index}]")));
    }
    out
}

/// How the outcome of a task may be referred to: not at all from tasks, and of tasks only from `finally`.
fn execution_status(spec: &Value) -> Faults {
    let is_status = |e: &str| e.starts_with("tasks.") && (e.ends_with(".status") || e.ends_with(".reason"));
    let tasks: BTreeSet<_> = names(spec, "tasks").collect();
    let mut faults = Faults::none();
    for section in SECTIONS {
        let mut told = Faults::none();
        for (index, task) in list(spec, section).iter().enumerate() {
            let mut own = Faults::none();
            for (found, path) in referring(task) {
                if found.iter().any(|e| looks_like_result(e)) {
                    continue;
                }
                for expression in found.into_iter().filter(|e| is_status(e) || *e == "tasks.status") {
                    let message = if section == "tasks" {
                        "pipeline tasks can not refer to execution status of any other pipeline task or aggregate status of tasks".to_owned()
                    } else {
                        let of = expression.trim_start_matches("tasks.");
                        let of = of.trim_end_matches(".status").trim_end_matches(".reason");
                        if expression == "tasks.status" || tasks.contains(of) {
                            continue;
                        }
                        format!("pipeline task {of} is not defined in the pipeline")
                    };
                    own.add(Faults::invalid(message, &path));
                }
            }
            // As in the reference, the paths of earlier tasks' faults get each later task in front.
            told = match section {
                "tasks" => {
                    told.add(own);
                    told.index(index)
                }
                _ => {
                    told.add(own.index(index));
                    told
                }
            };
        }
        faults.add(told.under(section));
    }
    faults
}

fn results(spec: &Value) -> Faults {
    let tasks: BTreeSet<_> = names(spec, "tasks").collect();
    let finals: BTreeSet<_> = names(spec, "finally").collect();
    let mut faults = Faults::none();
    for (index, result) in list(spec, "results").iter().enumerate() {
        let mut wrong =
            |message: &str| faults.add(Faults::invalid(message, "value").field_index("results", index));
        let found = of_param(result);
        if found.is_empty() {
            wrong("expected pipeline results to be task result expressions but no expressions were found");
        }
        if !found.iter().any(|e| looks_like_result(e)) {
            wrong(
                "expected pipeline results to be task result expressions but an invalid expressions was found",
            );
        }
        let shown: Vec<_> = found.into_iter().filter(|e| looks_like_result(e)).collect();
        let read = shown.iter().filter(|e| references::result(e).is_some()).count();
        if read != shown.len() {
            // Where some can be read, the reference prints addresses of memory; here it is how many.
            let read = if read == 0 { String::new() } else { read.to_string() };
            wrong(&format!(
                "expected all of the expressions [{}] to be result expressions but only [{read}] were",
                shown.join(" ")
            ));
        }
        let value = text(result, "value");
        let there = value.split('$').filter(|part| !part.is_empty()).all(|part| {
            let inner = part.strip_prefix('(').unwrap_or(part);
            let inner = inner.strip_suffix(')').unwrap_or(inner);
            references::result(inner).is_some_and(|r| {
                if inner.starts_with("tasks") { tasks.contains(r.task) } else { finals.contains(r.task) }
            })
        });
        if !there {
            wrong("referencing a nonexistent task");
        }
    }
    faults
}

fn finally(spec: &Value) -> Faults {
    let (tasks, finals) = (list(spec, "tasks"), list(spec, "finally"));
    let mut faults = Faults::none();
    if tasks.is_empty() && !finals.is_empty() {
        let message = format!("spec.tasks is empty but spec.finally has {} tasks", finals.len());
        faults.add(Faults::invalid(message, "finally"));
    }
    let task_names: BTreeSet<_> = names(spec, "tasks").collect();
    let final_names: BTreeSet<_> = names(spec, "finally").collect();
    for (index, task) in finals.iter().enumerate() {
        if !list(task, "runAfter").is_empty() {
            let name = text(task, "name");
            let message =
                format!("no runAfter allowed under spec.finally, final task {name} has runAfter specified");
            faults.add(Faults::invalid(message, "").field_index("finally", index));
        }
        for (found, path) in referring(task) {
            for of in found.into_iter().filter_map(references::result).map(|r| r.task) {
                let what = if final_names.contains(of) {
                    format!("a final task {of}")
                } else if !task_names.contains(of) {
                    format!("a task {of} which is not defined in the pipeline")
                } else {
                    continue;
                };
                let message = format!(
                    "invalid task result reference, final task has task result reference from {what}"
                );
                faults.add(Faults::invalid(message, &path).field_index("finally", index));
            }
        }
    }
    faults
}

/// Artifacts may only be used when their flag is on; the first use is told.
fn artifacts(spec: &Value, config: &Settings<'_>) -> Faults {
    if config.on("enable-artifacts") {
        return Faults::none();
    }
    for section in SECTIONS {
        for (index, task) in list(spec, section).iter().enumerate() {
            let mut values = Vec::new();
            list(task, "params").iter().for_each(|p| graph::all_texts(&p["value"], &mut values));
            if values.into_iter().any(super::steps::task_artifacts) {
                let message = "feature flag enable-artifacts should be set to true to use artifacts feature.";
                return Faults::at(message, &[""]).under("params").field_index(section, index);
            }
        }
    }
    Faults::none()
}
