//! Schemas of kinds that came from CustomResourceDefinitions, read from an OpenAPI v3 document.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::Table;

/// Adds every kind of the document. `metadata` is the node of ObjectMeta.
pub fn add(table: &mut Table, document: &Value, metadata: usize) -> Result<()> {
    let schemas = document["components"]["schemas"].as_object().context("no schemas")?;
    for schema in schemas.values() {
        let Some(id) = schema["x-kubernetes-group-version-kind"].get(0) else { continue };
        let text = |key: &str| id[key].as_str().unwrap_or("").to_owned();
        if !schema["properties"]["spec"].is_object() {
            continue;
        }
        let at = node(table, schema, metadata)?;
        table.kinds.insert(format!("{}/{}/{}", text("group"), text("version"), text("kind")), at);
    }
    Ok(())
}

fn node(table: &mut Table, schema: &Value, metadata: usize) -> Result<usize> {
    if schema["allOf"].is_array() {
        return Ok(metadata);
    }
    let mut out = Map::new();
    for (key, value) in schema.as_object().context("a schema is no object")? {
        match key.as_str() {
            "description" | "x-kubernetes-group-version-kind" | "anyOf" => {}
            "type" => drop(out.insert("t".into(), letter(value)?.into())),
            "format" => drop(out.insert("f".into(), value.clone())),
            "pattern" => drop(out.insert("g".into(), value.clone())),
            "default" => drop(out.insert("d".into(), value.clone())),
            "enum" => drop(out.insert("e".into(), value.clone())),
            "required" => drop(out.insert("r".into(), value.clone())),
            "items" => drop(out.insert("i".into(), node(table, value, metadata)?.into())),
            "additionalProperties" => drop(out.insert("a".into(), node(table, value, metadata)?.into())),
            "properties" => {
                let mut properties = Map::new();
                for (name, schema) in value.as_object().context("properties")? {
                    properties.insert(name.clone(), node(table, schema, metadata)?.into());
                }
                out.insert("p".into(), properties.into());
            }
            "x-kubernetes-preserve-unknown-fields" => drop(out.insert("x".into(), 1.into())),
            "x-kubernetes-int-or-string" => drop(out.insert("q".into(), 1.into())),
            "x-kubernetes-list-type" => drop(out.insert("l".into(), value.clone())),
            "x-kubernetes-list-map-keys" => drop(out.insert("k".into(), value.clone())),
            "x-kubernetes-map-type" => drop(out.insert("m".into(), value.clone())),
            other => bail!("unexpected keyword {other}"),
        }
    }
    Ok(table.intern(out))
}

fn letter(kind: &Value) -> Result<&'static str> {
    Ok(match kind.as_str().unwrap_or("") {
        "object" => "o",
        "array" => "a",
        "string" => "s",
        "integer" => "i",
        "number" => "n",
        "boolean" => "b",
        other => bail!("unexpected type {other}"),
    })
}
