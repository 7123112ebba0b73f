//! Versions of a kind: one is stored, the others are made of it when they are asked for.

use apimachinery::kind::Kind;
use apimachinery::meta::Part;
use apimachinery::schema::{self, FieldValidation};
use apimachinery::status::Status;
use serde_json::Value;
use tekton::api::convert;

use crate::app::Admission;

/// An object in `version` of its kind.
///
/// # Errors
/// 500 in the reference's words, when it cannot be had in that version.
pub(crate) fn show(
    admission: Admission,
    kind: &'static Kind,
    version: &str,
    mut object: Value,
) -> Result<Value, Status> {
    if object["apiVersion"] == kind.api_version(version) {
        return Ok(object);
    }
    if admission == Admission::Bare {
        // As an API server without conversion: only the name changes, and what the version has not is left out.
        object["apiVersion"] = kind.api_version(version).into();
        schema::conform(kind, version, &mut object, &[], FieldValidation::Ignore)?;
        return Ok(object);
    }
    let original = object.clone();
    convert::to(kind.kind, version, &mut object).map_err(|why| {
        let from = original["apiVersion"].as_str().unwrap_or("");
        Status::internal(&format!("conversion webhook for {from}, Kind={} failed: {why}", kind.kind))
    })?;
    convert::keep(kind.kind, &original, &mut object);
    Ok(object)
}

/// An object as it is stored. `old` is the stored one that it replaces; what the write was not about stays as it is
/// there, also where the version of the write has no place for it.
///
/// # Errors
/// As [`show`].
pub(crate) fn keep(
    admission: Admission,
    kind: &'static Kind,
    object: &Value,
    old: Option<&Value>,
    part: Part,
) -> Result<Value, Status> {
    let mut stored = show(admission, kind, kind.stored_version().name, object.clone())?;
    let untouched = match part {
        Part::Main if kind.has_status() => "status",
        Part::Main => return Ok(stored),
        Part::Status => "spec",
    };
    let Some(old) = old else { return Ok(stored) };
    match old.get(untouched) {
        Some(value) => stored[untouched] = value.clone(),
        None => {
            if let Some(map) = stored.as_object_mut() {
                map.remove(untouched);
            }
        }
    }
    Ok(stored)
}
