//! Label and field selectors: parsed as the reference parses them, evaluated against an object.

use serde_json::Value;

use crate::kind::Kind;
use crate::status::Status;

mod field;
mod label;

pub use field::FieldSelector;
pub use label::{LabelSelector, Operator, Requirement};

/// What a list or watch is limited to. Both parts must match; the empty selector matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// From `labelSelector`.
    pub labels: LabelSelector,
    /// From `fieldSelector`.
    pub fields: FieldSelector,
}

impl Selector {
    /// Parses both query parameters; absent ones are empty.
    ///
    /// # Errors
    /// 400 in the reference's words.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(Status::bad_request)?;
        let fields = FieldSelector::parse(kind, fields).map_err(Status::bad_request)?;
        Ok(Self { labels, fields })
    }

    /// Matches everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }
}
