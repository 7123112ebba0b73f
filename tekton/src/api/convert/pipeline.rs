//! Pipelines and embedded pipeline specs.

use serde_json::{Map, Value};

use super::annotations::{self, RESOURCES};
use super::{ConvertError, Way, each, param_specs, part, reference, remove, task};
use crate::api::defaults::spell;

pub(super) fn object(pipeline: &mut Value, way: Way) -> Result<(), ConvertError> {
    part(pipeline, "spec", |inner, metadata| {
        match way {
            Way::Up => {
                annotations::with_types(inner.get_mut("resources"));
                annotations::put_away(metadata, inner, "resources", RESOURCES);
            }
            Way::Down => annotations::take_out(metadata, inner, "resources", RESOURCES)?,
        }
        spec(inner, metadata, way)
    })
}

pub(super) fn spec(
    spec: &mut Value,
    metadata: &mut Map<String, Value>,
    way: Way,
) -> Result<(), ConvertError> {
    if way == Way::Up {
        remove(spec, "resources");
    }
    for section in ["tasks", "finally"] {
        each(spec, section, |inner| pipeline_task(inner, metadata, way))?;
    }
    param_specs(spec)
}

fn pipeline_task(inner: &mut Value, metadata: &mut Map<String, Value>, way: Way) -> Result<(), ConvertError> {
    // Pipelines in pipelines are lost, as in the reference; `keep` gives them back.
    for lost in ["pipelineRef", "pipelineSpec", "resources"] {
        remove(inner, lost);
    }
    reference(inner, "taskRef");
    spell(inner, "timeout");
    let fans_out =
        |m: &Value| ["params", "include"].into_iter().any(|f| m[f].as_array().is_some_and(|a| !a.is_empty()));
    if inner.get("matrix").is_some_and(|m| !fans_out(m)) {
        remove(inner, "matrix");
    }
    let name = inner["name"].as_str().unwrap_or("").to_owned();
    match inner.get_mut("taskSpec").filter(|s| s.is_object()) {
        Some(spec) => task::spec(spec, metadata, &name, way),
        None => Ok(()),
    }
}
