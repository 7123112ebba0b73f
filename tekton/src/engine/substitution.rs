//! Variable substitution: one pass over `$(key)`, literal replacement, no rescanning.

use std::collections::BTreeMap;

use serde_json::Value;

/// Replacements by key, without `$(` and `)`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replacements {
    /// String replacements, used anywhere inside a text.
    pub strings: BTreeMap<String, String>,
    /// Array replacements, used where an element of a list is exactly the reference.
    pub arrays: BTreeMap<String, Vec<String>>,
    /// Object replacements, used where a param value is exactly the reference (`$(params.o[*])`).
    pub objects: BTreeMap<String, BTreeMap<String, String>>,
}

impl Replacements {
    /// Replaces every known `$(key)` in `text`; unknown references stay.
    pub fn string(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("$(") {
            let (before, tail) = rest.split_at(start);
            out.push_str(before);
            match tail.find(')').and_then(|end| Some((end, self.strings.get(&tail[2..end])?))) {
                Some((end, value)) => {
                    out.push_str(value);
                    rest = &tail[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = &tail[2..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// What one element of a list becomes: several, if it is exactly a reference to an array.
    pub fn element(&self, element: &str) -> Vec<String> {
        let whole = element.strip_prefix("$(").and_then(|e| e.strip_suffix(')'));
        match whole.and_then(|key| self.arrays.get(key)) {
            Some(values) => values.clone(),
            None => vec![self.string(element)],
        }
    }
}

impl Replacements {
    /// A param value: text, list (elements that are references to arrays expand), map, or a text that is
    /// exactly a reference to an array or object and becomes it.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let whole = text.strip_prefix("$(").and_then(|t| t.strip_suffix(')')).unwrap_or("");
                // What a result is shows only when it is there: it counts without a star, too.
                let starred = if whole.ends_with("[*]") { whole.to_owned() } else { format!("{whole}[*]") };
                let exact = whole.ends_with("[*]") || (is_plain(whole) && !self.strings.contains_key(whole));
                if let Some(items) = self.arrays.get(&starred).filter(|_| exact) {
                    return Value::from(items.clone());
                }
                if let Some(map) = self.objects.get(&starred).filter(|_| exact) {
                    return Value::Object(
                        map.iter().map(|(k, v)| (k.clone(), Value::from(v.clone()))).collect(),
                    );
                }
                Value::from(self.string(text))
            }
            Value::Array(items) => items
                .iter()
                .flat_map(|item| match item {
                    Value::String(text) => self.element(text).into_iter().map(Value::from).collect(),
                    other => vec![self.value(other)],
                })
                .collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), self.value(v))).collect(),
            other => other.clone(),
        }
    }

    /// Every text in a document, but for what stands under the keys `except`; elements of `args` and `command`
    /// lists expand.
    pub fn document(&self, value: &mut Value, except: &[&str]) {
        match value {
            Value::String(text) => {
                if text.contains("$(") {
                    *text = self.string(text);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.document(item, except)),
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    if except.contains(&key.as_str()) {
                        continue;
                    }
                    match (key.as_str(), &*item) {
                        ("args" | "command" | "values", Value::Array(_)) => *item = self.value(item),
                        _ => self.document(item, except),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Whether there is nothing to replace.
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty() && self.arrays.is_empty() && self.objects.is_empty()
    }

    /// Takes over everything of `other`, which wins.
    pub fn extend(&mut self, other: Replacements) {
        self.strings.extend(other.strings);
        self.arrays.extend(other.arrays);
        self.objects.extend(other.objects);
    }
}

/// Whether a reference is spelled with dots only.
fn is_plain(reference: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !reference.is_empty() && reference.bytes().all(fits)
}

#[cfg(test)]
mod tests;
