//! Values of parameters and results as the reference's type holds them: texts, lists of texts, maps of texts. Anything
//! else becomes the text that it was.

use serde_json::Value;

/// Fields that lead to places where there may be parameters and results.
const INNER: [&str; 12] = [
    "tasks",
    "finally",
    "taskSpec",
    "pipelineSpec",
    "steps",
    "matrix",
    "include",
    "taskRef",
    "pipelineRef",
    "customRef",
    "ref",
    "retriesStatus",
];

/// Brings all values of parameters and results of an object into the form in which they are kept.
pub(super) fn settle(object: &mut Value) {
    // `taskSpec.spec` belongs to the controller of a custom task.
    if let Some(spec) = object.get_mut("spec") {
        below(spec);
    }
    if let Some(status) = object.get_mut("status") {
        below(status);
    }
}

fn below(holder: &mut Value) {
    let Some(map) = holder.as_object_mut() else { return };
    for (key, inner) in map.iter_mut() {
        match (key.as_str(), &mut *inner) {
            ("params" | "results" | "taskResults" | "pipelineResults", Value::Array(items)) => {
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    for field in ["value", "default"] {
                        if let Some(value) = item.get_mut(field).filter(|v| field == "value" || !v.is_null())
                        {
                            one(value);
                        }
                    }
                }
            }
            ("spec" | "status", _) => {}
            (key, Value::Array(items)) if INNER.contains(&key) => items.iter_mut().for_each(below),
            (key, Value::Object(_)) if INNER.contains(&key) => below(inner),
            _ => {}
        }
    }
}

fn one(value: &mut Value) {
    let is_text = |v: &Value| v.is_string() || v.is_null();
    let empty = || Value::String(String::new());
    match value {
        Value::String(_) => {}
        Value::Array(items) if items.iter().all(is_text) => {
            items.iter_mut().filter(|i| i.is_null()).for_each(|i| *i = empty());
        }
        Value::Object(map) if map.values().all(is_text) => {
            map.values_mut().filter(|i| i.is_null()).for_each(|i| *i = empty());
        }
        Value::Null => *value = empty(),
        _ => *value = Value::String(value.to_string()),
    }
}
