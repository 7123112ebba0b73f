//! Fields that stand in annotations, as Go's encoder writes them.

use serde_json::{Map, Value};

use super::{ConvertError, remove};

/// Resources of a Pipeline, Task or run.
pub(super) const RESOURCES: &str = "tekton.dev/v1beta1Resources";
/// Resources in the spec that a TaskRun's status shows.
pub(super) const RESOURCES_STATUS: &str = "tekton.dev/v1beta1ResourcesStatus";
/// What became of resources.
pub(super) const RESOURCES_RESULT: &str = "tekton.dev/v1beta1ResourcesResult";
/// Deliveries of CloudEvents.
pub(super) const CLOUD_EVENTS: &str = "tekton.dev/v1beta1CloudEvents";
/// Fields of steps and step templates that v1 has not.
pub(super) const DEPRECATIONS: &str = "tekton.dev/v1beta1.task-deprecations";

/// Keys in the order in which the reference's types have them. No two types that are written here differ on the order
/// of keys that they share, but for the ones in `order`.
const ORDER: &[&str] = &[
    "deprecatedSteps",
    "deprecatedStepTemplate",
    "inputs",
    "outputs",
    "target",
    "key",
    "name",
    "value",
    "hostPort",
    "containerPort",
    "protocol",
    "hostIP",
    "resourceName",
    "resourceRef",
    "resourceSpec",
    "apiVersion",
    "fieldName",
    "secretKey",
    "secretName",
    "type",
    "description",
    "targetPath",
    "optional",
    "params",
    "secrets",
    "paths",
    "status",
    "condition",
    "sentAt",
    "message",
    "retryCount",
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "postStart",
    "preStop",
    "stopSignal",
    "exec",
    "httpGet",
    "tcpSocket",
    "grpc",
    "sleep",
    "path",
    "port",
    "host",
    "scheme",
    "httpHeaders",
    "service",
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "terminationGracePeriodSeconds",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "stdin",
    "stdinOnce",
    "tty",
];
/// Keys that are written even if there is nothing in them.
const ALWAYS: &[&str] =
    &["containerPort", "port", "value", "seconds", "retryCount", "message", "terminationGracePeriodSeconds"];

fn order(key: &str, under: &str) -> usize {
    if under == "resourceSpec" && key == "description" {
        return 0;
    }
    ORDER.iter().position(|k| *k == key).map_or(ORDER.len(), |at| at + 1)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}

/// The JSON text that Go makes of `value`, which stands under `under`.
pub(super) fn encode(value: &Value, under: &str) -> String {
    let mut out = String::new();
    write(value, under, &mut out);
    // Go's encoder keeps its output safe for HTML.
    out.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn write(value: &Value, under: &str, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| order(key, under));
            let kept = keys.into_iter().filter(|(k, v)| !is_zero(v) || is_always_written(k, v, under));
            out.push('{');
            for (i, (key, value)) in kept.enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(value, key, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, under, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn is_always_written(key: &str, value: &Value, under: &str) -> bool {
    match key {
        "name" => under == "deprecatedSteps",
        "type" => matches!(under, "inputs" | "outputs" | "resources"),
        _ => ALWAYS.contains(&key) && !value.is_null(),
    }
}

/// Declared resources have a type, even if it is not said.
pub(super) fn with_types(resources: Option<&mut Value>) {
    let Some(resources) = resources else { return };
    let lists = match resources {
        Value::Array(items) => vec![items],
        Value::Object(map) => map.values_mut().filter_map(Value::as_array_mut).collect(),
        _ => Vec::new(),
    };
    for resource in lists.into_iter().flatten().filter(|r| r.is_object() && r["type"].is_null()) {
        resource["type"] = "".into();
    }
}

fn annotations(metadata: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    metadata.get_mut("annotations").and_then(Value::as_object_mut)
}

pub(super) fn set(metadata: &mut Map<String, Value>, key: &str, text: String) {
    if !metadata.get("annotations").is_some_and(Value::is_object) {
        metadata.insert("annotations".into(), Value::Object(Map::new()));
    }
    if let Some(annotations) = annotations(metadata) {
        annotations.insert(key.to_owned(), Value::String(text));
    }
}

fn forget(metadata: &mut Map<String, Value>, key: &str) {
    if let Some(annotations) = annotations(metadata) {
        annotations.remove(key);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

fn read(
    metadata: &Map<String, Value>,
    key: &'static str,
    doing: &'static str,
) -> Result<Option<Value>, ConvertError> {
    let Some(text) = metadata.get("annotations").and_then(|a| a.get(key)).and_then(Value::as_str) else {
        return Ok(None);
    };
    let why = |why: serde_json::Error| ConvertError::Annotation { doing, key, why: why.to_string() };
    serde_json::from_str(text).map(Some).map_err(why)
}

/// Puts a field of `holder` into an annotation.
pub(super) fn put_away(metadata: &mut Map<String, Value>, holder: &mut Value, field: &str, key: &str) {
    if let Some(value) = remove(holder, field).filter(|v| !v.is_null()) {
        set(metadata, key, encode(&value, field));
    }
}

/// Takes a field out of its annotation again. Lists and maps with nothing in them do not come back.
pub(super) fn take_out(
    metadata: &mut Map<String, Value>,
    holder: &mut Value,
    field: &str,
    key: &'static str,
) -> Result<(), ConvertError> {
    let Some(value) = read(metadata, key, "deserializing")? else { return Ok(()) };
    forget(metadata, key);
    let something = match &value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => {
            ["inputs", "outputs"].into_iter().any(|k| map.get(k).is_some_and(|v| !v.is_null()))
        }
        _ => false,
    };
    if something {
        holder[field] = value;
    }
    Ok(())
}

/// The deprecated fields that are put away, by task.
pub(super) fn deprecations(
    metadata: &Map<String, Value>,
    doing: &'static str,
) -> Result<Map<String, Value>, ConvertError> {
    match read(metadata, DEPRECATIONS, doing)? {
        Some(Value::Object(map)) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// Writes them down again.
pub(super) fn set_deprecations(metadata: &mut Map<String, Value>, all: &Map<String, Value>) {
    if all.is_empty() {
        forget(metadata, DEPRECATIONS);
        return;
    }
    let entries: Vec<_> = all
        .iter()
        .map(|(task, fields)| format!("{}:{}", encode(&Value::String(task.clone()), ""), encode(fields, "")))
        .collect();
    set(metadata, DEPRECATIONS, format!("{{{}}}", entries.join(",")));
}
