//! What both versions of an object have a place for, and the reference's conversion drops all the same.

use serde_json::Value;

use crate::api::read::{list, some, text};

/// Gives `converted` back what `original`, the same object in another version, says in places that both have.
///
/// The reference loses them: a run of another controller would become one of ours by being read and written back, and a
/// pipeline in a pipeline would become a task that says nothing.
pub fn keep(kind: &str, original: &Value, converted: &mut Value) {
    match kind {
        "TaskRun" => {
            copy(&original["spec"], &mut converted["spec"], "managedBy");
            copy(&original["status"], &mut converted["status"], "spanContext");
        }
        "PipelineRun" => {
            copy(&original["spec"], &mut converted["spec"], "managedBy");
            copy(&original["status"], &mut converted["status"], "spanContext");
            for part in ["spec", "status"] {
                tasks(&original[part]["pipelineSpec"], converted[part].get_mut("pipelineSpec"));
            }
        }
        "Pipeline" => tasks(&original["spec"], converted.get_mut("spec")),
        _ => {}
    }
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    if let Some(value) = some(from, field)
        && to.is_object()
    {
        to[field] = value.clone();
    }
}

/// Pipelines in pipelines, by the names of their tasks.
fn tasks(from: &Value, to: Option<&mut Value>) {
    let Some(to) = to else { return };
    for section in ["tasks", "finally"] {
        for source in list(from, section) {
            let there = to.get_mut(section).and_then(Value::as_array_mut);
            let Some(task) = there.into_iter().flatten().find(|t| text(t, "name") == text(source, "name"))
            else {
                continue;
            };
            for field in ["pipelineRef", "pipelineSpec"] {
                copy(source, task, field);
            }
        }
    }
}
