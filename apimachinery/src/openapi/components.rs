//! Schemas as OpenAPI writes them, streamed from the tree without building documents in memory.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::schema_name;
use crate::kind::{Kind, all};
use crate::schema::{Codec, ListType, Schema};

/// Schemas of metadata, Status and the like; `meta.X` in references stands for their full names.
const META: &str = include_str!("../../schemas/meta.json");
const META_PREFIX: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Where references lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// OpenAPI v3.
    Components,
    /// OpenAPI v2.
    Definitions,
}

impl Place {
    fn prefix(self) -> &'static str {
        match self {
            Self::Components => "#/components/schemas/",
            Self::Definitions => "#/definitions/",
        }
    }

    /// A reference to a named schema.
    pub(super) fn to(self, name: &str) -> Value {
        json!({ "$ref": format!("{}{name}", self.prefix()) })
    }

    /// A reference to one of the schemas of metadata.
    pub(super) fn to_meta(self, name: &str) -> Value {
        self.to(&format!("{META_PREFIX}{name}"))
    }
}

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) openapi: &'static str,
    pub(super) info: Value,
    pub(super) paths: Value,
    pub(super) components: Components,
}

#[derive(Serialize)]
pub(super) struct Components {
    schemas: Schemas,
}

impl Components {
    pub(super) fn of(group: &str, version: &str) -> Self {
        Self { schemas: Schemas::of(group, version, Place::Components) }
    }
}

/// The schemas of the kinds of a group and version, and of metadata.
pub(super) struct Schemas {
    kinds: Vec<(&'static Kind, String)>,
    place: Place,
}

impl Schemas {
    pub(super) fn of(group: &str, version: &str, place: Place) -> Self {
        let kinds = all().filter(|k| k.group == group && k.version(version).is_some());
        Self { kinds: kinds.map(|k| (k, version.to_owned())).collect(), place }
    }

    pub(super) fn join(mut self, other: Self) -> Self {
        self.kinds.extend(other.kinds);
        self
    }
}

impl Serialize for Schemas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, version) in &self.kinds {
            let name = schema_name(kind.group, version, kind.kind, kind.custom);
            if let Some(schema) = Schema::of(kind, version) {
                let id = gvk(kind.group, version, kind.kind);
                map.serialize_entry(&name, &View { schema, place: self.place, id: Some(id) })?;
            }
            if kind.has_verb("list") {
                map.serialize_entry(&format!("{name}List"), &list(kind, version, &name, self.place))?;
            }
        }
        for (name, schema) in meta_schemas(self.place) {
            map.serialize_entry(&name, &schema)?;
        }
        map.end()
    }
}

/// The value of `x-kubernetes-group-version-kind` of a schema: a list of one.
fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!([{"group": group, "version": version, "kind": kind}])
}

fn list(kind: &Kind, version: &str, name: &str, place: Place) -> Value {
    json!({
        "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": place.to(name)},
            "kind": {"type": "string"},
            "metadata": {"allOf": [place.to_meta("ListMeta")]},
        },
        "x-kubernetes-group-version-kind": gvk(kind.group, version, &format!("{}List", kind.kind)),
    })
}

fn meta_schemas(place: Place) -> Map<String, Value> {
    let text = META.replace("#/components/schemas/meta.", &format!("{}{META_PREFIX}", place.prefix()));
    let schemas: Map<String, Value> =
        serde_json::from_str(&text).expect("schemas/meta.json is part of the source and tested");
    schemas.into_iter().map(|(name, schema)| (format!("{META_PREFIX}{name}"), schema)).collect()
}

/// A node and everything below it.
struct View {
    schema: Schema,
    place: Place,
    id: Option<Value>,
}

impl View {
    fn child(&self, schema: Schema) -> Self {
        Self { schema, place: self.place, id: None }
    }
}

struct Properties<'a>(&'a View);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.schema.properties().map(|(name, schema)| (name, self.0.child(schema))))
    }
}

impl Serialize for View {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.schema.node();
        let mut map = serializer.serialize_map(None)?;
        if self.id.is_none() && node.codec == Some(Codec::Meta) {
            map.serialize_entry("allOf", &[self.place.to_meta("ObjectMeta")])?;
            return map.end();
        }
        if let Some(kind) = node.kind {
            map.serialize_entry("type", kind.as_str())?;
        }
        if let Some(format) = node.format {
            map.serialize_entry("format", format)?;
        }
        if let Some(pattern) = &node.pattern {
            map.serialize_entry("pattern", pattern)?;
        }
        if let Some(default) = &node.default {
            map.serialize_entry("default", default)?;
        }
        if !node.values.is_empty() {
            map.serialize_entry("enum", &node.values)?;
        }
        if !node.required.is_empty() {
            map.serialize_entry("required", &node.required)?;
        }
        if self.schema.properties().next().is_some() {
            map.serialize_entry("properties", &Properties(self))?;
        }
        if let Some(items) = self.schema.items() {
            map.serialize_entry("items", &self.child(items))?;
        }
        if let Some(values) = self.schema.additional() {
            map.serialize_entry("additionalProperties", &self.child(values))?;
        }
        self.extensions(&mut map)?;
        map.end()
    }
}

impl View {
    fn extensions<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let node = self.schema.node();
        if node.is_int_or_string() {
            // OpenAPI v2 has no anyOf; there the extension alone says it.
            if self.place == Place::Components {
                map.serialize_entry("anyOf", &json!([{"type": "integer"}, {"type": "string"}]))?;
            }
            map.serialize_entry("x-kubernetes-int-or-string", &true)?;
        }
        if node.preserves() {
            map.serialize_entry("x-kubernetes-preserve-unknown-fields", &true)?;
        }
        if let Some(list) = node.list {
            let name = match list {
                ListType::Atomic => "atomic",
                ListType::Set => "set",
                ListType::Map => "map",
            };
            map.serialize_entry("x-kubernetes-list-type", name)?;
        }
        if !node.keys.is_empty() {
            map.serialize_entry("x-kubernetes-list-map-keys", &node.keys)?;
        }
        if node.is_atomic_map() {
            map.serialize_entry("x-kubernetes-map-type", "atomic")?;
        }
        if let Some(id) = &self.id {
            map.serialize_entry("x-kubernetes-group-version-kind", id)?;
        }
        Ok(())
    }
}
