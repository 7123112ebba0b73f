//! Reading request bodies: JSON that remembers keys which occur twice, YAML as Kubernetes reads it, protobuf.
//!
//! Depth is bounded in all of them; what is read cannot exhaust the stack.

use serde_json::Value;

use crate::accept::{self, clause};
use crate::kind::Kind;
use crate::status::Status;

mod json;
mod yaml;

/// Values may not be nested deeper.
pub const DEPTH_MAX: usize = 127;

/// What a body turned out to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoded {
    /// The document; of a key that occurs twice the last value.
    pub value: Value,
    /// A complaint for each key that occurs twice, as clients see it.
    pub duplicates: Vec<String>,
}

/// A body that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// The encoding of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// JSON.
    Json,
    /// YAML, or JSON.
    Yaml,
    /// Kubernetes protobuf.
    Protobuf,
}

impl Encoding {
    /// The encoding that a Content-Type header says; JSON without one.
    ///
    /// # Errors
    /// 415 for any other media type.
    pub fn of(content_type: Option<&str>) -> Result<Self, Status> {
        let Some(text) = content_type.filter(|t| !t.trim().is_empty()) else { return Ok(Self::Json) };
        match clause(text).map(|c| c.media_type).as_deref() {
            Some(accept::JSON) => Ok(Self::Json),
            Some(accept::YAML) => Ok(Self::Yaml),
            Some(accept::PROTOBUF) => Ok(Self::Protobuf),
            _ => Err(Status::unsupported_media_type(accept::MEDIA_TYPES)),
        }
    }
}

/// Reads a JSON document.
///
/// # Errors
/// [`Unreadable`] with the place of the fault.
pub fn json(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    json::decode(bytes)
}

/// Reads a single YAML document the way Kubernetes does, that is with the words of YAML 1.1: a bare `yes` is true.
///
/// # Errors
/// [`Unreadable`] with the place of the fault.
pub fn yaml(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    yaml::decode(bytes)
}

/// Reads the body of a create or update of an object of `kind`.
///
/// # Errors
/// 415 for a media type that isn't understood, 400 for a body that cannot be read.
pub fn object(kind: &Kind, content_type: Option<&str>, bytes: &[u8]) -> Result<Decoded, Status> {
    read(content_type, bytes)?.map_err(|Unreadable(why)| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; {why}",
            kind.kind
        ))
    })
}

/// Reads the options in the body of a delete; [`None`] when there is no body.
///
/// # Errors
/// 415 for a media type that isn't understood, 400 for a body that cannot be read.
pub fn options(content_type: Option<&str>, bytes: &[u8]) -> Result<Option<Value>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match read(content_type, bytes)? {
        Ok(decoded) => Ok(Some(decoded.value)),
        Err(Unreadable(why)) => Err(Status::bad_request(format!("couldn't get version/kind; {why}"))),
    }
}

fn read(content_type: Option<&str>, bytes: &[u8]) -> Result<Result<Decoded, Unreadable>, Status> {
    Ok(match Encoding::of(content_type)? {
        Encoding::Json => json(bytes),
        Encoding::Yaml => yaml(bytes),
        Encoding::Protobuf => {
            crate::protobuf::decode(bytes).map(|value| Decoded { value, duplicates: Vec::new() })
        }
    })
}

/// Reads the body of a patch, which is JSON unless `is_yaml` (server-side apply).
///
/// # Errors
/// 400 when it cannot be read.
pub fn patch(bytes: &[u8], is_yaml: bool) -> Result<Decoded, Status> {
    let decoded = if is_yaml { yaml(bytes) } else { json(bytes) };
    decoded.map_err(|Unreadable(why)| Status::bad_request(format!("error decoding patch: {why}")))
}

#[cfg(test)]
mod tests;
