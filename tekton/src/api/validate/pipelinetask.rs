//! One task of a pipeline.

use apimachinery::field_error::quote;
use apimachinery::names::dns1123_label;
use serde_json::Value;

use super::Settings;
use super::{pipeline, refs, task};
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{list, some, text};

/// Faults of one task, its name's uniqueness apart.
pub(super) fn pipeline_task(task: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = name(task);
    faults.add(reference_or_spec(task, config));
    for field in ["taskSpec", "pipelineSpec"] {
        if some(task, field).is_some() && config.inline_disabled("pipeline") {
            faults.add(Faults::disallowed(field));
        }
    }
    faults.add(embedded_or_type(task));
    faults.add(on_error(task, config));
    if is_custom(task) {
        faults.add(custom(task));
        return faults;
    }
    if let Some(spec) = some(task, "taskSpec") {
        faults.add(task::spec(spec, config).under("taskSpec"));
    }
    if let Some(reference) = some(task, "taskRef") {
        faults.add(refs::reference(reference, config).under("taskRef"));
    }
    if let Some(reference) = some(task, "pipelineRef") {
        faults.add(refs::reference(reference, config).under("pipelineRef"));
    }
    if let Some(spec) = some(task, "pipelineSpec") {
        faults.add(pipeline::spec(spec, config).under("pipelineSpec"));
    }
    faults
}

fn name(task: &Value) -> Faults {
    let name = text(task, "name");
    if dns1123_label(name).is_empty() {
        return Faults::none();
    }
    Faults::detailed(
        format!("invalid value {}", quote(name)),
        &["name"],
        "Pipeline Task name must be a valid DNS Label.For more info refer to https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#names",
    )
}

fn reference_or_spec(task: &Value, config: &Settings<'_>) -> Faults {
    let all = ["taskRef", "taskSpec", "pipelineRef", "pipelineSpec"];
    let set: Vec<_> = all.into_iter().filter(|f| some(task, f).is_some()).collect();
    let mut faults = Faults::none();
    for field in set.iter().filter(|f| f.starts_with("pipeline")) {
        faults.add(config.gate(field, Level::Alpha));
    }
    if set.len() > 1 {
        faults.add(Faults::at("expected exactly one, got multiple", &set));
    } else if set.is_empty() {
        let possible = if config.api_fields() == "alpha" { &all[..] } else { &all[..2] };
        faults.add(Faults::neither(possible));
    }
    faults
}

fn embedded_or_type(task: &Value) -> Faults {
    let spec = &task["taskSpec"];
    let mut faults = Faults::none();
    if list(spec, "steps").is_empty() {
        return faults;
    }
    for field in ["apiVersion", "kind"] {
        if !text(spec, field).is_empty() {
            let message = format!("taskSpec.{field} cannot be specified when using taskSpec.steps");
            faults.add(Faults::at(message, &[&format!("taskSpec.{field}")]));
        }
    }
    faults
}

pub(super) fn on_error(task: &Value, config: &Settings<'_>) -> Faults {
    let on_error = text(task, "onError");
    let mut faults = Faults::none();
    if on_error.is_empty() || on_error.starts_with("$(params") {
        return faults;
    }
    faults.add(config.gate("OnError", Level::Beta));
    if !matches!(on_error, "continue" | "stopAndFail") {
        faults.add(Faults::detailed(
            format!("invalid value: {on_error}"),
            &["OnError"],
            r#"PipelineTask OnError must be either "continue" or "stopAndFail""#,
        ));
    }
    if on_error == "continue" && task["retries"].as_i64().unwrap_or(0) > 0 {
        let message = r#"PipelineTask OnError cannot be set to "continue" when Retries is greater than 0"#;
        faults.add(Faults::at(message, &[]));
    }
    faults
}

/// Whether another controller runs the task.
fn is_custom(task: &Value) -> bool {
    ["taskRef", "taskSpec"]
        .into_iter()
        .filter_map(|f| some(task, f))
        .any(|holder| !matches!(text(holder, "kind"), "" | "Task") || !text(holder, "apiVersion").is_empty())
}

fn custom(task: &Value) -> Faults {
    let mut faults = Faults::none();
    for (field, called) in [("taskRef", "custom task ref"), ("taskSpec", "custom task spec")] {
        let Some(holder) = some(task, field) else { continue };
        for part in ["kind", "apiVersion"] {
            let value = text(holder, part);
            let path = format!("{field}.{part}");
            if value.is_empty() {
                faults.add(Faults::invalid(format!("{called} must specify {part}"), &path));
            } else if part == "apiVersion" && !value.contains('/') {
                let value = quote(value);
                let text =
                    format!(r#"invalid apiVersion format {value}, must be in the format "group/version""#);
                faults.add(Faults::invalid(text, &path));
            }
        }
    }
    faults
}
