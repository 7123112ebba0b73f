//! What a client wants to get: reading the `Accept` header the way the reference does; media types; warnings.

use crate::status::Status;

/// What the reference lists as acceptable, whatever it could really produce.
pub const MEDIA_TYPES: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What a patch body may be for kinds that came from definitions.
pub const PATCH_TYPES: &[&str] = &[JSON_PATCH, MERGE_PATCH, APPLY_PATCH];
/// What a patch body may be for core kinds.
pub const CORE_PATCH_TYPES: &[&str] = &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
/// JSON.
pub const JSON: &str = "application/json";
/// YAML.
pub const YAML: &str = "application/yaml";
/// Kubernetes protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// JSON patch.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// Merge patch.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Strategic merge patch.
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Server-side apply.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// The form in which objects are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// As they are.
    Full,
    /// As rows of a Table.
    Table,
    /// Only metadata of one object.
    Partial,
    /// Only metadata of a list.
    PartialList,
}

/// What was negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The form.
    pub shape: Shape,
    /// apiVersion of Table and PartialObjectMetadata.
    pub meta_version: &'static str,
    /// The answer is written as YAML instead of JSON.
    pub yaml: bool,
}

/// One clause of an Accept header (or a Content-Type).
#[derive(Clone, PartialEq, Debug)]
pub struct Clause<'a> {
    /// `application/json`, in lower case.
    pub media_type: String,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// JSON is among what this clause allows.
    pub fn allows(&self, media_type: &str) -> bool {
        let group = media_type.split('/').next().unwrap_or("");
        self.media_type == media_type
            || self.media_type == "*/*"
            || self.media_type.strip_suffix("/*") == Some(group)
    }
}

/// The clauses of an Accept header, best first; no header or an empty one allows anything.
pub fn clauses(accept: Option<&str>) -> Vec<Clause<'_>> {
    let text = accept.map(str::trim).filter(|t| !t.is_empty()).unwrap_or("*/*");
    let mut out: Vec<Clause<'_>> = text.split(',').filter_map(clause).collect();
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

/// A media type with parameters, such as the value of a Content-Type header.
pub fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().filter(|m| !m.is_empty())?.to_ascii_lowercase();
    let mut quality = 1.0;
    let mut params = Vec::new();
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        if key.trim().eq_ignore_ascii_case("q") {
            quality = value.parse().ok().filter(|q: &f32| q.is_finite()).unwrap_or(0.0);
        } else {
            params.push((key.trim(), value));
        }
    }
    Some(Clause { media_type, params, quality })
}

/// The value of a `Warning` header. What a header cannot carry is left out.
pub fn warning(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 10);
    out.push_str("299 - \"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Negotiates the form of objects and lists.
///
/// # Errors
/// 406 when nothing that is accepted can be produced.
pub fn negotiate(accept: Option<&str>) -> Result<Accepted, Status> {
    for clause in clauses(accept) {
        let yaml = !clause.allows(JSON);
        if yaml && !clause.allows(YAML) {
            continue;
        }
        if let Some((shape, meta_version)) = shape(&clause) {
            return Ok(Accepted { shape, meta_version, yaml });
        }
    }
    Err(Status::not_acceptable(MEDIA_TYPES))
}

fn shape(clause: &Clause<'_>) -> Option<(Shape, &'static str)> {
    let Some(wanted) = clause.param("as") else {
        return Some((Shape::Full, "meta.k8s.io/v1"));
    };
    if clause.param("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match clause.param("v")? {
        "v1" => "meta.k8s.io/v1",
        "v1beta1" => "meta.k8s.io/v1beta1",
        _ => return None,
    };
    let shape = match wanted {
        "Table" => Shape::Table,
        "PartialObjectMetadata" => Shape::Partial,
        "PartialObjectMetadataList" => Shape::PartialList,
        _ => return None,
    };
    Some((shape, version))
}

#[cfg(test)]
mod tests;
