//! Conversion between the versions of a kind, as the reference's conversion webhook does it.
//!
//! [`to`] is the reference's answer to the letter, with what gets lost on the way; [`keep`] gives back what both
//! versions have a place for and the reference drops all the same.
//!
//! What an older version has and a newer one does not travels in annotations, which the way back takes off again.

use serde_json::{Map, Value};

mod annotations;
mod keep;
mod pipeline;
mod requests;
mod runs;
mod status;
mod task;
#[cfg(test)]
mod tests;

pub use keep::keep;

/// Why an object cannot be had in another version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConvertError {
    /// An annotation that carries fields is not what it was.
    #[error("error {doing} key {key} from metadata: {why}")]
    Annotation {
        /// `serializing` or `deserializing`.
        doing: &'static str,
        /// The annotation.
        key: &'static str,
        /// The fault.
        why: String,
    },
    /// The steps have changed since fields of theirs were put away.
    #[error("length of deserialized steps mismatch the length of target steps")]
    Steps,
    /// A parameter that the older version cannot hold.
    #[error("cannot convert v1beta1 to v1alpha, non-string type parameter(s) found: {0}")]
    NotText(String),
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// From v1beta1 to v1.
    Up,
    /// From v1 to v1beta1.
    Down,
}

/// The two names of a field: in v1beta1 and in v1.
type Names = (&'static str, &'static str);

/// Brings an object into `version` of its kind. An object that is in it already stays as it is.
///
/// # Errors
/// When an annotation that carries fields is damaged, or the version has no place for a value.
pub fn to(kind: &str, version: &str, object: &mut Value) -> Result<(), ConvertError> {
    let group_version = object["apiVersion"].as_str().unwrap_or("");
    let (group, from) = group_version.split_once('/').unwrap_or(("", group_version));
    let group = group.to_owned();
    let way = match (from, version) {
        _ if from == version => return Ok(()),
        ("v1beta1", "v1") => Some(Way::Up),
        ("v1", "v1beta1") => Some(Way::Down),
        _ => None,
    };
    match (kind, way) {
        ("Task", Some(way)) => task::object(object, way)?,
        ("TaskRun", Some(way)) => runs::task_run(object, way)?,
        ("Pipeline", Some(way)) => pipeline::object(object, way)?,
        ("PipelineRun", Some(way)) => runs::pipeline_run(object, way)?,
        ("ResolutionRequest", None) => requests::convert(object, version)?,
        // The versions of a StepAction are the same but for their name.
        _ => {}
    }
    object["apiVersion"] = format!("{group}/{version}").into();
    Ok(())
}

/// Metadata and the rest of an object, apart, so that both can be changed.
fn split<'a>(object: &'a mut Value, part: &str) -> Option<(Map<String, Value>, &'a mut Value)> {
    let metadata = match object.get_mut("metadata") {
        Some(Value::Object(map)) => std::mem::take(map),
        _ => Map::new(),
    };
    if !object[part].is_object() {
        object["metadata"] = Value::Object(metadata);
        return None;
    }
    Some((metadata, &mut object[part]))
}

/// Converts `part` (`spec`, `status`) of an object, which may change the metadata as well.
fn part(
    object: &mut Value,
    part: &str,
    convert: impl FnOnce(&mut Value, &mut Map<String, Value>) -> Result<(), ConvertError>,
) -> Result<(), ConvertError> {
    let Some((mut metadata, inner)) = split(object, part) else { return Ok(()) };
    let outcome = convert(inner, &mut metadata);
    object["metadata"] = Value::Object(metadata);
    outcome
}

/// Gives a field its name in the other version.
fn rename(holder: &mut Value, names: Names, way: Way) {
    let (from, to) = match way {
        Way::Up => (names.0, names.1),
        Way::Down => (names.1, names.0),
    };
    if let Some(value) = remove(holder, from)
        && let Some(map) = holder.as_object_mut()
    {
        map.insert(to.to_owned(), value);
    }
}

fn remove(holder: &mut Value, field: &str) -> Option<Value> {
    holder.as_object_mut().and_then(|map| map.remove(field))
}

/// Every object in a list field.
fn each(
    holder: &mut Value,
    field: &str,
    mut with: impl FnMut(&mut Value) -> Result<(), ConvertError>,
) -> Result<(), ConvertError> {
    let items = holder.get_mut(field).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter(|item| item.is_object()).try_for_each(&mut with)
}

/// A reference: the shorthand for bundles is dropped, as the reference drops it.
fn reference(holder: &mut Value, field: &str) {
    if let Some(reference) = holder.get_mut(field) {
        remove(reference, "bundle");
    }
}

/// Declarations of parameters always say their type.
fn param_specs(holder: &mut Value) -> Result<(), ConvertError> {
    each(holder, "params", |param| {
        if param["type"].as_str().unwrap_or("").is_empty() {
            param["type"] = "string".into();
        }
        Ok(())
    })
}
