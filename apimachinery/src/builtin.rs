//! Rules of the kinds that Kubernetes itself defines, beyond their schemas: defaults, keys, sizes, what cannot change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::field_error::FieldError;
use crate::kind::Kind;
use crate::meta;
use crate::status::Status;

/// All values of a ConfigMap or Secret together.
const DATA_MAX_BYTES: usize = 1024 * 1024;
/// Longest key in a ConfigMap or Secret.
const KEY_MAX: usize = 253;
const KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
    or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// The status that a new object begins with.
pub fn first_status(kind: &Kind) -> Option<Value> {
    match (kind.group, kind.kind) {
        ("", "Namespace") => Some(json!({"phase": "Active"})),
        ("", "PersistentVolumeClaim" | "Pod") => Some(json!({"phase": "Pending"})),
        _ => None,
    }
}

/// Sets defaults and folds what may only be written.
///
/// # Errors
/// 400 when a value that should be base64 is not.
pub fn complete(kind: &Kind, object: &mut Value) -> Result<(), Status> {
    match (kind.group, kind.kind) {
        ("", "Namespace") => {
            let name = meta::name(object).to_owned();
            if !name.is_empty() {
                meta::set_label(object, "kubernetes.io/metadata.name", name);
            }
        }
        ("", "Secret") => {
            fold_string_data(object);
            default(object, &[], "type", "Opaque");
            check_base64(kind, object, "data")?;
        }
        ("", "ConfigMap") => check_base64(kind, object, "binaryData")?,
        ("", "PersistentVolumeClaim") => default(object, &["spec"], "volumeMode", "Filesystem"),
        _ => {}
    }
    Ok(())
}

/// Checks an object, also against the one it replaces.
///
/// # Errors
/// 422 with every fault.
pub fn check(kind: &Kind, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    let errors = match (kind.group, kind.kind) {
        ("", "ConfigMap") => config_map(object, old),
        ("", "Secret") => secret(object, old),
        ("", "PersistentVolumeClaim") => claim(object, old),
        ("", "Event") => event(object),
        _ => Vec::new(),
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.group, kind.kind, meta::name(object), &errors))
}

fn default(object: &mut Value, path: &[&str], member: &str, value: &str) {
    let parent = path.iter().try_fold(object, |at, key| at.get_mut(*key));
    if let Some(map) = parent.and_then(Value::as_object_mut)
        && map.get(member).is_none_or(|v| v.is_null() || *v == "")
    {
        map.insert(member.to_owned(), value.into());
    }
}

/// `stringData` is only for writing: it becomes part of `data`.
fn fold_string_data(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
    for (key, value) in plain {
        data[key] = STANDARD.encode(value.as_str().unwrap_or("")).into();
    }
}

fn members<'a>(object: &'a Value, member: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = object[member].as_object();
    map.into_iter().flatten().map(|(key, value)| (key, value.as_str().unwrap_or("")))
}

fn check_base64(kind: &Kind, object: &Value, member: &str) -> Result<(), Status> {
    for (_, text) in members(object, member) {
        if let Err(error) = STANDARD.decode(text) {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(len) => len - len % 4,
                base64::DecodeError::InvalidPadding => text.len(),
            };
            let why = format!("illegal base64 data at input byte {at}");
            return Err(Status::cannot_be_handled("v1", kind.kind, &why));
        }
    }
    Ok(())
}

/// Faults of the keys, and the size of the values in bytes.
fn keys(object: &Value, member: &str, is_base64: bool) -> (Vec<FieldError>, usize) {
    let (mut errors, mut bytes) = (Vec::new(), 0);
    for (key, value) in members(object, member) {
        bytes += if is_base64 { value.len() / 4 * 3 } else { value.len() };
        let field = format!("{member}[{key}]");
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if key.len() > KEY_MAX {
            let detail = format!("must be no more than {KEY_MAX} characters");
            errors.push(FieldError::invalid_str(field, key, &detail));
        } else if matches!(key.as_str(), "" | "." | "..") || !key.chars().all(fits) {
            errors.push(FieldError::invalid_str(field, key, KEY_RULE));
        }
    }
    (errors, bytes)
}

/// An object that was declared immutable stays so, with all its values.
fn frozen(object: &Value, old: Option<&Value>, members: &[&str]) -> Vec<FieldError> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else { return Vec::new() };
    let detail = "field is immutable when `immutable` is set";
    let changed = members.iter().filter(|member| object[**member] != old[**member]);
    let mut errors: Vec<FieldError> = changed.map(|member| FieldError::forbidden(*member, detail)).collect();
    if object["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", detail));
    }
    errors
}

fn config_map(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, plain) = keys(object, "data", false);
    let (binary_errors, binary) = keys(object, "binaryData", true);
    errors.extend(binary_errors);
    for (key, _) in members(object, "data") {
        if object["binaryData"].get(key).is_some() {
            errors.push(FieldError::invalid_str(
                format!("data[{key}]"),
                key,
                "duplicate of key present in binaryData",
            ));
        }
    }
    if plain + binary > DATA_MAX_BYTES {
        errors.push(FieldError::too_long("", DATA_MAX_BYTES));
    }
    errors.extend(frozen(object, old, &["data", "binaryData"]));
    errors
}

fn secret(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, bytes) = keys(object, "data", true);
    if bytes > DATA_MAX_BYTES {
        errors.push(FieldError::too_long("data", DATA_MAX_BYTES));
    }
    let needed: &[&str] = match object["type"].as_str().unwrap_or("") {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    let missing = needed.iter().filter(|key| object["data"].get(**key).is_none());
    errors.extend(missing.map(|key| FieldError::required(format!("data[{key}]"), "")));
    if let Some(old) = old
        && object["type"] != old["type"]
    {
        errors.push(FieldError::invalid("type", &object["type"], "field is immutable"));
    }
    errors.extend(frozen(object, old, &["data"]));
    errors
}

fn claim(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if spec["resources"]["requests"].get("storage").is_none() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
    if let Some(old) = old {
        let rest = |spec: &Value| {
            let mut spec = spec.clone();
            for member in ["resources", "volumeName", "volumeAttributesClassName"] {
                if let Some(map) = spec.as_object_mut() {
                    map.remove(member);
                }
            }
            spec
        };
        if rest(spec) != rest(&old["spec"]) {
            let detail = "spec is immutable after creation except resources.requests and \
                          volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden("spec", detail));
        }
    }
    errors
}

fn event(object: &Value) -> Vec<FieldError> {
    let subject = object["involvedObject"]["namespace"].as_str().unwrap_or("");
    if subject.is_empty() || subject == meta::namespace(object) {
        return Vec::new();
    }
    vec![FieldError::invalid_str("involvedObject.namespace", subject, "does not match event.namespace")]
}

#[cfg(test)]
mod tests;
