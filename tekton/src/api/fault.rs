//! Faults of an object's fields as the reference's webhook words them: a message, the paths it concerns, details.
//!
//! Paths are built from the inside out: a check names the field it looked at, and each caller puts its own field,
//! index or key in front. Rendering merges faults of one message and sorts them, so the order of checks is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    message: String,
    paths: Vec<String>,
    details: String,
}

/// Faults found so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No fault.
    pub fn none() -> Self {
        Self::default()
    }

    /// One fault at `paths`; the empty path is the value under inspection itself, no path at all stays without one.
    pub fn at(message: impl Into<String>, paths: &[&str]) -> Self {
        Self::detailed(message, paths, "")
    }

    /// One fault with details, which are printed on lines of their own.
    pub fn detailed(message: impl Into<String>, paths: &[&str], details: &str) -> Self {
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        Self(vec![Fault { message: message.into(), paths, details: details.into() }])
    }

    /// A field that must be set is not.
    pub fn missing(field: &str) -> Self {
        Self::at("missing field(s)", &[field])
    }

    /// A field that must not be set is.
    pub fn disallowed(field: &str) -> Self {
        Self::at("must not set the field(s)", &[field])
    }

    /// The value cannot be accepted.
    pub fn invalid(value: impl fmt::Display, field: &str) -> Self {
        Self::at(format!("invalid value: {value}"), &[field])
    }

    /// None of several fields is set.
    pub fn neither(fields: &[&str]) -> Self {
        Self::at("expected exactly one, got neither", fields)
    }

    /// More than one of several fields is set; with one field: it is there twice.
    pub fn both(fields: &[&str]) -> Self {
        Self::at("expected exactly one, got both", fields)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Messages and their paths, in the order in which they are told.
    pub fn each(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        let mut merged: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for fault in &self.0 {
            let paths = merged.entry((&fault.message, &fault.details)).or_default();
            paths.extend(fault.paths.iter().map(String::as_str));
        }
        merged.into_iter().map(|((message, _), paths)| (message, paths.into_iter().collect()))
    }

    /// Takes over the faults of another check.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same faults, seen from the holder of `field`.
    #[must_use]
    pub fn under(mut self, field: &str) -> Self {
        for path in self.0.iter_mut().flat_map(|f| &mut f.paths) {
            *path = join(field, path);
        }
        self
    }

    /// The same faults, seen from the list whose element number `index` was looked at.
    #[must_use]
    pub fn index(self, index: usize) -> Self {
        if self.is_empty() { self } else { self.under(&format!("[{index}]")) }
    }

    /// The same faults, seen from the collection whose element `key` was looked at.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        if self.is_empty() { self } else { self.under(&format!("[{key}]")) }
    }

    /// [`Self::index`] in `field`.
    #[must_use]
    pub fn field_index(self, field: &str, index: usize) -> Self {
        self.index(index).under(field)
    }

    /// [`Self::key`] in `field`.
    #[must_use]
    pub fn field_key(self, field: &str, key: &str) -> Self {
        self.key(key).under(field)
    }
}

/// Joins paths; an index or key sticks to the part before it. Dots inside keys separate as well, as in the reference.
fn join(outer: &str, inner: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in outer.split('.').chain(inner.split('.')).filter(|p| !p.is_empty()) {
        match parts.last_mut() {
            Some(last) if part.starts_with('[') && part.ends_with(']') => last.push_str(part),
            _ => parts.push(part.to_owned()),
        }
    }
    parts.join(".")
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut merged: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for fault in &self.0 {
            let paths = merged.entry((&fault.message, &fault.details)).or_default();
            paths.extend(fault.paths.iter().map(String::as_str));
        }
        for (i, ((message, details), paths)) in merged.into_iter().enumerate() {
            let paths: Vec<_> = paths.into_iter().collect();
            let start = if i == 0 { "" } else { "\n" };
            write!(f, "{start}{message}: {}", paths.join(", "))?;
            if !details.is_empty() {
                write!(f, "\n{details}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
