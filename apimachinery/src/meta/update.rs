//! What a write to an existing object does to it.

use serde_json::{Map, Value};

use super::{check, finalizers, generation, is_deleting, resource_version, set, text, uid, unset};
use crate::field_error::FieldError;
use crate::kind::Kind;
use crate::status::Status;

/// Which part of an object a write is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Everything but `status`, where that is a subresource.
    Main,
    /// Only `status`.
    Status,
}

/// Checks the resourceVersion that a write carries against the stored object's. `required`: it is a PUT to a
/// custom kind, or what a patch has made of one.
///
/// # Errors
/// 422 when it is missing and required, 400 when it is no number, 409 when it is stale.
pub fn check_version(kind: &Kind, new: &Value, stored: &Value, required: bool) -> Result<(), Status> {
    let (said, current) = (resource_version(new), resource_version(stored));
    let name = super::name(stored);
    if said.is_empty() || said == "0" {
        if !required {
            return Ok(());
        }
        let error =
            FieldError::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
        return Err(Status::invalid(kind.group, kind.plural, name, &[error]));
    }
    if said.parse::<u64>().is_err() {
        let quoted = crate::field_error::quote(said);
        return Err(Status::bad_request(format!("strconv.ParseUint: parsing {quoted}: invalid syntax")));
    }
    if said == current { Ok(()) } else { Err(Status::modified(kind.group, kind.plural, name)) }
}

/// Completes and checks `new`, which is to take the place of `old`: what the server owns is kept, the other part
/// is kept, the generation counts changes of the specification. `new` must be normalised.
///
/// # Errors
/// 422 with every fault of the metadata.
pub fn prepare_update(kind: &Kind, new: &mut Value, old: &Value, part: Part) -> Result<(), Status> {
    inherit(new, old);
    match part {
        Part::Main if kind.has_status() => keep_member(new, old, "status"),
        Part::Main => {}
        Part::Status => keep_all_but_status(new, old),
    }
    if kind.custom {
        let next = generation(old) + i64::from(spec_changed(kind, new, old));
        set(new, "generation", next);
    } else {
        keep_meta(new, old, "generation");
    }
    let errors = faults(kind, new, old);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.group, kind.kind, super::name(old), &errors))
}

/// Nothing would change: the write is answered with the stored object and its resourceVersion.
pub fn unchanged(new: &Value, old: &Value) -> bool {
    let strip = |object: &Value| -> (Map<String, Value>, Map<String, Value>) {
        let mut top = object.as_object().cloned().unwrap_or_default();
        let meta = top.remove("metadata").and_then(|m| m.as_object().cloned()).unwrap_or_default();
        (top, meta)
    };
    let ((new, mut new_meta), (old, mut old_meta)) = (strip(new), strip(old));
    new_meta.remove("resourceVersion");
    old_meta.remove("resourceVersion");
    new == old && new_meta == old_meta
}

/// The object is being deleted and nothing holds it any more: this write removes it.
pub fn is_finished(object: &Value) -> bool {
    is_deleting(object) && finalizers(object).next().is_none()
}

/// Members of `metadata` that a writer may leave out or cannot set.
fn inherit(new: &mut Value, old: &Value) {
    for member in ["creationTimestamp", "selfLink", "resourceVersion"] {
        keep_meta(new, old, member);
    }
    for member in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace"] {
        if new["metadata"].get(member).is_none_or(Value::is_null) {
            keep_meta(new, old, member);
        }
    }
}

fn keep_meta(new: &mut Value, old: &Value, member: &str) {
    match old["metadata"].get(member) {
        Some(value) => set(new, member, value.clone()),
        None => unset(new, member),
    }
}

fn keep_member(new: &mut Value, old: &Value, member: &str) {
    let Some(map) = new.as_object_mut() else { return };
    match old.get(member) {
        Some(value) => map.insert(member.to_owned(), value.clone()),
        None => map.remove(member),
    };
}

fn keep_all_but_status(new: &mut Value, old: &Value) {
    let status = new.as_object_mut().and_then(|map| map.remove("status"));
    let managed = new["metadata"].get("managedFields").cloned();
    let (sent_uid, sent_deletion) = (uid(new).to_owned(), text(new, "deletionTimestamp").to_owned());
    let mut kept = old.clone();
    if let Some(map) = kept.as_object_mut() {
        match status {
            Some(status) => map.insert("status".to_owned(), status),
            None => map.remove("status"),
        };
    }
    match managed {
        Some(managed) => set(&mut kept, "managedFields", managed),
        None => unset(&mut kept, "managedFields"),
    }
    // Identity is still compared: a status meant for another object must not land here.
    set(&mut kept, "uid", sent_uid);
    if !sent_deletion.is_empty() {
        set(&mut kept, "deletionTimestamp", sent_deletion);
    }
    *new = kept;
}

fn spec_changed(kind: &Kind, new: &Value, old: &Value) -> bool {
    let part = |object: &Value| -> Map<String, Value> {
        let mut map = object.as_object().cloned().unwrap_or_default();
        map.remove("metadata");
        if kind.has_status() {
            map.remove("status");
        }
        map
    };
    part(new) != part(old)
}

/// The reference checks metadata once as on create and then twice as an update; clients see each cause.
fn faults(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = check::metadata(kind, new);
    for _ in 0..2 {
        errors.extend(update_faults(new, old));
    }
    errors
}

fn update_faults(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_deleting(old) {
        let known: Vec<&str> = finalizers(old).collect();
        let mut added: Vec<String> =
            finalizers(new).filter(|f| !known.contains(f)).map(crate::field_error::quote).collect();
        added.sort();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &detail));
        }
    }
    for member in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let value = &new["metadata"][member];
        if *value != old["metadata"][member] {
            errors.push(FieldError::invalid(format!("metadata.{member}"), value, "field is immutable"));
        }
    }
    errors.extend(check::mutable(new));
    errors
}
