//! Tables and metadata-only views: how kubectl and metadata informers want to see objects.

use serde_json::{Map, Value, json};

use crate::field_error::FieldError;
use crate::kind::{Cell, Column, Kind, Version};
use crate::meta;
use crate::status::Status;
use crate::time::{Micros, human_duration};

mod cells;

/// What stands in a row beside its cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Include {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl Include {
    /// Reads the `includeObject` parameter.
    ///
    /// # Errors
    /// 400 for a value that is none of them.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            _ => {
                let detail = "must be 'Metadata', 'Object', 'None', or empty";
                let error = FieldError::invalid_str("includeObject", text, detail).text();
                Err(Status::bad_request(format!("Unable to convert to Table as requested: {error}")))
            }
        }
    }
}

/// How tables are made for one request.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    /// The kind of the rows.
    pub kind: &'static Kind,
    /// Its version.
    pub version: &'static Version,
    /// `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`.
    pub meta_version: &'static str,
    /// What stands beside the cells.
    pub include: Include,
    /// Ages are counted up to this moment.
    pub now: Micros,
}

impl TableStyle {
    /// A whole Table. `list_meta` is the metadata of the list. In a watch only the first table has headings
    /// (`headings` true).
    pub fn table<'a>(
        &self,
        list_meta: Value,
        objects: impl IntoIterator<Item = &'a Value>,
        headings: bool,
    ) -> Value {
        let headings = if headings { self.headings() } else { Value::Null };
        let rows: Vec<Value> = objects.into_iter().map(|o| self.row(o)).collect();
        json!({
            "kind": "Table", "apiVersion": self.meta_version, "metadata": list_meta,
            "columnDefinitions": headings, "rows": rows,
        })
    }

    /// The Table of one object: its row, under its own resourceVersion.
    pub fn single(&self, object: &Value, headings: bool) -> Value {
        let list_meta = json!({"resourceVersion": meta::resource_version(object)});
        self.table(list_meta, [object], headings)
    }

    /// The column definitions.
    pub fn headings(&self) -> Value {
        self.version.columns.iter().map(heading).collect()
    }

    /// One row.
    pub fn row(&self, object: &Value) -> Value {
        let cells: Vec<Value> = self.version.columns.iter().map(|c| self.cell(c, object)).collect();
        let beside = match self.include {
            Include::None => Value::Null,
            Include::Metadata => partial(object, self.meta_version),
            Include::Object => object.clone(),
        };
        json!({"cells": cells, "object": beside})
    }

    fn cell(&self, column: &Column, object: &Value) -> Value {
        match column.cell {
            Cell::Name => meta::name(object).into(),
            Cell::Age(pointers) => {
                let time = pointers.iter().find_map(|p| object.pointer(p).and_then(Value::as_str));
                time.map_or(Value::Null, |t| age(t, self.now).into())
            }
            Cell::At(pointer) => self.present(object.pointer(pointer)),
            Cell::Succeeded(member) => self.present(succeeded(object).and_then(|c| c.get(member))),
            Cell::Computed(computed) => cells::compute(computed, object, self.now),
        }
    }

    /// Custom kinds show nothing as null, core kinds as an empty text.
    fn present(&self, value: Option<&Value>) -> Value {
        match value {
            Some(value) if !value.is_null() => value.clone(),
            _ if self.kind.custom => Value::Null,
            _ => "".into(),
        }
    }
}

fn heading(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": column.format, "description": column.description,
        "priority": column.priority,
    })
}

fn succeeded(object: &Value) -> Option<&Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Succeeded")
}

/// Time from `text` (RFC 3339) to `now`, for people.
fn age(text: &str, now: Micros) -> String {
    match Micros::parse(text) {
        Some(time) => human_duration(now.0 - time.0),
        None => "<unknown>".to_owned(),
    }
}

/// Only the metadata of an object.
pub fn partial(object: &Value, meta_version: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": meta_version, "metadata": object["metadata"]})
}

/// Only the metadata of a list. No objects are `null`, as in the reference.
pub fn partial_list<'a>(
    list_meta: Value,
    objects: impl IntoIterator<Item = &'a Value>,
    meta_version: &str,
) -> Value {
    let items: Vec<Value> = objects.into_iter().map(|o| partial(o, meta_version)).collect();
    let items = if items.is_empty() { Value::Null } else { items.into() };
    json!({"kind": "PartialObjectMetadataList", "apiVersion": meta_version, "metadata": list_meta, "items": items})
}

/// Metadata of a list. `remaining` is only told when it is known and not 0.
pub fn list_meta(resource_version: &str, continue_token: &str, remaining: Option<u64>) -> Value {
    let mut out = Map::new();
    out.insert("resourceVersion".into(), resource_version.into());
    if !continue_token.is_empty() {
        out.insert("continue".into(), continue_token.into());
        if let Some(remaining) = remaining.filter(|r| *r > 0) {
            out.insert("remainingItemCount".into(), remaining.into());
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests;
