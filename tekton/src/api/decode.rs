//! What the reference's types cannot hold: fields that they do not have, values of another JSON type, durations and
//! quantities that are none. An API server has pruned and will validate by the schema; the reference decodes in between,
//! also where the schema is open (embedded specs, volumes).
//!
//! The schema tree says which fields there are. Where it is open, the tree of the kind that belongs there goes on. The
//! first fault is told, in the order of the document, in the words of Go's library.

use std::fmt;

use apimachinery::field_error::quote;
use apimachinery::schema::{Codec, Schema, Type};
use apimachinery::time::parse_go_duration;
use serde_json::Value;

mod gotypes;
mod names;
mod scalars;
#[cfg(test)]
mod tests;

pub use names::canonical;

/// No object nests deeper; what does is refused before by the reader of bodies.
const DEPTH_MAX: usize = 64;

/// An object that cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot decode incoming new object: {why}")]
pub struct DecodeError {
    why: String,
    /// Where it is, as clients name fields.
    pub field: String,
    /// What would be accepted.
    pub hint: String,
}

impl DecodeError {
    fn at(place: &Place<'_>, why: String, hint: String) -> Self {
        Self { why, field: place.path.to_string().trim_start_matches('.').to_owned(), hint }
    }
}

/// Whether an object of `tekton.dev` or `resolution.tekton.dev` can be decoded. Kinds that are not known always can.
///
/// # Errors
/// The first fault, in the words of Go's library.
pub fn check(object: &Value) -> Result<(), DecodeError> {
    let text = |field: &str| object[field].as_str().unwrap_or("");
    let Some(schema) = Schema::find(text("apiVersion"), text("kind")) else { return Ok(()) };
    let (group_version, kind) = (text("apiVersion"), text("kind"));
    let version = group_version.rsplit('/').next().unwrap_or("");
    let walk = Walk { kind, version, group_version };
    walk.value(object, &Place { schema: Some(schema), path: &Path::Root, fields: &[], depth: 0 })
}

/// A place in the document, as Go names it.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(outer, key) => write!(f, "{outer}.{key}"),
            Path::Index(outer, index) => write!(f, "{outer}.{index}"),
        }
    }
}

/// What may stand where.
struct Place<'a> {
    /// Nothing: anything may.
    schema: Option<Schema>,
    path: &'a Path<'a>,
    /// Names of the fields that lead here, the innermost last.
    fields: &'a [&'a str],
    depth: usize,
}

struct Walk<'a> {
    kind: &'a str,
    version: &'a str,
    group_version: &'a str,
}

impl Walk<'_> {
    fn value(&self, value: &Value, place: &Place<'_>) -> Result<(), DecodeError> {
        let Some(schema) = place.schema.filter(|_| !value.is_null() && place.depth < DEPTH_MAX) else {
            return Ok(());
        };
        if let Some(outcome) = self.own_decoder(value, schema, place) {
            return outcome;
        }
        match (schema.node().kind, value) {
            (Some(Type::Object), Value::Object(map)) => {
                for (key, inner) in map {
                    self.member(key, inner, schema, place)?;
                }
                Ok(())
            }
            (Some(Type::Array), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let path = Path::Index(place.path, index);
                    self.value(
                        item,
                        &Place { schema: schema.items(), path: &path, depth: place.depth + 1, ..*place },
                    )?;
                }
                Ok(())
            }
            (Some(Type::String), Value::String(_))
            | (Some(Type::Boolean), Value::Bool(_))
            | (Some(Type::Number), Value::Number(_))
            | (None, _) => Ok(()),
            (Some(Type::Integer), Value::Number(number)) => match number.as_i64() {
                Some(whole) if schema.node().format != Some("int32") || i32::try_from(whole).is_ok() => {
                    Ok(())
                }
                _ => Err(self.mismatch(&format!("number {number}"), schema, place)),
            },
            (Some(_), other) => Err(self.mismatch(scalars::kind(other), schema, place)),
        }
    }

    /// Values whose Go type reads them itself: its errors name no field.
    fn own_decoder(
        &self,
        value: &Value,
        schema: Schema,
        place: &Place<'_>,
    ) -> Option<Result<(), DecodeError>> {
        let node = schema.node();
        let told = |fault: Option<String>, hint: &str| {
            Some(fault.map_or(Ok(()), |why| Err(DecodeError::at(place, why, hint.to_owned()))))
        };
        if is_duration(place.fields) {
            let hint = "write a duration as 1h30m, 90s or 500ms; 0s means no limit";
            return match value {
                Value::String(text) if parse_go_duration(text).is_none() => {
                    told(Some(scalars::duration(text)), hint)
                }
                Value::String(_) => told(None, hint),
                other => told(Some(scalars::go_value(other, "string")), hint),
            };
        }
        if node.is_int_or_string() {
            // Only quantities have a pattern, or say what they are.
            return match node.pattern.is_some() || node.codec == Some(Codec::Quantity) {
                true => told(scalars::quantity(value), "write a quantity as 500m, 2, 128Mi or 1Gi"),
                false => told(scalars::int_or_string(value), "write a whole number or a name"),
            };
        }
        if node.format == Some("date-time") && !value.is_string() {
            return told(Some(scalars::go_value(value, "string")), "write a time as 2030-01-01T00:00:00Z");
        }
        None
    }

    fn member(&self, key: &str, value: &Value, schema: Schema, place: &Place<'_>) -> Result<(), DecodeError> {
        let path = Path::Key(place.path, key);
        let is_map = schema.additional().is_some();
        let mut fields = place.fields.to_vec();
        // A key of a map is no field.
        if !is_map {
            fields.push(key);
        }
        let inner = |schema| Place { schema, path: &path, fields: &fields, depth: place.depth + 1 };
        let same = |(name, _): &(&str, Schema)| name.eq_ignore_ascii_case(key);
        let found = schema.property(key).or_else(|| schema.properties().find(same).map(|(_, s)| s));
        match found.or_else(|| schema.additional()).or_else(|| self.embedded_type(key, place)) {
            Some(found) => self.value(value, &inner(self.opened(found, key, place))),
            None if schema.node().preserves() => Ok(()),
            None => {
                let known: Vec<_> = schema.properties().map(|(name, _)| name).collect();
                let hint = format!("leave it out, or use one of: {}", known.join(", "));
                let place = Place { path: &path, fields: &fields, ..*place };
                Err(DecodeError::at(&place, format!("json: unknown field {}", quote(key)), hint))
            }
        }
    }

    /// An embedded task may say what it is.
    fn embedded_type(&self, key: &str, place: &Place<'_>) -> Option<Schema> {
        let of_pipeline = matches!(place.fields, [.., "tasks" | "finally", "taskSpec"]);
        if !of_pipeline {
            return None;
        }
        let own = Schema::find(self.group_version, "PipelineRun")?;
        match key {
            "apiVersion" | "kind" => own.property(key),
            "metadata" => own.property("spec")?.property("taskRunSpecs")?.items()?.property("metadata"),
            // Whatever the controller of a custom task wants.
            "spec" => Schema::find(self.group_version, "TaskRun")?.property("spec")?.property("taskSpec"),
            _ => None,
        }
    }

    /// Where the schema is open, the type that the reference has there.
    fn opened(&self, schema: Schema, key: &str, place: &Place<'_>) -> Option<Schema> {
        if !schema.node().preserves() || schema.properties().next().is_some() {
            return Some(schema);
        }
        let kind = |kind: &str, field: &str| Schema::find(self.group_version, kind)?.property(field);
        let pod = |field: &str| Schema::find("v1", "Pod")?.property("spec")?.property(field);
        match key {
            "taskSpec" => kind("Task", "spec"),
            "pipelineSpec" => kind("Pipeline", "spec"),
            "volumes" | "affinity" | "securityContext" => pod(key),
            "volumeClaimTemplate" => Schema::find("v1", "PersistentVolumeClaim"),
            "retriesStatus" if place.fields.contains(&"status") && self.kind == "TaskRun" => None,
            _ => None,
        }
    }

    fn mismatch(&self, what: &str, schema: Schema, place: &Place<'_>) -> DecodeError {
        let path = place.path.to_string();
        let is_index =
            path.rsplit('.').next().is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
        let called = if is_index { "" } else { "Go struct field " };
        let go_type = gotypes::name(schema, place.fields, matches!(place.path, Path::Index(..)), self);
        let why = format!("json: cannot unmarshal {what} into {called}{}{path} of type {go_type}", self.kind);
        let wanted = schema.node().kind.map_or("another value", Type::as_str);
        let article = if wanted.starts_with(['a', 'o', 'i']) { "an" } else { "a" };
        DecodeError::at(place, why, format!("write {article} {wanted} there"))
    }
}

fn is_duration(fields: &[&str]) -> bool {
    matches!(fields, [.., "timeout"] | [.., "timeouts", "pipeline" | "tasks" | "finally"])
}
