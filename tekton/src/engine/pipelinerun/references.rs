//! How the status lists children and skipped tasks.

use serde_json::{Value, json};

use super::facts::{Facts, Skip};
use super::results;
use super::state::Task;
use crate::engine::doc::{list, name, text};
use crate::engine::params::{Type, as_text};
use crate::engine::substitution::Replacements;

/// Children, in the pipeline's order. Results that tasks which are done refer to are put into all entries, as the
/// reference does.
pub fn children(facts: &mut Facts) -> Vec<Value> {
    let mut out = Vec::new();
    let mut all = Replacements::default();
    for at in 0..facts.tasks.len() {
        if facts.done(at)
            && let Ok(replacements) = results::resolve(&facts.tasks[at].shown, |name| facts.find(name))
        {
            all.extend(replacements);
        }
        let task = &mut facts.tasks[at];
        results::put(&mut task.shown, &all);
        out.extend(task.children.iter().map(|child| reference(task, child)));
    }
    for task in facts.tasks.iter_mut().filter(|task| !task.has_children()) {
        results::put(&mut task.entry, &all);
    }
    out
}

fn reference(task: &Task, child: &Value) -> Value {
    let mut out = json!({
        "apiVersion": task.kind.api_version(),
        "kind": task.kind.child(),
        "name": name(child),
        "pipelineTaskName": task.name,
    });
    let shown = display_name(task, child);
    if !shown.is_empty() {
        out["displayName"] = json!(shown);
    }
    if !list(&task.shown, "when").is_empty() {
        out["whenExpressions"] = task.shown["when"].clone();
    }
    out
}

/// The task's display name with the child's text params; of a matrix, the names of what is included in it.
fn display_name(task: &Task, child: &Value) -> String {
    let mut params = Replacements::default();
    for param in list(&child["spec"], "params") {
        if Type::of(&param["value"]) == Type::String {
            params.strings.insert(format!("params.{}", text(param, "name")), as_text(&param["value"]));
        }
    }
    let included = list(&task.shown["matrix"], "include").iter().filter(|i| !text(i, "name").is_empty());
    let fits = |include: &&Value| {
        list(include, "params").iter().all(|param| {
            params.strings.get(&format!("params.{}", text(param, "name"))) == Some(&as_text(&param["value"]))
        })
    };
    let names: Vec<_> = included.filter(fits).map(|i| params.string(text(i, "name"))).collect();
    if names.is_empty() { params.string(text(&task.shown, "displayName")) } else { names.join(" ") }
}

/// Tasks that do not run, and why.
pub fn skipped(facts: &Facts) -> Vec<Value> {
    let entry = |(at, task): (usize, &Task)| {
        let skip = facts.skip(at).filter(|_| !facts.invalid.contains_key(&task.name))?;
        let mut out = json!({"name": task.name, "reason": skip.as_str()});
        let when = list(&task.entry, "when");
        if !when.is_empty() && (skip == Skip::When || !task.finally) {
            out["whenExpressions"] = Value::from(when.to_vec());
        }
        Some(out)
    };
    facts.tasks.iter().enumerate().filter_map(entry).collect()
}
