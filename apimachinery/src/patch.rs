//! Patches: merge (RFC 7396), JSON (RFC 6902, as lenient as the reference), strategic merge for core kinds.

use serde_json::Value;

use crate::field_error::FieldError;
use crate::status::Status;

mod json;
mod merge;
mod strategic;

pub use json::{JsonPatch, OPERATIONS_MAX};
pub use merge::{apply_merge, merge};
pub use strategic::apply_strategic;

/// 422: the patched document is no acceptable object any more. `why` says what is wrong with it.
pub fn unreadable(patched: &Value, why: &str) -> Status {
    let error = FieldError::invalid_str("patch", &patched.to_string(), why);
    Status::invalid("", "", "", &[error])
}

#[cfg(test)]
mod tests;
