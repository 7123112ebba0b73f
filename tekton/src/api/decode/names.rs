//! Names of fields as the reference's decoder takes them: without regard to case. What comes out is spelled as the
//! type has it.

use apimachinery::schema::Schema;
use serde_json::{Map, Value};

/// Spells the fields of an object of `tekton.dev` as its type has them.
pub fn canonical(object: &mut Value) {
    let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    if let Some(schema) = version.zip(kind).and_then(|(version, kind)| Schema::find(version, kind)) {
        let version = version.unwrap_or_default().to_owned();
        walk(object, schema, &version);
    }
}

fn walk(value: &mut Value, schema: Schema, version: &str) {
    match value {
        Value::Object(members) => {
            respell(members, schema);
            for (name, member) in members {
                if let Some(schema) = below(schema, name, version) {
                    walk(member, schema, version);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items() {
                items.iter_mut().for_each(|item| walk(item, schema, version));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of a member; embedded specs are open in the schemas, and have those of their kinds.
fn below(schema: Schema, name: &str, version: &str) -> Option<Schema> {
    let declared = schema.member(name);
    let kind = match name {
        "taskSpec" => "Task",
        "pipelineSpec" => "Pipeline",
        _ => return declared,
    };
    declared
        .filter(|s| s.properties().next().is_some())
        .or_else(|| Schema::find(version, kind)?.property("spec"))
}

fn respell(members: &mut Map<String, Value>, schema: Schema) {
    if schema.additional().is_some() || schema.properties().next().is_none() {
        return;
    }
    let unknown: Vec<String> =
        members.keys().filter(|name| schema.property(name).is_none()).cloned().collect();
    for name in unknown {
        let meant =
            schema.properties().map(|(known, _)| known).find(|known| known.eq_ignore_ascii_case(&name));
        if let Some(meant) = meant.filter(|meant| !members.contains_key(*meant))
            && let Some(value) = members.remove(&name)
        {
            members.insert(meant.to_owned(), value);
        }
    }
}
