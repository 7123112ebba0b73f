//! The JSON shape of `metadata`, and which kind an object says it is.

use serde_json::{Map, Value};

use crate::field_error::FieldError;
use crate::kind::Kind;
use crate::status::Status;
use crate::time::Micros;

/// The type of a member of ObjectMeta.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Whole,
    Flag,
    Time,
    TextMap,
    TextList,
    List(&'static str, &'static [(&'static str, Shape)]),
    Raw,
}

const MEMBERS: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("generateName", Shape::Text),
    ("namespace", Shape::Text),
    ("selfLink", Shape::Text),
    ("uid", Shape::Text),
    ("resourceVersion", Shape::Text),
    ("generation", Shape::Whole),
    ("creationTimestamp", Shape::Time),
    ("deletionTimestamp", Shape::Time),
    ("deletionGracePeriodSeconds", Shape::Whole),
    ("labels", Shape::TextMap),
    ("annotations", Shape::TextMap),
    ("ownerReferences", Shape::List("OwnerReference", OWNER)),
    ("finalizers", Shape::TextList),
    ("managedFields", Shape::List("ManagedFieldsEntry", MANAGED)),
];

const OWNER: &[(&str, Shape)] = &[
    ("apiVersion", Shape::Text),
    ("kind", Shape::Text),
    ("name", Shape::Text),
    ("uid", Shape::Text),
    ("controller", Shape::Flag),
    ("blockOwnerDeletion", Shape::Flag),
];

const MANAGED: &[(&str, Shape)] = &[
    ("manager", Shape::Text),
    ("operation", Shape::Text),
    ("apiVersion", Shape::Text),
    ("time", Shape::Time),
    ("fieldsType", Shape::Text),
    ("fieldsV1", Shape::Raw),
    ("subresource", Shape::Text),
];

/// Members of `metadata` that are always written, even when empty.
const OWNER_ALWAYS: &[&str] = &["apiVersion", "kind", "name", "uid"];

/// Checks that `object` says it is of `kind` in `version`.
///
/// # Errors
/// 400 without a kind or with another apiVersion, 422 with another kind.
pub fn check_type(kind: &Kind, version: &str, object: &Value) -> Result<(), Status> {
    let unrecognised = |why: &str| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why}",
            kind.kind
        ))
    };
    let Some(map) = object.as_object() else {
        return Err(unrecognised("couldn't get version/kind; the body is not a JSON object"));
    };
    let member = |key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(unrecognised(&format!("couldn't get version/kind; {key} is not a string"))),
    };
    let (said_kind, said_version) = (member("kind")?, member("apiVersion")?);
    if said_kind.is_empty() {
        return Err(unrecognised("Object 'Kind' is missing"));
    }
    let expected = kind.api_version(version);
    if said_version != expected {
        return Err(Status::api_version_mismatch(said_version, &expected));
    }
    if said_kind != kind.kind {
        let error = FieldError::invalid_str("kind", said_kind, &format!("must be {}", kind.kind));
        return Err(Status::invalid(kind.group, said_kind, super::name(object), &[error]));
    }
    Ok(())
}

/// Brings `metadata` into its canonical form: types checked, nulls and empty members dropped, unknown ones too.
///
/// # Errors
/// 400 when a member has the wrong type.
pub fn normalise(kind: &Kind, version: &str, object: &mut Value) -> Result<(), Status> {
    let refuse = |why: String| Status::cannot_be_handled(version, kind.kind, &why);
    let Some(map) = object.as_object_mut() else {
        return Err(refuse("json: cannot unmarshal into an object".to_owned()));
    };
    let metadata = map.remove("metadata").unwrap_or(Value::Null);
    let clean = match metadata {
        Value::Null => Map::new(),
        Value::Object(members) => clean(members, MEMBERS, "ObjectMeta", &[]).map_err(refuse)?,
        other => {
            return Err(refuse(format!(
                "json: cannot unmarshal {} into Go value of type v1.ObjectMeta",
                json_type(&other)
            )));
        }
    };
    map.insert("metadata".to_owned(), Value::Object(clean));
    Ok(())
}

fn clean(
    mut members: Map<String, Value>,
    known: &[(&str, Shape)],
    owner: &str,
    always: &[&str],
) -> Result<Map<String, Value>, String> {
    let mut out = Map::new();
    for (key, shape) in known {
        let value = members.remove(*key).unwrap_or(Value::Null);
        let place = format!("{owner}.{key}");
        if let Some(value) = fit(value, *shape, &place)? {
            out.insert((*key).to_owned(), value);
        } else if always.contains(key) {
            out.insert((*key).to_owned(), Value::String(String::new()));
        }
    }
    Ok(out)
}

/// The value in canonical form; [`None`] when it is dropped because it says nothing.
fn fit(value: Value, shape: Shape, place: &str) -> Result<Option<Value>, String> {
    let wrong = |value: &Value, wanted: &str| {
        format!("json: cannot unmarshal {} into Go struct field {place} of type {wanted}", json_type(value))
    };
    match (shape, value) {
        (_, Value::Null) => Ok(None),
        (Shape::Text, Value::String(text)) => Ok((!text.is_empty()).then_some(Value::String(text))),
        (Shape::Text, other) => Err(wrong(&other, "string")),
        // `deletionGracePeriodSeconds` is a pointer: its 0 means something.
        (Shape::Whole, Value::Number(n)) if n.is_i64() => {
            let drop = n.as_i64() == Some(0) && !place.ends_with("Seconds");
            Ok((!drop).then_some(Value::Number(n)))
        }
        (Shape::Whole, other) => Err(wrong(&other, "int64")),
        (Shape::Flag, Value::Bool(flag)) => Ok(Some(Value::Bool(flag))),
        (Shape::Flag, other) => Err(wrong(&other, "bool")),
        (Shape::Time, Value::String(text)) if text.is_empty() => Ok(None),
        (Shape::Time, Value::String(text)) => match Micros::parse(&text) {
            Some(time) => Ok(Some(Value::String(time.rfc3339()))),
            None => Err(format!(
                "parsing time {0} as \"2006-01-02T15:04:05Z07:00\": cannot parse {0} as \"2006\"",
                crate::field_error::quote(&text)
            )),
        },
        (Shape::Time, other) => Err(wrong(&other, "string")),
        (Shape::TextMap, Value::Object(map)) => text_map(map, place),
        (Shape::TextMap, other) => Err(wrong(&other, "map[string]string")),
        (Shape::TextList, Value::Array(list)) => text_list(list, place),
        (Shape::TextList, other) => Err(wrong(&other, "[]string")),
        (Shape::List(owner, known), Value::Array(list)) => object_list(list, owner, known),
        (Shape::List(owner, _), other) => Err(wrong(&other, &format!("[]v1.{owner}"))),
        (Shape::Raw, value) => Ok(Some(value)),
    }
}

fn text_map(map: Map<String, Value>, place: &str) -> Result<Option<Value>, String> {
    let mut out = Map::new();
    for (key, value) in map {
        let value = match value {
            Value::Null => Value::String(String::new()),
            Value::String(_) => value,
            other => {
                return Err(format!(
                    "json: cannot unmarshal {} into Go struct field {place} of type string",
                    json_type(&other)
                ));
            }
        };
        out.insert(key, value);
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

fn text_list(list: Vec<Value>, place: &str) -> Result<Option<Value>, String> {
    let mut out = Vec::with_capacity(list.len());
    for value in list {
        match value {
            Value::Null => out.push(Value::String(String::new())),
            Value::String(_) => out.push(value),
            other => {
                return Err(format!(
                    "json: cannot unmarshal {} into Go struct field {place} of type string",
                    json_type(&other)
                ));
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

fn object_list(list: Vec<Value>, owner: &str, known: &[(&str, Shape)]) -> Result<Option<Value>, String> {
    let always = if owner == "OwnerReference" { OWNER_ALWAYS } else { &[] };
    let mut out = Vec::with_capacity(list.len());
    for value in list {
        let members = match value {
            Value::Null => Map::new(),
            Value::Object(members) => members,
            other => {
                return Err(format!(
                    "json: cannot unmarshal {} into Go value of type v1.{owner}",
                    json_type(&other)
                ));
            }
        };
        out.push(Value::Object(clean(members, known, owner, always)?));
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

/// What a JSON value is called in messages about decoding.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
