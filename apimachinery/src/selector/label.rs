//! Label selectors: `tier=web,n>3,!canary,env in (a,b)`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field_error::FieldError;
use crate::meta;
use crate::names::{label_value, qualified_name};

mod parser;

/// How a requirement compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operator {
    /// The label is there with one of the values (`in`, `=`, `==`).
    In,
    /// The label is not there, or with none of the values (`notin`, `!=`).
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The label is a greater integer.
    Greater,
    /// The label is a lesser integer.
    Less,
}

/// One condition on one label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// What it is compared with.
    pub values: BTreeSet<String>,
}

/// Conditions that all have to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelSelector {
    /// The conditions.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Parses the value of a `labelSelector` parameter.
    ///
    /// # Errors
    /// What is wrong, in the reference's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        parser::parse(text).map(|requirements| Self { requirements })
    }

    /// Matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The object's labels fulfil every condition.
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements.iter().all(|r| r.matches(meta::label(object, &r.key)))
    }

    /// The value that label `key` must have, when the selector pins it to exactly one.
    pub fn exact(&self, key: &str) -> Option<&str> {
        let pinned = |r: &&Requirement| r.key == key && r.operator == Operator::In && r.values.len() == 1;
        self.requirements.iter().find(pinned)?.values.first().map(String::as_str)
    }
}

impl Requirement {
    /// Checks key and values.
    pub(super) fn new(key: &str, operator: Operator, values: BTreeSet<String>) -> Result<Self, String> {
        check_key(key)?;
        for (i, value) in values.iter().enumerate() {
            if matches!(operator, Operator::Greater | Operator::Less) && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(FieldError::invalid_str(format!("values[{i}]"), value, detail).text());
            }
            if let Some(complaint) = label_value(value).first() {
                return Err(FieldError::invalid_str(format!("values[{i}][{key}]"), value, complaint).text());
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// A label with this value (or none) fulfils the condition.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater => self.compare(value, |have, bound| have > bound),
            Operator::Less => self.compare(value, |have, bound| have < bound),
        }
    }

    fn compare(&self, value: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        let have = value.and_then(|v| v.parse().ok());
        let bound = self.values.first().and_then(|v| v.parse().ok());
        matches!((have, bound), (Some(have), Some(bound)) if holds(have, bound))
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let complaints = qualified_name(key);
    if complaints.is_empty() {
        return Ok(());
    }
    Err(FieldError::invalid_str("<nil>", key, &complaints.join("; ")).text())
}

#[cfg(test)]
mod tests;
