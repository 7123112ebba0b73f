//! What v1beta1 has besides the newest version: fields that must stay empty, and older places of others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Settings;
use super::{pipeline, taskrun};
use crate::api::fault::Faults;
use crate::api::read::{list, names, some, text};

/// Faults of a v1beta1 object that its newer form does not have.
pub(super) fn older(kind: &str, object: &Value, config: &Settings<'_>) -> Faults {
    let spec = &object["spec"];
    let mut faults = match kind {
        "Task" => resources(spec),
        "Pipeline" => pipeline_spec(spec),
        "TaskRun" => {
            let mut faults = resources(spec);
            faults.add(resources(&spec["taskSpec"]).under("taskSpec"));
            faults.add(bundle(&spec["taskRef"]).under("taskRef"));
            faults
        }
        "PipelineRun" => pipeline_run(spec, config),
        _ => return Faults::none(),
    };
    faults = faults.under("spec");
    faults
}

fn resources(spec: &Value) -> Faults {
    match some(spec, "resources") {
        Some(_) => Faults::disallowed("resources"),
        None => Faults::none(),
    }
}

fn bundle(reference: &Value) -> Faults {
    match text(reference, "bundle") {
        "" => Faults::none(),
        _ => Faults::disallowed("bundle"),
    }
}

fn pipeline_spec(spec: &Value) -> Faults {
    let mut faults = resources(spec);
    for section in ["tasks", "finally"] {
        for (index, task) in list(spec, section).iter().enumerate() {
            let mut found = resources(task);
            found.add(resources(&task["taskSpec"]).under("taskSpec"));
            found.add(bundle(&task["taskRef"]).under("taskRef"));
            faults.add(found.field_index(section, index));
        }
    }
    faults
}

/// Workspaces that an embedded pipeline's tasks refer to must be the run's, the pipeline's, or some earlier task's. As
/// in the reference, the paths do not say in which list of tasks it is.
fn propagated_workspaces(spec: &Value) -> Faults {
    let inner = &spec["pipelineSpec"];
    let mut known: BTreeSet<&str> = names(spec, "workspaces").chain(names(inner, "workspaces")).collect();
    let mut faults = Faults::none();
    for section in ["tasks", "finally"] {
        for (index, task) in list(inner, section).iter().enumerate() {
            known.extend(names(task, "workspaces"));
            faults.add(pipeline::bound_workspaces(task, &known).index(index));
        }
    }
    faults
}

fn pipeline_run(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = resources(spec);
    faults.add(bundle(&spec["pipelineRef"]).under("pipelineRef"));
    faults.add(pipeline_spec(&spec["pipelineSpec"]).under("pipelineSpec"));
    faults.add(propagated_workspaces(spec));
    faults.add(taskrun::not_negative(spec, "timeout", "timeout"));
    if some(spec, "timeout").is_some() && some(spec, "timeouts").is_some() {
        faults.add(Faults::at("must not set the field(s)", &["timeout", "timeouts"]));
    }
    faults.add(taskrun::pod_template(spec, config));
    faults
}
