//! Statuses of runs.

use serde_json::{Map, Value};

use super::{ConvertError, Way, each, pipeline, remove, rename, task};

pub(super) fn task_run(
    status: &mut Value,
    metadata: &mut Map<String, Value>,
    name: &str,
    way: Way,
) -> Result<(), ConvertError> {
    // Neither version hands these over.
    for lost in ["artifacts", "spanContext", "cloudEvents", "resourcesResult"] {
        if way == Way::Up || matches!(lost, "artifacts" | "spanContext") {
            remove(status, lost);
        }
    }
    each(status, "steps", |step| {
        step_state(step, way);
        Ok(())
    })?;
    each(status, "retriesStatus", |earlier| task_run(earlier, metadata, name, way))?;
    rename(status, ("taskResults", "results"), way);
    provenance(status);
    match status.get_mut("taskSpec").filter(|s| s.is_object()) {
        Some(spec) => task::spec(spec, metadata, name, way),
        None => Ok(()),
    }
}

fn step_state(step: &mut Value, way: Way) {
    remove(step, "terminationReason");
    let reason = step["terminated"]["reason"].as_str().unwrap_or("").to_owned();
    if way == Way::Up && !reason.is_empty() {
        step["terminationReason"] = reason.into();
    }
    provenance(step);
    for field in ["inputs", "outputs"] {
        for artifact in step.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            remove(artifact, "buildOutput");
        }
    }
}

/// Where something came from, without the older spelling of it.
fn provenance(holder: &mut Value) {
    if let Some(provenance) = holder.get_mut("provenance") {
        remove(provenance, "configSource");
    }
}

pub(super) fn pipeline_run(
    status: &mut Value,
    metadata: &mut Map<String, Value>,
    way: Way,
) -> Result<(), ConvertError> {
    for lost in ["taskRuns", "runs", "spanContext"] {
        remove(status, lost);
    }
    rename(status, ("pipelineResults", "results"), way);
    provenance(status);
    match status.get_mut("pipelineSpec").filter(|s| s.is_object()) {
        Some(spec) => pipeline::spec(spec, metadata, way),
        None => Ok(()),
    }
}
