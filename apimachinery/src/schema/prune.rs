//! Dropping what a schema doesn't know, dropping nulls, setting defaults.

use serde_json::Value;

use super::Schema;

/// Drops unknown fields and gives their paths: those in metadata first, the others in order of their paths.
pub(super) fn unknown(schema: Schema, object: &mut Value) -> Vec<String> {
    let (mut in_metadata, mut others) = (Vec::new(), Vec::new());
    let mut path = String::new();
    let Some(map) = object.as_object_mut() else { return Vec::new() };
    map.retain(|key, value| {
        if matches!(key.as_str(), "apiVersion" | "kind") {
            return true;
        }
        let found = if key == "metadata" { &mut in_metadata } else { &mut others };
        enter(&mut path, key, |path| match schema.member(key) {
            Some(schema) => {
                walk(schema, value, path, found);
                true
            }
            None if schema.node().preserves() => true,
            None => {
                found.push(path.clone());
                false
            }
        })
    });
    in_metadata.sort();
    others.sort();
    in_metadata.append(&mut others);
    in_metadata
}

fn walk(schema: Schema, value: &mut Value, path: &mut String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let keep = schema.node().preserves();
            map.retain(|key, value| {
                let Some(schema) = schema.member(key) else {
                    if !keep {
                        enter(path, key, |path| found.push(path.clone()));
                    }
                    return keep;
                };
                enter(path, key, |path| walk(schema, value, path, found));
                true
            });
        }
        Value::Array(list) => {
            let Some(items) = schema.items() else { return };
            for (i, value) in list.iter_mut().enumerate() {
                let len = path.len();
                path.push_str(&format!("[{i}]"));
                walk(items, value, path, found);
                path.truncate(len);
            }
        }
        _ => {}
    }
}

fn enter<T>(path: &mut String, key: &str, then: impl FnOnce(&mut String) -> T) -> T {
    let len = path.len();
    if len > 0 {
        path.push('.');
    }
    path.push_str(key);
    let out = then(path);
    path.truncate(len);
    out
}

/// Drops members that are null where the schema knows the field: no field is nullable. Where the schema preserves
/// what it doesn't know, nulls stay.
pub(super) fn nulls(schema: Schema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let Some(schema) = schema.member(key) else { return true };
            if value.is_null() {
                return false;
            }
            nulls(schema, value);
            true
        }),
        Value::Array(list) => {
            if let Some(items) = schema.items() {
                list.iter_mut().for_each(|value| nulls(items, value));
            }
        }
        _ => {}
    }
}

/// Sets defaults of missing members, at every depth.
pub(super) fn defaults(schema: Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, schema) in schema.properties() {
                if let Some(default) = &schema.node().default
                    && !map.contains_key(name)
                {
                    map.insert(name.to_owned(), default.clone());
                }
            }
            for (key, value) in map.iter_mut() {
                if let Some(schema) = schema.member(key) {
                    defaults(schema, value);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.items() {
                list.iter_mut().for_each(|value| defaults(items, value));
            }
        }
        _ => {}
    }
}
