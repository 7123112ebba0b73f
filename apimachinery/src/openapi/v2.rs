//! OpenAPI v2: a JSON document for those who read it, and the least protobuf that kubectl up to 1.28 is content with.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::components::{Place, Schemas};
use super::paths::all_paths;
use crate::accept::clauses;
use crate::discovery::{groups, versions};

/// Content-Type of [`v2_protobuf`].
pub const V2_PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Content-Type of [`v2_json`].
pub const V2_JSON_TYPE: &str = "application/json";

/// A form of the document at `/openapi/v2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum V2Form {
    /// [`v2_json`].
    Json,
    /// [`v2_protobuf`].
    Protobuf,
}

impl V2Form {
    /// The form that an Accept header asks for; [`None`] is a 406.
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        clauses(accept).iter().find_map(|clause| match clause.media_type.as_str() {
            V2_PROTOBUF_TYPE | "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" => {
                Some(Self::Protobuf)
            }
            _ if clause.allows(V2_JSON_TYPE) => Some(Self::Json),
            _ => None,
        })
    }
}

/// The whole API in one protobuf document without paths and definitions: clients then ask OpenAPI v3 or the server.
pub fn v2_protobuf() -> Vec<u8> {
    let field = |number: u8, content: &[u8]| -> Vec<u8> {
        let len = u8::try_from(content.len()).expect("all fields are short");
        assert!(len < 0x80, "longer lengths take two bytes");
        [&[number << 3 | 2, len], content].concat()
    };
    let info = [field(1, b"Kubernetes CRD Swagger"), field(2, b"v0.1.0")].concat();
    [field(1, b"2.0"), field(2, &info), field(8, &[]), field(9, &[])].concat()
}

#[derive(Serialize)]
struct Document {
    swagger: &'static str,
    info: Value,
    paths: Map<String, Value>,
    definitions: Schemas,
}

/// The whole API as JSON. It is large and rarely asked for, so it is not kept.
pub fn v2_json() -> Vec<u8> {
    let mut paths = Map::new();
    let mut definitions: Option<Schemas> = None;
    for group in std::iter::once("").chain(groups()) {
        for version in versions(group) {
            paths.extend(all_paths(group, version, Place::Definitions));
            let more = Schemas::of(group, version, Place::Definitions);
            definitions = Some(match definitions {
                Some(schemas) => schemas.join(more),
                None => more,
            });
        }
    }
    for item in paths.values_mut() {
        old_style(item);
    }
    let document = Document {
        swagger: "2.0",
        info: json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}),
        paths,
        definitions: definitions.unwrap_or_else(|| Schemas::of("", "v1", Place::Definitions)),
    };
    // Writing JSON into memory cannot fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// Rewrites a path item: bodies are parameters, schemas stand directly in answers, types directly in parameters.
fn old_style(item: &mut Value) {
    let Some(item) = item.as_object_mut() else { return };
    for (key, value) in item.iter_mut() {
        if key == "parameters" {
            flatten(value);
            continue;
        }
        let Some(operation) = value.as_object_mut() else { continue };
        let body = operation.remove("requestBody");
        let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
        flatten(parameters);
        if let (Some(body), Some(list)) = (body, parameters.as_array_mut()) {
            let types: Vec<&String> =
                body["content"].as_object().into_iter().flatten().map(|(t, _)| t).collect();
            let schema =
                body["content"].as_object().and_then(|c| c.values().next()).map(|c| c["schema"].clone());
            list.push(
                json!({"name": "body", "in": "body", "required": body["required"] == true, "schema": schema}),
            );
            let types = json!(types);
            operation.insert("consumes".into(), types);
        }
        for answer in operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten() {
            let schema = answer.1["content"]["application/json"]["schema"].take();
            *answer.1 = json!({"description": "", "schema": schema});
            if let Some(answer) = answer.1.as_object_mut().filter(|a| a["schema"].is_null()) {
                answer.remove("schema");
            }
        }
        operation.insert("produces".into(), json!(["application/json", "application/yaml"]));
    }
}

fn flatten(parameters: &mut Value) {
    for parameter in parameters.as_array_mut().into_iter().flatten() {
        let Some(parameter) = parameter.as_object_mut() else { continue };
        if let Some(Value::Object(schema)) = parameter.remove("schema") {
            parameter.extend(schema);
        }
    }
}
