//! The bytes of an object that are signed: the JSON that Go's encoder makes of the reference's types, fields in the
//! order of their declaration, empty ones left out where the type says so.
//!
//! `shapes.txt` is that order, made by reflection over the types of v1.15: a type per line, its fields as
//! `name[?][0] type`, where `?` leaves empty values out, `*` is a pointer (empty only if absent), `[]` a list, `map:`
//! a map. The tests hold checksums that the reference computed.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::engine::doc::text;
use crate::engine::quantity::Quantity;
use crate::engine::time::{duration, go_duration};

const SHAPES: &str = include_str!("shapes.txt");
/// Annotation that holds the signature.
pub const SIGNATURE: &str = "tekton.dev/signature";
/// Annotations that others add: they are not signed.
const UNSIGNED: [&str; 3] =
    [SIGNATURE, "kubectl-client-side-apply", "kubectl.kubernetes.io/last-applied-configuration"];
/// Members of `metadata` that are signed.
const SIGNED: [&str; 5] = ["name", "generateName", "namespace", "labels", "annotations"];

/// A field of a type.
struct Field {
    name: &'static str,
    /// Left out when it is empty.
    omits: bool,
    /// Left out when it is not there, though a struct.
    omits_zero: bool,
    of: &'static str,
}

type Shapes = BTreeMap<&'static str, Vec<Field>>;

/// The checksum of an object, which is what is signed. A kind that nobody signs has that of an empty document.
pub fn checksum(object: &Value) -> [u8; 32] {
    Sha256::digest(json(object)).into()
}

/// The JSON of an object, as it is signed.
pub fn json(object: &Value) -> String {
    let version = match text(object, "apiVersion") {
        "tekton.dev/v1" => "v1",
        _ => "v1beta1",
    };
    let mut signed = Map::new();
    for (member, value) in ["kind", "apiVersion", "spec"].map(|member| (member, &object[member])) {
        signed.insert(member.into(), value.clone());
    }
    let metadata = SIGNED.iter().map(|member| ((*member).to_owned(), object["metadata"][member].clone()));
    let mut metadata: Map<String, Value> = metadata.collect();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !UNSIGNED.contains(&name.as_str()));
    }
    signed.insert("metadata".into(), Value::Object(metadata));
    let shape = format!("{version}.{}", text(object, "kind"));
    let mut out = String::new();
    write(&mut out, &shape, &Value::Object(signed));
    out
}

fn shapes() -> &'static Shapes {
    static PARSED: OnceLock<Shapes> = OnceLock::new();
    PARSED.get_or_init(|| {
        let lines = SHAPES.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, fields)| (name, fields.split(", ").filter_map(field).collect())).collect()
    })
}

fn field(text: &'static str) -> Option<Field> {
    let (name, of) = text.split_once(' ')?;
    let plain = name.trim_end_matches(['?', '0']);
    Some(Field { name: plain, omits: plain.len() < name.len(), omits_zero: name.ends_with('0'), of })
}

/// Whether Go's `omitempty` leaves a value of this type out. A struct is never empty.
fn is_empty(of: &str, value: &Value) -> bool {
    if of.starts_with('*') {
        return value.is_null();
    }
    match value {
        Value::Null => !is_struct(of),
        Value::Bool(flag) => of == "bool" && !flag,
        Value::Number(number) => of == "int" && number.as_i64() == Some(0),
        Value::String(text) => of == "string" && text.is_empty(),
        Value::Array(items) => of.starts_with("[]") && items.is_empty(),
        Value::Object(map) => of.starts_with("map:") && map.is_empty(),
    }
}

fn is_struct(of: &str) -> bool {
    matches!(of, "quantity" | "raw") || shapes().contains_key(of)
}

fn write(out: &mut String, of: &str, value: &Value) {
    let (of, optional) = of.strip_prefix('*').map_or((of, false), |of| (of, true));
    if optional && value.is_null() {
        out.push_str("null");
        return;
    }
    if let Some(of) = of.strip_prefix("[]") {
        return match value {
            Value::Array(items) => sequence(out, ('[', ']'), items, |out, item| write(out, of, item)),
            _ => out.push_str("null"),
        };
    }
    if let Some(of) = of.strip_prefix("map:") {
        return match value {
            Value::Object(map) => sequence(out, ('{', '}'), map, |out, (key, value)| {
                string(out, key);
                out.push(':');
                write(out, of, value);
            }),
            _ => out.push_str("null"),
        };
    }
    match of {
        "string" => string(out, &as_text(value)),
        "bool" => out.push_str(if value == &json!(true) { "true" } else { "false" }),
        "int" => out.push_str(&value.as_i64().unwrap_or(0).to_string()),
        "quantity" => string(out, &Quantity::of(value).unwrap_or(Quantity::ZERO).to_string()),
        "duration" => {
            let us = value.as_str().and_then(duration);
            string(out, &us.map_or_else(|| as_text(value), go_duration));
        }
        "param" => param(out, value),
        "raw" => raw(out, value),
        _ => structure(out, of, value),
    }
}

fn structure(out: &mut String, of: &str, value: &Value) {
    let fields = shapes().get(of).map_or(&[][..], Vec::as_slice);
    let there = fields.iter().filter(|field| {
        let value = &value[field.name];
        !(field.omits && is_empty(field.of, value) || field.omits_zero && value.is_null())
    });
    sequence(out, ('{', '}'), there, |out, field| {
        string(out, field.name);
        out.push(':');
        write(out, field.of, &value[field.name]);
    });
}

/// A param's value: a text, a list or a map of texts; anything else is the text that was written.
fn param(out: &mut String, value: &Value) {
    let texts = match value {
        Value::Array(items) => items.iter().all(Value::is_string),
        Value::Object(map) => map.values().all(Value::is_string),
        _ => false,
    };
    if texts { raw(out, value) } else { string(out, &as_text(value)) }
}

fn raw(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => string(out, text),
        Value::Array(items) => sequence(out, ('[', ']'), items, raw),
        Value::Object(map) => sequence(out, ('{', '}'), map, |out, (key, value)| {
            string(out, key);
            out.push(':');
            raw(out, value);
        }),
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn sequence<T>(
    out: &mut String,
    (open, close): (char, char),
    items: impl IntoIterator<Item = T>,
    each: impl Fn(&mut String, T),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(close);
}

/// A text as Go's encoder writes it: safe to stand in HTML.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
