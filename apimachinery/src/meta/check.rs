//! Validation of `metadata`, in the reference's words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{finalizers, owners};
use crate::field_error::{FieldError, quote};
use crate::kind::{Kind, split_api_version};
use crate::names::{dns1123_label, label_value, qualified_name};

/// All annotations together may not be larger.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// Everything that is checked on create and, once more, on update.
pub(super) fn metadata(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, prefix) = (super::name(object), super::text(object, "generateName"));
    if !prefix.is_empty() {
        let complaints = kind.names.check(prefix, true);
        errors.extend(complaints.iter().map(|c| FieldError::invalid_str("metadata.generateName", prefix, c)));
    }
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        let complaints = kind.names.check(name, false);
        errors.extend(complaints.iter().map(|c| FieldError::invalid_str("metadata.name", name, c)));
    }
    let namespace = super::namespace(object);
    if kind.namespaced() {
        let complaints = dns1123_label(namespace);
        errors.extend(complaints.iter().map(|c| FieldError::invalid_str("metadata.namespace", namespace, c)));
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    errors.extend(mutable(object));
    for finalizer in finalizers(object) {
        let complaints = qualified_name(finalizer);
        errors
            .extend(complaints.iter().map(|c| FieldError::invalid_str("metadata.finalizers", finalizer, c)));
    }
    errors
}

/// Labels, annotations and owners: what may be changed freely, as long as it is well-formed.
pub(super) fn mutable(object: &Value) -> Vec<FieldError> {
    let mut errors = labels(object);
    errors.extend(annotations(object));
    errors.extend(owner_references(object));
    errors
}

fn members<'a>(object: &'a Value, member: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = object["metadata"][member].as_object();
    map.into_iter().flatten().map(|(key, value)| (key, value.as_str().unwrap_or("")))
}

fn labels(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in members(object, "labels") {
        errors.extend(qualified_name(key).iter().map(|c| FieldError::invalid_str("metadata.labels", key, c)));
        errors
            .extend(label_value(value).iter().map(|c| FieldError::invalid_str("metadata.labels", value, c)));
    }
    errors
}

fn annotations(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in members(object, "annotations") {
        bytes += key.len() + value.len();
        // Annotation keys are compared without regard to case.
        let complaints = qualified_name(&key.to_lowercase());
        errors.extend(complaints.iter().map(|c| FieldError::invalid_str("metadata.annotations", key, c)));
    }
    if bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_MAX_BYTES));
    }
    errors
}

fn owner_references(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controllers: Vec<String> = Vec::new();
    for owner in owners(object) {
        let said = |member: &str| owner[member].as_str().unwrap_or("");
        let (group, version) = split_api_version(said("apiVersion"));
        let version = if version.contains('/') { "" } else { version };
        if version.is_empty() {
            errors.push(FieldError::invalid_str(
                "metadata.ownerReferences.apiVersion",
                said("apiVersion"),
                "version must not be empty",
            ));
        }
        for member in ["kind", "name", "uid"] {
            if said(member).is_empty() {
                let field = format!("metadata.ownerReferences.{member}");
                errors.push(FieldError::invalid_str(field, "", "must not be empty"));
            }
        }
        if said("kind") == "Event" && matches!(group, "" | "events.k8s.io") && version == "v1" {
            let detail = format!("{group}/{version}, Kind=Event is disallowed from being an owner");
            errors.push(FieldError::invalid_shown("metadata.ownerReferences", &show_owner(owner), &detail));
        }
        if owner["controller"] == true {
            controllers.push(format!("{}/{}", said("kind"), said("name")));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        let list: Vec<String> = owners(object).map(show_owner).collect();
        let list = format!("[{}]", list.join(","));
        errors.push(FieldError::invalid_shown("metadata.ownerReferences", &list, &detail));
    }
    errors
}

/// An owner reference as JSON, its members in the order of the reference's type.
fn show_owner(owner: &Value) -> String {
    let members: Vec<String> = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"]
        .into_iter()
        .filter_map(|member| Some(format!("\"{member}\":{}", owner.get(member)?)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Warnings about newly added finalizers that name no domain.
pub fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let known: BTreeSet<&str> = old.into_iter().flat_map(finalizers).collect();
    let added: BTreeSet<&str> = finalizers(object).filter(|f| !known.contains(f)).collect();
    added
        .into_iter()
        .filter(|f| !f.contains('/') && !matches!(*f, super::ORPHAN | super::FOREGROUND | "kubernetes"))
        .map(|f| {
            format!(
                "metadata.finalizers: {}: prefer a domain-qualified finalizer name to avoid accidental \
                 conflicts with other finalizer writers",
                quote(f)
            )
        })
        .collect()
}
