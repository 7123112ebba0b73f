//! Reading and editing JSON documents without a word too many.

use serde_json::{Map, Value};

/// The string at `key`, or "".
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// The list at `key`, or an empty one.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The strings of the list at `key`.
pub fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The entry of the list at `key` whose `name` is `name`.
pub fn named<'a>(value: &'a Value, key: &str, name: &str) -> Option<&'a Value> {
    list(value, key).iter().find(|entry| text(entry, "name") == name)
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"], "name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    text(&object["metadata"], "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(&object["metadata"], "uid")
}

/// The string map at `metadata.KEY` (labels, annotations).
pub fn strings(object: &Value, key: &str) -> std::collections::BTreeMap<String, String> {
    let map = object["metadata"].get(key).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

/// The list at `key`, made if it is not there; `value` must be an object or null.
pub fn list_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    let entry = object_mut(value).entry(key).or_insert(Value::Array(Vec::new()));
    if !entry.is_array() {
        *entry = Value::Array(Vec::new());
    }
    entry.as_array_mut().expect("it was just made an array")
}

/// The object in `value`, which becomes an empty one when it is something else.
pub fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

/// Sets `key`, unless `to` is null.
pub fn set(value: &mut Value, key: &str, to: Value) {
    if !to.is_null() {
        object_mut(value).insert(key.to_owned(), to);
    }
}

/// Whether a list, map or string at `key` is missing or empty.
pub fn is_empty(value: &Value, key: &str) -> bool {
    match value.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::Array(a)) => a.is_empty(),
        Some(Value::Object(o)) => o.is_empty(),
        Some(Value::String(s)) => s.is_empty(),
        Some(_) => false,
    }
}
