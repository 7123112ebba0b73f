//! Reading of documents: what is absent, null or of another type reads as empty.

use serde_json::{Map, Value};

/// Text of a field.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

/// Elements of a list field.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field that is there.
pub(crate) fn some<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get(field).filter(|v| !v.is_null())
}

/// Members of a map field, if it is there.
pub(crate) fn map<'a>(value: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    value.get(field).and_then(Value::as_object)
}

/// Texts of a list field.
pub(crate) fn texts<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    list(value, field).iter().map(|v| v.as_str().unwrap_or(""))
}

/// Names of the elements of a list field.
pub(crate) fn names<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    list(value, field).iter().map(|v| text(v, "name"))
}

/// Nanoseconds of a duration field.
pub(crate) fn duration(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_str).and_then(apimachinery::time::parse_go_duration)
}

/// Type of a parameter's value: lists and maps that hold anything but texts count as text.
pub(crate) fn value_type(value: &Value) -> &'static str {
    match value {
        Value::Array(items) if items.iter().all(|i| i.is_string() || i.is_null()) => "array",
        Value::Object(map) if map.values().all(|v| v.is_string() || v.is_null()) => "object",
        _ => "string",
    }
}
