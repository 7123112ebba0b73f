//! Structural validation, in the words of the reference.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{ListType, Node, Schema, Type};
use crate::field_error::FieldError;
use crate::time::Micros;

mod quantity;

/// How strictly `required` is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Required {
    /// As the schema says.
    Strict,
    /// A required text may be missing: it counts as empty. Tekton's definitions were made for objects that its
    /// webhook has rewritten; valid user input lacks `status.podName` and the like.
    Loose,
}

/// Faults of a whole object; `metadata` and the names of the type are left to others.
pub(super) fn object(schema: Schema, object: &Value, required: Required) -> Vec<FieldError> {
    let mut check = Check { required, errors: Vec::new(), root: 0 };
    let Value::Object(map) = object else { return Vec::new() };
    for (key, value) in
        map.iter().filter(|(key, _)| !matches!(key.as_str(), "metadata" | "apiVersion" | "kind"))
    {
        if let Some(schema) = schema.member(key) {
            check.value(schema, value, &mut key.clone());
        }
    }
    check.errors
}

/// Faults of the value at `path`. Messages name the fields as seen from there, paths from the root.
pub(super) fn below(schema: Schema, value: &Value, path: &str, required: Required) -> Vec<FieldError> {
    let mut check = Check { required, errors: Vec::new(), root: path.len() + 1 };
    check.value(schema, value, &mut path.to_owned());
    check.errors
}

struct Check {
    required: Required,
    errors: Vec<FieldError>,
    /// Where, in paths, the names begin that messages show.
    root: usize,
}

impl Check {
    fn value(&mut self, schema: Schema, value: &Value, path: &mut String) {
        let node = schema.node();
        if !self.has_right_type(node, value, path) {
            return;
        }
        match value {
            Value::Object(map) => self.members(schema, map, path),
            Value::Array(list) => {
                let Some(items) = schema.items() else { return };
                for (i, value) in list.iter().enumerate() {
                    let len = path.len();
                    path.push_str(&format!("[{i}]"));
                    self.value(items, value, path);
                    path.truncate(len);
                }
                self.repeated(node, list, path);
            }
            Value::String(text) => self.text(node, text, path),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if !node.values.is_empty() && !node.values.contains(value) {
            let known: Vec<&str> = node.values.iter().filter_map(Value::as_str).collect();
            self.errors.push(FieldError::not_supported(path.as_str(), value, &known));
        }
    }

    /// Elements of a set and of a keyed list must differ.
    fn repeated(&mut self, node: &Node, list: &[Value], path: &str) {
        let id = |value: &Value| match node.list_type() {
            ListType::Atomic => None,
            ListType::Set => Some(value.clone()),
            ListType::Map => {
                let keys =
                    node.keys.iter().filter_map(|key| Some(((*key).to_owned(), value.get(key)?.clone())));
                Some(Value::Object(keys.collect()))
            }
        };
        let mut seen = BTreeSet::new();
        for (i, value) in list.iter().enumerate() {
            let Some(id) = id(value) else { return };
            if !seen.insert(id.to_string()) {
                self.errors.push(FieldError::duplicate(format!("{path}[{i}]"), &id));
            }
        }
    }

    fn members(&mut self, schema: Schema, map: &Map<String, Value>, path: &mut String) {
        for (key, value) in map {
            if let Some(schema) = schema.member(key) {
                let len = path.len();
                path.push('.');
                path.push_str(key);
                self.value(schema, value, path);
                path.truncate(len);
            }
        }
        for name in &schema.node().required {
            if !map.contains_key(*name) && !self.may_be_missing(schema, name) {
                self.errors.push(FieldError::required(format!("{path}.{name}"), ""));
            }
        }
    }

    fn may_be_missing(&self, schema: Schema, name: &str) -> bool {
        let is_text = || schema.property(name).is_some_and(|s| s.node().kind == Some(Type::String));
        self.required == Required::Loose && is_text()
    }

    fn has_right_type(&mut self, node: &Node, value: &Value, path: &str) -> bool {
        let wanted = if node.is_int_or_string() {
            if value.is_string() || is_whole(value) {
                return true;
            }
            "integer,string"
        } else {
            let Some(kind) = node.kind else { return true };
            let fits = match kind {
                Type::Object => value.is_object(),
                Type::Array => value.is_array(),
                Type::String => value.is_string(),
                Type::Integer => is_whole(value),
                Type::Number => value.is_number(),
                Type::Boolean => value.is_boolean(),
            };
            if fits {
                return true;
            }
            kind.as_str()
        };
        let found = type_name(value);
        let shown = self.shown(path);
        let detail = format!("{shown} in body must be of type {wanted}: \"{found}\"");
        self.errors.push(FieldError::type_invalid(path, found, &detail));
        false
    }

    fn text(&mut self, node: &Node, text: &str, path: &str) {
        let shown = self.shown(path);
        if node.format == Some("date-time") && Micros::parse(text).is_none() {
            let detail =
                format!("{shown} in body must be of type date-time: {}", crate::field_error::quote(text));
            self.errors.push(FieldError::type_invalid(path, text, &detail));
        }
        // The only pattern in any of the schemas is that of quantities.
        if let Some(pattern) = node.pattern.as_deref().filter(|_| !quantity::is_quantity(text)) {
            let detail = format!("{shown} in body should match '{pattern}'");
            self.errors.push(FieldError::invalid_str(path, text, &detail));
        }
    }

    fn shown<'p>(&self, path: &'p str) -> &'p str {
        path.get(self.root..).unwrap_or("")
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && !is_whole(value) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
