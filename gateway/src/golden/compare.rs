//! Comparing JSON as the README of the recorded conversations says.

use serde_json::{Map, Value};

use super::bindings::Bindings;

/// Lists under these keys have no order.
const UNORDERED: &[&str] = &["managedFields", "resources", "subresources", "causes"];

/// Compares one answer with what is expected.
pub struct Comparison<'a> {
    bindings: &'a mut Bindings,
    ordered_managers: bool,
}

impl<'a> Comparison<'a> {
    /// A comparison; with `ordered_managers` the order of `managedFields` counts too.
    pub fn new(bindings: &'a mut Bindings, ordered_managers: bool) -> Self {
        Self { bindings, ordered_managers }
    }

    /// Compares a whole document, but for the parts at `advisory` pointers.
    ///
    /// # Errors
    /// Says where they differ.
    pub fn document(&mut self, expected: &Value, found: &Value, advisory: &[&str]) -> Result<(), String> {
        let (mut expected, mut found) = (expected.clone(), found.clone());
        for pointer in advisory.iter().filter_map(|p| p.strip_prefix('/')) {
            remove(&mut expected, pointer);
            remove(&mut found, pointer);
        }
        self.value(&expected, &found, "")
    }

    /// Compares selected parts.
    ///
    /// # Errors
    /// Says where they differ.
    pub fn parts(&mut self, parts: &[Value], found: &Value) -> Result<(), String> {
        for part in parts {
            let at = part["at"].as_str().unwrap_or("");
            let selected = select(found, at);
            if part["absent"] == true {
                if selected.is_some_and(|v| !v.is_null()) {
                    return Err(format!("{at} is there"));
                }
                continue;
            }
            let mut selected = selected.unwrap_or(Value::Null);
            if let Some(mut expected) = part.get("equals").cloned() {
                if part["unordered"] == true {
                    sort_plain(&mut expected);
                    sort_plain(&mut selected);
                }
                self.value(&expected, &selected, at)?;
            }
            for wanted in part["contains"].as_array().into_iter().flatten() {
                let list = selected.as_array().cloned().unwrap_or_default();
                let mut trial = self.bindings.clone();
                let there =
                    list.iter().any(|v| Comparison::new(&mut trial, false).value(wanted, v, "").is_ok());
                if !there {
                    return Err(format!("{at} lacks {wanted}"));
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, expected: &Value, found: &Value, path: &str) -> Result<(), String> {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => self.object(expected, found, path),
            (Value::Array(expected), Value::Array(found)) => self.array(expected, found, path),
            (Value::String(expected), Value::String(found)) => {
                if self.bindings.text(expected, found) {
                    return Ok(());
                }
                let wanted = self.bindings.fill(expected, str::to_owned);
                Err(format!("{path}: expected {wanted:?}, got {found:?}"))
            }
            (Value::Number(e), Value::Number(f)) if e.as_f64() == f.as_f64() => Ok(()),
            _ if expected == found || *expected == "${any}" || *expected == "${opt}" => Ok(()),
            _ => Err(format!("{path}: expected {expected}, got {found}")),
        }
    }

    fn object(
        &mut self,
        expected: &Map<String, Value>,
        found: &Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let is_nothing = |key: &str, value: &Value| key == "continue" && *value == "";
        let mut known = Vec::new();
        for (key, wanted) in expected {
            let name = self.bindings.fill(key, str::to_owned);
            match found.get(&name) {
                _ if *wanted == "${opt}" => {}
                Some(found) => self.value(wanted, found, &format!("{path}.{name}"))?,
                None if is_nothing(key, wanted) => {}
                None => return Err(format!("{path}.{name} is missing: {wanted}")),
            }
            known.push(name);
        }
        match found.iter().find(|(key, value)| !known.contains(key) && !is_nothing(key, value)) {
            Some((key, value)) => Err(format!("{path}.{key} is not expected: {value}")),
            None => Ok(()),
        }
    }

    fn array(&mut self, expected: &[Value], found: &[Value], path: &str) -> Result<(), String> {
        if expected.len() != found.len() {
            let found = Value::from(found.to_vec()).to_string();
            return Err(format!("{path}: expected {} elements, got {found}", expected.len()));
        }
        let key = path.rsplit('.').next().unwrap_or("");
        let ordered = key == "managedFields" && self.ordered_managers;
        if !ordered && UNORDERED.contains(&key) {
            let pairs = sorted(expected).into_iter().zip(sorted(found));
            return pairs.into_iter().try_for_each(|(e, f)| self.value(&e, &f, &format!("{path}[]")));
        }
        let pairs = expected.iter().zip(found).enumerate();
        pairs.into_iter().try_for_each(|(n, (e, f))| self.value(e, f, &format!("{path}[{n}]")))
    }
}

fn sorted(list: &[Value]) -> Vec<Value> {
    let key = |value: &Value| -> Vec<String> {
        [
            "manager",
            "operation",
            "subresource",
            "apiVersion",
            "name",
            "resource",
            "field",
            "reason",
            "message",
        ]
        .iter()
        .map(|k| value[*k].as_str().unwrap_or("").to_owned())
        .collect()
    };
    let mut out = list.to_vec();
    out.sort_by_key(key);
    out
}

fn sort_plain(value: &mut Value) {
    if let Some(list) = value.as_array_mut() {
        list.sort_by_key(Value::to_string);
    }
}

fn remove(value: &mut Value, pointer: &str) {
    let Some(map) = value.as_object_mut() else { return };
    match pointer.split_once('/') {
        Some((first, rest)) => {
            if let Some(inner) = map.get_mut(first) {
                remove(inner, rest);
            }
        }
        None => drop(map.remove(pointer)),
    }
}

/// What a selector (`items[*].metadata.name`, `groups[name=x]`, `paths["a.b"]`) selects.
fn select(value: &Value, selector: &str) -> Option<Value> {
    let selector = selector.trim_start_matches('.');
    if selector.is_empty() {
        return Some(value.clone());
    }
    let Some(rest) = selector.strip_prefix('[') else {
        let end = selector.find(['.', '[']).unwrap_or(selector.len());
        return select(value.get(&selector[..end])?, &selector[end..]);
    };
    if let Some(rest) = rest.strip_prefix('"') {
        let (key, rest) = rest.split_once("\"]")?;
        return select(value.get(key)?, rest);
    }
    let (inner, rest) = rest.split_once(']')?;
    if inner == "*" {
        let all = value.as_array()?.iter();
        return Some(all.map(|v| select(v, rest).unwrap_or(Value::Null)).collect());
    }
    if let Ok(index) = inner.parse::<usize>() {
        return select(value.get(index)?, rest);
    }
    let (key, wanted) = inner.split_once('=')?;
    let pointer = format!("/{key}");
    let one = value.as_array()?.iter().find(|v| v.pointer(&pointer).is_some_and(|v| *v == wanted))?;
    select(one, rest)
}
