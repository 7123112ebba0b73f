//! ObjectMeta: views on an object's `metadata`, and what create, update and delete do to it.

use serde_json::{Map, Value};

mod check;
mod create;
mod delete;
mod shape;
mod update;

pub use check::warnings;
pub use create::{Birth, prepare_create};
pub use delete::{Deletion, Propagation, mark_for_deletion};
pub(crate) use shape::json_type;
pub use shape::{check_type, normalise};
pub use update::{Part, check_version, is_finished, prepare_update, unchanged};

/// Finalizer that holds an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer that holds an object until its dependents have forgotten it.
pub const ORPHAN: &str = "orphan";

/// `metadata.name`, or empty.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`, or empty.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`, or empty.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`, or empty.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.generation`, or 0.
pub fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

/// A member of `metadata` as text, or empty.
pub fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object["metadata"][member].as_str().unwrap_or("")
}

/// The value of a label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// The value of an annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

/// It has a deletionTimestamp.
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// `metadata` as a map; made when it is missing or no map. [`None`] when `object` itself is no map.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let member = object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !member.is_object() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut()
}

/// Sets a member of `metadata`.
pub fn set(object: &mut Value, member: &str, value: impl Into<Value>) {
    if let Some(metadata) = metadata_mut(object) {
        metadata.insert(member.to_owned(), value.into());
    }
}

/// Removes a member of `metadata`.
pub fn unset(object: &mut Value, member: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(member);
    }
}

/// Sets a label.
pub fn set_label(object: &mut Value, key: &str, value: impl Into<String>) {
    set_in(object, "labels", key, value.into());
}

/// Sets an annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: impl Into<String>) {
    set_in(object, "annotations", key, value.into());
}

fn set_in(object: &mut Value, member: &str, key: &str, value: String) {
    if let Some(metadata) = metadata_mut(object) {
        let map = metadata.entry(member).or_insert_with(|| Value::Object(Map::new()));
        if !map.is_object() {
            *map = Value::Object(Map::new());
        }
        map[key] = value.into();
    }
}

#[cfg(test)]
mod tests;
