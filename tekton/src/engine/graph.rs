//! The order of a pipeline's tasks: who must end before whom.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::engine::doc::{list, text, texts};
use crate::engine::params::references;

/// What a reference `tasks.T.results.R…` names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ResultRef {
    /// The pipeline task.
    pub task: String,
    /// The result.
    pub result: String,
}

/// Edges between the tasks of a pipeline, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Graph {
    /// Tasks that must end before a task.
    pub before: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The graph of `tasks`.
    pub fn of(tasks: &[Value]) -> Self {
        let names: BTreeSet<_> = tasks.iter().map(|t| text(t, "name").to_owned()).collect();
        let mut before = BTreeMap::new();
        for task in tasks {
            let mut edges: BTreeSet<String> = texts(task, "runAfter").into_iter().collect();
            edges.extend(result_refs(task).into_iter().map(|r| r.task));
            edges.retain(|name| names.contains(name));
            before.insert(text(task, "name").to_owned(), edges);
        }
        Self { before }
    }

    /// Tasks that must end before `task`.
    pub fn parents(&self, task: &str) -> impl Iterator<Item = &String> {
        self.before.get(task).into_iter().flatten()
    }
}

/// Results that a pipeline task refers to: in params, matrix, when, and inside an embedded task.
pub fn result_refs(task: &Value) -> BTreeSet<ResultRef> {
    let mut out = BTreeSet::new();
    for part in ["params", "matrix", "when", "displayName"] {
        collect(&task[part], &mut out);
    }
    for part in ["steps", "sidecars"] {
        for container in list(&task["taskSpec"], part) {
            collect(container, &mut out);
        }
    }
    for workspace in list(task, "workspaces") {
        collect(&workspace["subPath"], &mut out);
    }
    collect(&task["taskRef"]["params"], &mut out);
    out
}

fn collect(value: &Value, out: &mut BTreeSet<ResultRef>) {
    match value {
        Value::String(text) if text.contains("$(tasks.") => {
            out.extend(references(text).iter().filter_map(|r| parse(r)));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(map) => map.values().for_each(|item| collect(item, out)),
        _ => {}
    }
}

/// `tasks.T.results.R`, with whatever index or key behind it.
pub fn parse(reference: &str) -> Option<ResultRef> {
    let (task, rest) = reference.strip_prefix("tasks.")?.split_once(".results")?;
    let result = match rest.strip_prefix('.') {
        Some(plain) => plain.split(['[', '.']).next().unwrap_or(""),
        None => {
            let quoted = rest.strip_prefix("[\"").or_else(|| rest.strip_prefix("['"))?;
            quoted.split(['"', '\'']).next().unwrap_or("")
        }
    };
    (!task.is_empty() && !result.is_empty())
        .then(|| ResultRef { task: task.to_owned(), result: result.to_owned() })
}
