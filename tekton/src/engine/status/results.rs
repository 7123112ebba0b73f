//! Results that steps tell: their types, those of the task that are taken from steps, and whether they fit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Told;
use crate::engine::doc::{list, object_mut, text};
use crate::engine::params::Type;
use crate::engine::termination::{Entry, Kind};

/// The results of a run, as they come in.
pub struct Results<'a> {
    /// Declarations: the run's own and the task's.
    declared: Vec<&'a Value>,
    /// They are told beside the steps' messages.
    pub apart: bool,
    /// They are published when the run has ended, however it did.
    done: bool,
    /// In the order in which they were first told.
    told: Vec<Value>,
}

impl<'a> Results<'a> {
    /// Nothing told yet.
    pub fn of(told: &Told<'a>, done: bool) -> Self {
        let declared = list(told.embedded, "results").iter().chain(list(told.spec, "results"));
        Self { declared: declared.collect(), apart: told.results_apart, done, told: Vec::new() }
    }

    /// Takes over the results of the step that `container` runs; returns those of the step itself.
    pub fn take(
        &mut self,
        container: &str,
        step: &Value,
        entries: &[Entry],
        errors: &mut Vec<String>,
    ) -> Vec<Value> {
        let needed = self.needed(container, errors);
        if !self.done {
            return Vec::new();
        }
        for entry in entries.iter().filter(|e| e.kind == Kind::TaskRunResult) {
            let declaration = self.declared.iter().rev().find(|d| text(d, "name") == entry.key);
            let value = value(&entry.value, declaration.copied());
            self.tell(&entry.key, value);
        }
        let mut own = Vec::new();
        for entry in entries.iter().filter(|e| e.kind == Kind::StepResult) {
            let declaration = list(step, "results").iter().find(|r| text(r, "name") == entry.key);
            let value = value(&entry.value, declaration);
            own.push(named(&entry.key, &value));
            if let Some(result) = needed.get(&entry.key) {
                self.tell(result, value);
            }
        }
        own
    }

    /// Names of the task's results that are taken from this step's, by the step's.
    fn needed(&self, container: &str, errors: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut needed = BTreeMap::new();
        for declaration in &self.declared {
            let Some(reference) = declaration["value"].as_str().filter(|r| !r.is_empty()) else { continue };
            match of_step(reference) {
                Some((step, result)) if format!("step-{step}") == container => {
                    needed.insert(result.to_owned(), text(declaration, "name").to_owned());
                }
                Some(_) => {}
                None => {
                    let head = "Could not extract step name and result name. Expected value to look like \
                                $(steps.<stepName>.results.<resultName>)";
                    let error = format!("{head} but got {reference:?}");
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
            }
        }
        needed
    }

    /// The last value of a name counts, at the place of the first.
    fn tell(&mut self, name: &str, value: Value) {
        let result = named(name, &value);
        match self.told.iter_mut().find(|there| text(there, "name") == name) {
            Some(there) => *there = result,
            None => self.told.push(result),
        }
    }

    /// Writes the results that fit into `status`; says which do not.
    pub fn finish(self, status: &mut Value) -> Option<String> {
        let declared: BTreeMap<&str, &str> =
            self.declared.iter().map(|d| (text(d, "name"), Type::declared(d).as_str())).collect();
        let fits = |result: &Value| {
            declared.get(text(result, "name")).is_none_or(|kind| *kind == text(result, "type"))
        };
        let (good, bad): (Vec<_>, Vec<_>) = self.told.iter().cloned().partition(fits);
        if !good.is_empty() {
            object_mut(status).insert("results".into(), Value::Array(good.clone()));
        }
        if !bad.is_empty() {
            let mut wrong: Vec<_> = bad
                .iter()
                .map(|result| {
                    let (name, is) = (text(result, "name"), text(result, "type"));
                    let wanted = declared.get(name).copied().unwrap_or("");
                    format!(" \"{name}\": task result is expected to be \"{wanted}\" type but was initialized to a different type \"{is}\"")
                })
                .collect();
            wrong.sort();
            let head = "Provided results don't match declared results; may be invalid JSON or missing result declaration: ";
            return Some(format!("{head}{}", wrong.join(",")));
        }
        self.missing_keys(&good)
    }

    /// Keys that object results must have and do not; a result that is declared twice lacks them twice.
    fn missing_keys(&self, good: &[Value]) -> Option<String> {
        let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for declaration in self.declared.iter().filter(|d| Type::declared(d) == Type::Object) {
            let name = text(declaration, "name");
            let Some(told) = good.iter().find(|r| text(r, "name") == name) else { continue };
            for key in declaration["properties"].as_object().into_iter().flat_map(serde_json::Map::keys) {
                if told["value"].get(key).is_none() {
                    missing.entry(name).or_default().push(key);
                }
            }
        }
        if missing.is_empty() {
            return None;
        }
        let each: Vec<_> =
            missing.iter().map(|(name, keys)| format!("{name}:[{}]", keys.join(" "))).collect();
        let head = "missing keys for these results which are required in TaskResult's properties";
        Some(format!("{head} map[{}]", each.join(" ")))
    }
}

/// Step and result of `$(steps.S.results.R)`.
fn of_step(reference: &str) -> Option<(&str, &str)> {
    let inner = reference.strip_prefix("$(steps.")?.strip_suffix(')')?;
    let (step, result) = inner.split_once(".results.")?;
    Some((step, result.trim_end_matches("[*]")))
}

fn named(name: &str, value: &Value) -> Value {
    json!({"name": name, "type": Type::of(value).as_str(), "value": value})
}

/// A result's text as a value: what is declared a string is one; else a list or map of texts, or a JSON text.
fn value(told: &str, declaration: Option<&Value>) -> Value {
    if declaration.is_some_and(|d| Type::declared(d) == Type::String) {
        return json!(told);
    }
    match serde_json::from_str::<Value>(told) {
        Ok(Value::Array(items)) if told.starts_with('[') && items.iter().all(is_text) => {
            items.iter().map(|item| item.as_str().unwrap_or("")).collect()
        }
        Ok(Value::Object(map)) if told.starts_with('{') && map.values().all(is_text) => {
            map.into_iter().map(|(key, item)| (key, json!(item.as_str().unwrap_or("")))).collect()
        }
        Ok(Value::String(text)) => json!(text),
        _ => json!(told),
    }
}

/// Texts and nulls: what a list of texts is read from.
fn is_text(value: &Value) -> bool {
    value.is_string() || value.is_null()
}
