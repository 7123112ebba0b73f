//! Variable substitution: one pass over `$(key)`, literal replacement, no rescanning.

use std::collections::BTreeMap;

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
