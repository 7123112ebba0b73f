//! Tasks and embedded task specs.

use serde_json::{Map, Value, json};

use super::annotations::{self, RESOURCES};
use super::{ConvertError, Way, each, param_specs, part, reference, remove, rename};
use crate::api::defaults::spell;

/// Fields of steps and step templates that v1 has not.
const DEPRECATED: [&str; 10] = [
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "stdin",
    "stdinOnce",
    "tty",
];

pub(super) fn object(task: &mut Value, way: Way) -> Result<(), ConvertError> {
    let name = task["metadata"]["name"].as_str().unwrap_or("").to_owned();
    part(task, "spec", |inner, metadata| {
        match way {
            Way::Up => {
                annotations::with_types(inner.get_mut("resources"));
                annotations::put_away(metadata, inner, "resources", RESOURCES);
            }
            Way::Down => annotations::take_out(metadata, inner, "resources", RESOURCES)?,
        }
        spec(inner, metadata, &name, way)
    })
}

/// A task spec; `name` is whose deprecated fields are put away.
pub(super) fn spec(
    spec: &mut Value,
    metadata: &mut Map<String, Value>,
    name: &str,
    way: Way,
) -> Result<(), ConvertError> {
    if way == Way::Up {
        put_deprecations_away(spec, metadata, name)?;
        // Only the outermost spec's resources have somewhere to go, and have gone there.
        remove(spec, "resources");
    }
    each(spec, "steps", |step| {
        container(step, way);
        reference(step, "ref");
        spell(step, "timeout");
        Ok(())
    })?;
    each(spec, "sidecars", |sidecar| {
        rename(sidecar, ("resources", "computeResources"), way);
        Ok(())
    })?;
    if let Some(template) = spec.get_mut("stepTemplate").filter(|t| t.is_object()) {
        container(template, way);
        if way == Way::Up {
            remove(template, "name");
        }
    }
    if way == Way::Down {
        take_deprecations_out(spec, metadata, name)?;
    }
    param_specs(spec)
}

fn container(container: &mut Value, way: Way) {
    rename(container, ("resources", "computeResources"), way);
    if way == Way::Up {
        for field in DEPRECATED {
            remove(container, field);
        }
    }
}

/// Whether a field says anything.
fn is_set(container: &Value, field: &str) -> bool {
    match &container[field] {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn deprecated(container: &Value) -> bool {
    DEPRECATED.into_iter().any(|field| is_set(container, field))
}

/// The deprecated fields of a container, among the ones that are always written.
fn only_deprecated(container: &Value, with_name: bool) -> Value {
    let mut out = json!({"resources": {}});
    let fields = DEPRECATED.into_iter().chain(with_name.then_some("name"));
    for field in fields.filter(|f| is_set(container, f)) {
        out[field] = container[field].clone();
    }
    out
}

fn put_deprecations_away(
    spec: &Value,
    metadata: &mut Map<String, Value>,
    name: &str,
) -> Result<(), ConvertError> {
    let mut all = annotations::deprecations(metadata, "serializing")?;
    let steps = spec["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let template = spec.get("stepTemplate").filter(|t| t.is_object());
    if !steps.iter().any(deprecated) && !template.is_some_and(|t| deprecated(t) || is_set(t, "name")) {
        return Ok(());
    }
    let mut fields = Map::new();
    let steps = steps.iter().map(|step| {
        let mut out = only_deprecated(step, false);
        out["name"] = "".into();
        out
    });
    fields.insert("deprecatedSteps".into(), steps.collect());
    if let Some(template) = template {
        fields.insert("deprecatedStepTemplate".into(), only_deprecated(template, true));
    }
    all.insert(name.to_owned(), Value::Object(fields));
    annotations::set_deprecations(metadata, &all);
    Ok(())
}

fn take_deprecations_out(
    spec: &mut Value,
    metadata: &mut Map<String, Value>,
    name: &str,
) -> Result<(), ConvertError> {
    let mut all = annotations::deprecations(metadata, "deserializing")?;
    let Some(fields) = all.remove(name) else { return Ok(()) };
    let put_away = fields["deprecatedSteps"].as_array().map_or(&[][..], Vec::as_slice);
    let steps = spec.get_mut("steps").and_then(Value::as_array_mut);
    if steps.as_ref().map_or(0, |s| s.len()) != put_away.len() {
        return Err(ConvertError::Steps);
    }
    for (step, from) in steps.into_iter().flatten().zip(put_away) {
        give_back(step, from, false);
    }
    if let Some(from) = fields.get("deprecatedStepTemplate").filter(|t| t.is_object()) {
        if !spec["stepTemplate"].is_object() {
            spec["stepTemplate"] = json!({});
        }
        give_back(&mut spec["stepTemplate"], from, true);
    }
    annotations::set_deprecations(metadata, &all);
    Ok(())
}

fn give_back(container: &mut Value, from: &Value, with_name: bool) {
    for field in DEPRECATED.into_iter().chain(with_name.then_some("name")) {
        if let Some(value) = from.get(field).filter(|_| container.is_object()) {
            container[field] = value.clone();
        }
    }
}
