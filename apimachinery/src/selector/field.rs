//! Field selectors: `metadata.name=x,status.phase!=Running`. Each kind says which fields it has.

use serde_json::Value;

use crate::kind::{Field, Kind};
use crate::meta;

/// Where a selected field is found.
#[derive(Clone, Copy, Debug)]
enum Source {
    Name,
    Namespace,
    Field(&'static Field),
}

#[derive(Clone, Debug)]
struct Term {
    source: Source,
    label: String,
    negated: bool,
    value: String,
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label && self.negated == other.negated && self.value == other.value
    }
}

impl Eq for Term {}

/// Conditions that all have to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Parses the value of a `fieldSelector` parameter.
    ///
    /// # Errors
    /// What is wrong, in the reference's words: not understood, or a field that the kind doesn't offer.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let (label, negated, raw) =
                term(part).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            let value = unescape(raw)?;
            let source = source(kind, label).ok_or_else(|| format!("field label not supported: {label}"))?;
            terms.push(Term { source, label: label.to_owned(), negated, value });
        }
        Ok(Self { terms })
    }

    /// Matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The object fulfils every condition.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (term.read(object) == term.value) != term.negated)
    }

    /// The value that a field must have, when the selector pins it (`metadata.name`, `metadata.namespace`, …).
    pub fn exact(&self, label: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.label == label && !t.negated).map(|t| t.value.as_str())
    }
}

impl Term {
    fn read(&self, object: &Value) -> String {
        match self.source {
            Source::Name => meta::name(object).to_owned(),
            Source::Namespace => meta::namespace(object).to_owned(),
            Source::Field(field) => {
                let found = field.pointers.iter().find_map(|p| scalar(object.pointer(p)?));
                found.unwrap_or_else(|| field.absent.to_owned())
            }
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn source(kind: &Kind, label: &str) -> Option<Source> {
    match label {
        "metadata.name" => Some(Source::Name),
        "metadata.namespace" if kind.namespaced() => Some(Source::Namespace),
        _ => kind.fields.iter().find(|f| f.label == label).map(Source::Field),
    }
}

/// The parts between commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

/// Label, whether it is negated, and the value as written.
fn term(part: &str) -> Option<(&str, bool, &str)> {
    let mut escaped = false;
    for (i, c) in part.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        escaped = c == '\\';
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = part[i..].strip_prefix(operator) {
                return Some((&part[..i], negated, value));
            }
        }
    }
    None
}

fn unescape(raw: &str) -> Result<String, String> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {raw}: {c}"));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
