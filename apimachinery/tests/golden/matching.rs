//! Comparing answers with recorded ones, in which values that differ from run to run are placeholders.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Lists under these keys have no order.
const UNORDERED: &[&str] = &["managedFields", "causes"];

/// What placeholders stand for.
pub struct Bindings(BTreeMap<String, String>);

impl Bindings {
    pub fn new(names: &[&str]) -> Self {
        Self(names.iter().map(|name| ((*name).to_owned(), format!("golden-{name}"))).collect())
    }

    /// A request with every known placeholder replaced.
    pub fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text).into(),
            Value::Array(list) => list.iter().map(|v| self.fill(v)).collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (self.fill_text(k), self.fill(v))).collect(),
            other => other.clone(),
        }
    }

    fn fill_text(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    }

    /// Compares, and binds placeholders that are seen for the first time.
    pub fn matches(&mut self, expected: &Value, found: &Value, advisory: &[&str]) -> Result<(), String> {
        let (mut expected, mut found) = (expected.clone(), found.clone());
        for pointer in advisory.iter().filter_map(|p| p.strip_prefix('/')) {
            for value in [&mut expected, &mut found] {
                drop_at(value, pointer);
            }
        }
        self.value(&expected, &found, "")
    }

    fn value(&mut self, expected: &Value, found: &Value, path: &str) -> Result<(), String> {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => self.object(expected, found, path),
            (Value::Array(expected), Value::Array(found)) => {
                if expected.len() != found.len() {
                    return Err(format!("{path}: expected {} elements, got {found:?}", expected.len()));
                }
                let key = path.rsplit('.').next().unwrap_or("");
                let (expected, found) = if UNORDERED.contains(&key) {
                    (sorted(expected), sorted(found))
                } else {
                    (expected.clone(), found.clone())
                };
                expected.iter().zip(&found).try_for_each(|(e, f)| self.value(e, f, &format!("{path}[]")))
            }
            (Value::String(expected), Value::String(found)) => self.text(expected, found, path),
            (Value::Number(e), Value::Number(f)) if e.as_f64() == f.as_f64() => Ok(()),
            _ if expected == found => Ok(()),
            _ => Err(format!("{path}: expected {expected}, got {found}")),
        }
    }

    fn object(
        &mut self,
        expected: &Map<String, Value>,
        found: &Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        for (key, wanted) in expected {
            let name = self.fill_text(key);
            match found.get(&name) {
                _ if wanted == "${opt}" => {}
                Some(found) => self.value(wanted, found, &format!("{path}.{key}"))?,
                None => return Err(format!("{path}.{key} is missing: {wanted}")),
            }
        }
        let names: Vec<String> = expected.keys().map(|key| self.fill_text(key)).collect();
        match found.keys().find(|key| !names.contains(key)) {
            Some(key) => Err(format!("{path}.{key} is not expected: {}", found[key])),
            None => Ok(()),
        }
    }

    fn text(&mut self, expected: &str, found: &str, path: &str) -> Result<(), String> {
        let filled = self.fill_text(expected);
        let Some((before, rest)) = filled.split_once("${") else {
            return if filled == found {
                Ok(())
            } else {
                Err(format!("{path}: expected {filled:?}, got {found:?}"))
            };
        };
        let (name, after) = rest.split_once('}').ok_or("an unclosed placeholder")?;
        let inner = found.strip_prefix(before).and_then(|f| f.strip_suffix(after));
        let inner = inner.ok_or_else(|| format!("{path}: expected {filled:?}, got {found:?}"))?;
        if name.contains('.') {
            if self.0.values().any(|known| known == inner)
                && !name.starts_with("time")
                && !name.starts_with("ctime")
            {
                return Err(format!("{path}: {inner:?} is already bound, but not to {name}"));
            }
            self.0.insert(name.to_owned(), inner.to_owned());
        }
        Ok(())
    }
}

fn sorted(list: &[Value]) -> Vec<Value> {
    let key = |value: &Value| -> Vec<String> {
        ["manager", "operation", "subresource", "apiVersion", "field", "reason", "message"]
            .iter()
            .map(|k| value[*k].as_str().unwrap_or("").to_owned())
            .collect()
    };
    let mut out = list.to_vec();
    out.sort_by_key(key);
    out
}

fn drop_at(value: &mut Value, pointer: &str) {
    let Some(map) = value.as_object_mut() else { return };
    match pointer.split_once('/') {
        Some((first, rest)) => {
            if let Some(inner) = map.get_mut(first) {
                drop_at(inner, rest);
            }
        }
        None => drop(map.remove(pointer)),
    }
}
