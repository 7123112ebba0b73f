//! TaskRuns and PipelineRuns.

use serde_json::{Map, Value, json};

use super::annotations::{self, CLOUD_EVENTS, RESOURCES, RESOURCES_RESULT, RESOURCES_STATUS};
use super::{ConvertError, Names, Way, each, part, pipeline, reference, remove, rename, status, task};
use crate::api::defaults::spell;

const STEP_SPECS: Names = ("stepOverrides", "stepSpecs");
const SIDECAR_SPECS: Names = ("sidecarOverrides", "sidecarSpecs");

pub(super) fn task_run(run: &mut Value, way: Way) -> Result<(), ConvertError> {
    let name = run["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let resources = |spec: &mut Value, metadata: &mut Map<String, Value>| match way {
        Way::Up => {
            annotations::put_away(metadata, spec, "resources", RESOURCES);
            Ok(())
        }
        Way::Down => annotations::take_out(metadata, spec, "resources", RESOURCES),
    };
    part(run, "spec", resources)?;
    if way == Way::Down && !run["status"].is_object() {
        run["status"] = json!({});
    }
    part(run, "status", |inner, metadata| {
        for (field, key) in [("cloudEvents", CLOUD_EVENTS), ("resourcesResult", RESOURCES_RESULT)] {
            match way {
                Way::Up => annotations::put_away(metadata, inner, field, key),
                Way::Down => annotations::take_out(metadata, inner, field, key)?,
            }
        }
        if way == Way::Up
            && let Some(spec) = inner.get_mut("taskSpec")
        {
            annotations::with_types(spec.get_mut("resources"));
            annotations::put_away(metadata, spec, "resources", RESOURCES_STATUS);
        }
        status::task_run(inner, metadata, &name, way)?;
        if way == Way::Down {
            let mut holder = json!({});
            annotations::take_out(metadata, &mut holder, "resources", RESOURCES_STATUS)?;
            if let Some(resources) = remove(&mut holder, "resources") {
                inner["taskSpec"]["resources"] = resources;
            }
        }
        Ok(())
    })?;
    if run["status"].as_object().is_some_and(Map::is_empty) {
        remove(run, "status");
    }
    part(run, "spec", |spec, metadata| task_run_spec(spec, metadata, &name, way))
}

fn task_run_spec(
    spec: &mut Value,
    metadata: &mut Map<String, Value>,
    name: &str,
    way: Way,
) -> Result<(), ConvertError> {
    // Lost, as in the reference; `keep` gives it back.
    remove(spec, "managedBy");
    reference(spec, "taskRef");
    spell(spec, "timeout");
    specifics(spec, way)?;
    match spec.get_mut("taskSpec").filter(|s| s.is_object()) {
        Some(inner) => task::spec(inner, metadata, name, way),
        None => Ok(()),
    }
}

/// What a run says of single steps and sidecars.
fn specifics(spec: &mut Value, way: Way) -> Result<(), ConvertError> {
    for names in [STEP_SPECS, SIDECAR_SPECS] {
        let from = if way == Way::Up { names.0 } else { names.1 };
        each(spec, from, |one| {
            rename(one, ("resources", "computeResources"), way);
            Ok(())
        })?;
        rename(spec, names, way);
    }
    Ok(())
}

pub(super) fn pipeline_run(run: &mut Value, way: Way) -> Result<(), ConvertError> {
    part(run, "spec", |spec, metadata| match way {
        Way::Up => {
            annotations::put_away(metadata, spec, "resources", RESOURCES);
            Ok(())
        }
        Way::Down => annotations::take_out(metadata, spec, "resources", RESOURCES),
    })?;
    part(run, "status", |inner, metadata| status::pipeline_run(inner, metadata, way))?;
    part(run, "spec", |spec, metadata| pipeline_run_spec(spec, metadata, way))
}

fn pipeline_run_spec(
    spec: &mut Value,
    metadata: &mut Map<String, Value>,
    way: Way,
) -> Result<(), ConvertError> {
    // Lost, as in the reference; `keep` gives it back.
    remove(spec, "managedBy");
    reference(spec, "pipelineRef");
    if let Some(inner) = spec.get_mut("pipelineSpec").filter(|s| s.is_object()) {
        pipeline::spec(inner, metadata, way)?;
    }
    spell(spec, "timeout");
    template(spec, way);
    if let Some(timeouts) = spec.get_mut("timeouts").filter(|t| t.is_object()) {
        ["pipeline", "tasks", "finally"].into_iter().for_each(|which| spell(timeouts, which));
    }
    each(spec, "taskRunSpecs", |one| {
        for names in [("taskServiceAccountName", "serviceAccountName"), ("taskPodTemplate", "podTemplate")] {
            rename(one, names, way);
        }
        spell(one, "timeout");
        if way == Way::Down
            && let Some(metadata) = one.get_mut("metadata").filter(|m| m.is_object())
        {
            // The reference gives back the labels twice.
            match metadata.get("labels").cloned() {
                Some(labels) => metadata["annotations"] = labels,
                None => drop(remove(metadata, "annotations")),
            }
        }
        specifics(one, way)
    })
}

/// What v1 has in a template for the runs of tasks, and the only timeout of old.
fn template(spec: &mut Value, way: Way) {
    let moved = ["serviceAccountName", "podTemplate"];
    match way {
        Way::Up => {
            let mut template = json!({});
            for field in moved {
                if let Some(value) = remove(spec, field) {
                    template[field] = value;
                }
            }
            spec["taskRunTemplate"] = template;
            if let Some(timeout) = remove(spec, "timeout").filter(|t| !t.is_null()) {
                spec["timeouts"] = json!({"pipeline": timeout});
            }
        }
        Way::Down => {
            let mut template = remove(spec, "taskRunTemplate").unwrap_or_default();
            for field in moved {
                if let Some(value) = remove(&mut template, field) {
                    spec[field] = value;
                }
            }
        }
    }
}
