//! OpenAPI documents, from the registry of kinds and the schema tree. They are built when first asked for and kept as
//! the bytes that are sent.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::discovery::{groups, versions};

mod components;
mod paths;
mod v2;

pub use v2::{V2_JSON_TYPE, V2_PROTOBUF_TYPE, V2Form, v2_json, v2_protobuf};

/// A document of one group and version.
#[derive(Debug)]
pub struct Document {
    /// JSON text.
    pub body: Vec<u8>,
    /// Changes with the body; part of its address, and its ETag (in quotes).
    pub hash: String,
}

/// The document at `/openapi/v3`: where to find those of the groups. `prefix` is what stands before all paths, such
/// as `/clusters/acme`, or empty.
pub fn index(prefix: &str) -> Value {
    let paths: serde_json::Map<String, Value> = documents()
        .iter()
        .map(|(path, document)| {
            let url = format!("{prefix}/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The document at `/openapi/v3/{path}`, where path is `api/v1` or `apis/{group}/{version}`.
pub fn document(path: &str) -> Option<&'static Document> {
    documents().get(path)
}

fn documents() -> &'static BTreeMap<String, Document> {
    static DOCUMENTS: OnceLock<BTreeMap<String, Document>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let mut out = BTreeMap::new();
        for group in std::iter::once("").chain(groups()) {
            for version in versions(group) {
                let body = build(group, version);
                let hash = hash(&body);
                out.insert(address(group, version), Document { body, hash });
            }
        }
        out
    })
}

/// `api/v1` or `apis/{group}/{version}`.
fn address(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn build(group: &str, version: &str) -> Vec<u8> {
    let document = components::Document {
        openapi: "3.0.0",
        info: json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}),
        paths: paths::all_v3(group, version),
        components: components::Components::of(group, version),
    };
    // Writing JSON into memory cannot fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// FNV-1a of 128 bits: the address must change when the body does, nothing more.
fn hash(bytes: &[u8]) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let value = bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{value:032X}")
}

/// `dev.tekton.v1.TaskRun`, `io.k8s.api.core.v1.Pod`: how schemas are named.
fn schema_name(group: &str, version: &str, kind: &str, custom: bool) -> String {
    if custom {
        let reversed: Vec<&str> = group.rsplit('.').collect();
        return format!("{}.{version}.{kind}", reversed.join("."));
    }
    let short = group.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core");
    format!("io.k8s.api.{short}.{version}.{kind}")
}

/// `TektonDevV1`, `CoreV1`: how operations name the group.
fn operation_group(group: &str, version: &str) -> String {
    let capital = |text: &str| {
        let mut chars = text.chars();
        chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    let group = if group.is_empty() { "core" } else { group };
    let words: Vec<String> = group.split('.').map(capital).collect();
    format!("{}{}", words.concat(), capital(version))
}

#[cfg(test)]
mod tests;
