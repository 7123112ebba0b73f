//! Results: of tasks as replacements, and of the pipeline itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::apply::has_variables;
use super::facts::Facts;
use super::state::{Kind, Task};
use crate::engine::doc::{list, name, object_mut, text};
use crate::engine::params::{self, Type, as_text, references};
use crate::engine::substitution::Replacements;

/// A reference `tasks.T.results.R…`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// The task.
    pub task: String,
    /// The result.
    pub result: String,
    /// The element of a list.
    pub index: Option<usize>,
    /// The key of a map.
    pub key: Option<String>,
}

impl Reference {
    /// Reads one, without `$(` and `)`.
    pub fn parse(reference: &str) -> Option<Self> {
        let rest = reference.strip_prefix("tasks.").or_else(|| reference.strip_prefix("finally."))?;
        let (task, rest) = rest.split_once(".results")?;
        let (result, tail) = match rest.strip_prefix('.') {
            Some(plain) => plain.split_at(plain.find(['[', '.']).unwrap_or(plain.len())),
            None => {
                let quoted = rest.strip_prefix("[\"").or_else(|| rest.strip_prefix("['"))?;
                let end = quoted.find(['"', '\''])?;
                (&quoted[..end], quoted.get(end + 2..)?)
            }
        };
        let index = tail.strip_prefix('[').and_then(|t| t.strip_suffix(']')).and_then(|t| t.parse().ok());
        let bracketed = || tail.strip_prefix('[')?.strip_suffix(']').filter(|k| *k != "*" && index.is_none());
        let key = tail.strip_prefix('.').or_else(bracketed).map(str::to_owned);
        (!task.is_empty() && !result.is_empty() && !task.contains('.')).then(|| Self {
            task: task.to_owned(),
            result: result.to_owned(),
            index,
            key,
        })
    }
}

/// Results that an entry of the pipeline refers to, in the order in which they stand there.
pub fn of_entry(entry: &Value) -> Vec<Reference> {
    let mut out = Vec::new();
    for part in ["params", "matrix", "when", "displayName"] {
        collect(&entry[part], &mut out);
    }
    collect(&entry["taskRef"]["params"], &mut out);
    for workspace in list(entry, "workspaces") {
        collect(&workspace["subPath"], &mut out);
    }
    for part in ["steps", "sidecars"] {
        for container in list(&entry["taskSpec"], part) {
            collect(container, &mut out);
        }
    }
    out
}

fn collect(value: &Value, out: &mut Vec<Reference>) {
    match value {
        Value::String(text) if text.contains("$(tasks.") => {
            let found = references(text).into_iter().filter(|r| r.starts_with("tasks."));
            out.extend(found.filter_map(|r| Reference::parse(&r)));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(map) => map.values().for_each(|item| collect(item, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Why a result cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// The task that should give it.
    pub task: String,
    /// The result.
    pub result: String,
}

/// Value of a result of a task that has ended.
pub fn value(task: &Task, result: &str) -> Option<Value> {
    if !task.succeeded() && !task.failed() {
        return None;
    }
    if task.is_matrixed() && task.kind == Kind::Task {
        return aggregate(task).remove(result).map(Value::from);
    }
    let found = told(task, result)?;
    Some(if task.kind == Kind::Custom { of_custom(found) } else { found.clone() })
}

/// A result as the only child of a task tells it.
fn told<'t>(task: &'t Task<'_>, result: &str) -> Option<&'t Value> {
    let child = task.children.first().filter(|_| task.kind != Kind::Pipeline)?;
    let found = list(&child["status"], "results").iter().find(|r| text(r, "name") == result)?;
    Some(&found["value"])
}

/// Results of custom tasks are texts; one that is a JSON list of texts is a list where it is referred to.
fn of_custom(value: &Value) -> Value {
    let items = serde_json::from_str::<Vec<String>>(value.as_str().unwrap_or_default()).unwrap_or_default();
    if items.is_empty() { value.clone() } else { Value::from(items) }
}

/// Results of a task that ran several times: all values of each, in order of the children's names, so that the tenth
/// comes before the second; what is no text counts as an empty one.
pub fn aggregate(task: &Task) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut children: Vec<&Value> = task.each_child().collect();
    children.sort_by_key(|child| name(child));
    for child in children {
        for result in list(&child["status"], "results") {
            let value = match Type::of(&result["value"]) {
                Type::String => as_text(&result["value"]),
                Type::Array | Type::Object => String::new(),
            };
            out.entry(text(result, "name").to_owned()).or_default().push(value);
        }
    }
    out
}

/// Replacements for all results that `entry` refers to; `find` knows the tasks by name.
///
/// # Errors
/// The first one that cannot be had; then none is replaced.
pub fn resolve<'t>(
    entry: &Value,
    find: impl Fn(&str) -> Option<&'t Task<'t>>,
) -> Result<Replacements, Missing> {
    let mut out = Replacements::default();
    for reference in of_entry(entry) {
        let found = find(&reference.task);
        let Some(value) = found.and_then(|task| value(task, &reference.result)) else {
            return Err(Missing { task: reference.task, result: reference.result });
        };
        replace(&mut out, "tasks", &reference.task, &reference.result, &value);
    }
    Ok(out)
}

/// References of `entry` to elements beyond the end of a list: the reference's text for the first.
pub fn beyond_the_end<'t>(entry: &Value, find: impl Fn(&str) -> Option<&'t Task<'t>>) -> Option<String> {
    of_entry(entry).iter().find_map(|reference| {
        let task = find(&reference.task)?;
        let (index, value) = (reference.index?, value(task, &reference.result)?);
        let size = value.as_array()?.len();
        (index >= size).then(|| {
            format!(
                "array Result Index {index} for Task {} Result {} is out of bound of size {size}",
                reference.task, reference.result
            )
        })
    })
}

/// Adds the replacements that a result gives: `HEAD.T.results.R` in its spellings.
fn replace(out: &mut Replacements, head: &str, task: &str, result: &str, value: &Value) {
    let spellings = [
        format!("{head}.{task}.results.{result}"),
        format!("{head}.{task}.results[\"{result}\"]"),
        format!("{head}.{task}.results['{result}']"),
    ];
    for spelling in spellings {
        match Type::of(value) {
            Type::String => {
                out.strings.insert(spelling, as_text(value));
            }
            Type::Array => {
                let items: Vec<_> = value.as_array().into_iter().flatten().map(as_text).collect();
                for (index, item) in items.iter().enumerate() {
                    out.strings.insert(format!("{spelling}[{index}]"), item.clone());
                }
                out.arrays.insert(format!("{spelling}[*]"), items.clone());
                out.arrays.insert(spelling, items);
            }
            Type::Object => {
                let map: BTreeMap<_, _> =
                    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), as_text(v))).collect();
                for (key, item) in &map {
                    // Behind a quoted name the key stands in brackets.
                    let member = if spelling.ends_with(']') { format!("[{key}]") } else { format!(".{key}") };
                    out.strings.insert(format!("{spelling}{member}"), item.clone());
                }
                out.objects.insert(format!("{spelling}[*]"), map);
            }
        }
    }
}

/// Puts replacements of results, states and reasons into an entry.
pub fn put(entry: &mut Cow<'_, Value>, replacements: &Replacements) {
    if !replacements.is_empty() && has_variables(entry) {
        put_into(entry.to_mut(), replacements);
    }
}

/// As [`put`], into what is owned.
pub fn put_into(entry: &mut Value, replacements: &Replacements) {
    for part in ["params", "when", "displayName", "matrix"] {
        let Some(value) = object_mut(entry).get_mut(part) else { continue };
        match (part, value) {
            ("params", Value::Array(all)) => params::apply(all, replacements),
            ("matrix", matrix) => super::apply::matrix(matrix, replacements),
            (_, value) => replacements.document(value, &["operator"]),
        }
    }
    super::apply::task_ref(entry, replacements);
    for workspace in
        object_mut(entry).get_mut("workspaces").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(path) = object_mut(workspace).get_mut("subPath") {
            replacements.document(path, &[]);
        }
    }
}

/// What results of tasks that have ended give to an embedded task.
pub fn propagated(tasks: &[Task]) -> Replacements {
    let mut out = Replacements::default();
    for task in tasks.iter().filter(|t| (t.succeeded() || t.failed()) && t.kind == Kind::Task) {
        let results: Vec<(String, Value)> = if task.is_matrixed() {
            aggregate(task).into_iter().map(|(name, values)| (name, Value::from(values))).collect()
        } else {
            let given = list(&task.children[0]["status"], "results").iter();
            given.map(|r| (text(r, "name").to_owned(), r["value"].clone())).collect()
        };
        for (result, value) in results {
            let name = format!("tasks.{}.results.{result}", task.name);
            match Type::of(&value) {
                Type::String => drop(out.strings.insert(name, as_text(&value))),
                Type::Array => {
                    let items = value.as_array().into_iter().flatten().map(as_text).collect();
                    out.arrays.insert(format!("{name}[*]"), items);
                }
                Type::Object => {
                    for (key, item) in value.as_object().into_iter().flatten() {
                        out.strings.insert(format!("{name}.{key}"), as_text(item));
                    }
                }
            }
        }
        artifacts(task, &mut out);
    }
    out
}

/// `tasks.T.outputs[.A]` and `tasks.T.inputs[.A]`, as JSON.
fn artifacts(task: &Task, out: &mut Replacements) {
    for part in ["inputs", "outputs"] {
        let all = task.children.iter().flat_map(|child| list(&child["status"]["artifacts"], part));
        for (index, artifact) in all.enumerate() {
            let values = artifact["values"].to_string();
            if index == 0 {
                out.strings.insert(format!("tasks.{}.{part}", task.name), values.clone());
            }
            out.strings.insert(format!("tasks.{}.{part}.{}", task.name, text(artifact, "name")), values);
        }
    }
}

/// The pipeline's results, and the names of those that refer to what a task that succeeded did not give.
pub fn of_pipeline(declared: &[Value], facts: &Facts) -> (Vec<Value>, Vec<String>) {
    let (mut out, mut invalid) = (Vec::new(), Vec::new());
    for result in declared {
        let mut wanted = Vec::new();
        variables(&result["value"], &mut wanted);
        if wanted.is_empty() {
            continue;
        }
        let mut replacements = Replacements::default();
        let mut valid = true;
        for variable in &wanted {
            match of_variable(variable, facts, &mut replacements) {
                Found::Yes => {}
                Found::No => valid = false,
                Found::Invalid => {
                    valid = false;
                    invalid.push(text(result, "name").to_owned());
                }
            }
        }
        if valid {
            out.push(json!({"name": result["name"], "value": replacements.value(&result["value"])}));
        }
    }
    (out, invalid)
}

enum Found {
    Yes,
    /// A task that did not end well did not give it.
    No,
    Invalid,
}

fn of_variable(variable: &str, facts: &Facts, out: &mut Replacements) -> Found {
    let Some(reference) = Reference::parse(variable) else { return Found::Invalid };
    let Some(task) = facts.find(&reference.task) else { return Found::Invalid };
    let Some(value) = value(task, &reference.result) else {
        return if task.succeeded() { Found::Invalid } else { Found::No };
    };
    // To the pipeline's results, a custom task's are texts.
    let value = told(task, &reference.result).filter(|_| task.kind == Kind::Custom).cloned().unwrap_or(value);
    if let Value::Array(items) = &value
        && reference.index.is_none()
        && !variable.ends_with("[*]")
    {
        // A list without a star is its first element.
        let Some(first) = items.first() else { return Found::Invalid };
        out.strings.insert(variable.to_owned(), as_text(first));
        return Found::Yes;
    }
    let beyond = match (&value, reference.index, &reference.key) {
        (Value::Array(items), Some(index), _) => index >= items.len(),
        (Value::Object(map), _, Some(key)) => !map.contains_key(key),
        _ => false,
    };
    if beyond {
        return Found::Invalid;
    }
    for head in ["tasks", "finally"] {
        replace(out, head, &reference.task, &reference.result, &value);
    }
    Found::Yes
}

/// All variables in a value.
pub fn variables(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.extend(references(text)),
        Value::Array(items) => items.iter().for_each(|item| variables(item, out)),
        Value::Object(map) => map.values().for_each(|item| variables(item, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
