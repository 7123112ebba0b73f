//! From a TaskRun to the spec of its task: reference, validation, substitution, workspaces.

use serde_json::{Value, json};

use super::{Pass, Stop, merged_metadata};
use crate::engine::decide::{Key, Need};
use crate::engine::doc::{is_empty, list, name, namespace, text};
use crate::engine::{params, taskspec, workspaces};

/// A resolved task.
pub struct Task {
    /// The spec as `status.taskSpec` shows it: substituted, before workspaces are mounted.
    pub shown: Value,
}

impl Pass<'_> {
    /// The spec to run; `None` when the run has just failed or waits.
    pub(super) fn task(&mut self) -> Result<Option<(Value, Task)>, Stop> {
        let run = &self.seen.run;
        let spec = &run["spec"];
        let reference = &spec["taskRef"];
        let embedded = !spec["taskSpec"].is_null();
        let (task_spec, task_name) = if embedded {
            (spec["taskSpec"].clone(), name(run).to_owned())
        } else if !text(reference, "resolver").is_empty() {
            let message = format!("resolver {:?} is not supported yet", text(reference, "resolver"));
            self.fail("TaskRunResolutionFailed", &message);
            return Ok(None);
        } else {
            let wanted = text(reference, "name");
            let key = Key::new("Task", namespace(run), wanted);
            match self.seen.objects.get(&key) {
                None => return Err(Stop::Need(Need::Object(key))),
                Some(None) => {
                    let message = format!(
                        "error when listing tasks for taskRun {}: tasks.tekton.dev {wanted:?} not found",
                        name(run)
                    );
                    self.fail("TaskRunResolutionFailed", &message);
                    self.decision.errors.push(message);
                    return Ok(None);
                }
                Some(Some(task)) => {
                    self.decision.metadata = merged_metadata(run, task, Some(wanted));
                    (task["spec"].clone(), wanted.to_owned())
                }
            }
        };
        // What was once run stays what is run, however the Task changes.
        if !is_empty(&self.status, "taskSpec") {
            let task_spec = self.status["taskSpec"].clone();
            let bound = list(spec, "workspaces").to_vec();
            return Ok(Some((mounted(&task_spec, &bound), Task { shown: task_spec })));
        }
        Ok(self.prepared(&task_spec, &task_name, embedded))
    }

    fn prepared(&mut self, task_spec: &Value, task_name: &str, embedded: bool) -> Option<(Value, Task)> {
        let run = &self.seen.run;
        let spec = &run["spec"];
        let given = list(spec, "params");
        if let Err(misfit) = params::check(list(task_spec, "params"), given) {
            return self.invalid(&format!("invalid input params for task {task_name}: {misfit}"));
        }
        let bound = list(spec, "workspaces").to_vec();
        if let Err(message) = workspaces::check(list(task_spec, "workspaces"), &bound, embedded) {
            return self.invalid(&message);
        }
        let coschedule = self.config.feature_flags.get("coschedule").map_or("workspaces", String::as_str);
        if coschedule == "workspaces"
            && let Err(message) = workspaces::check_one_claim(&bound)
        {
            return self.invalid(&message);
        }
        let mut task_spec = task_spec.clone();
        if embedded {
            workspaces::propagate(&mut task_spec, &bound);
        }
        let values = params::values(list(&task_spec, "params"), given);
        let beyond = params::beyond_the_end(&values, &texts_of(&task_spec));
        if !beyond.is_empty() {
            return self.invalid(&format!("non-existent param references:[{}]", beyond.join(" ")));
        }
        // Mount paths may contain params: substitute those first.
        let declared = taskspec::substituted(
            &task_spec,
            run,
            task_name,
            crate::engine::substitution::Replacements::default(),
        );
        let volumes = workspaces::volumes(&bound);
        let variables = workspaces::replacements(list(&declared, "workspaces"), &bound, &volumes);
        let shown = taskspec::substituted(&task_spec, run, task_name, variables);
        Some((mounted(&shown, &bound), Task { shown }))
    }

    fn invalid(&mut self, message: &str) -> Option<(Value, Task)> {
        self.fail("TaskRunValidationFailed", &format!("[User error] {message}"));
        self.decision.errors.push(message.to_owned());
        None
    }
}

/// `spec` with the bound workspaces mounted.
fn mounted(spec: &Value, bound: &[Value]) -> Value {
    let mut out = spec.clone();
    if out.is_null() {
        out = json!({});
    }
    workspaces::apply(&mut out, bound, &workspaces::volumes(bound));
    out
}

fn texts_of(value: &Value) -> std::collections::BTreeSet<String> {
    fn walk(value: &Value, out: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::String(text) if text.contains("$(") => {
                out.insert(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, out)),
            Value::Object(map) => map.values().for_each(|item| walk(item, out)),
            _ => {}
        }
    }
    let mut out = std::collections::BTreeSet::new();
    walk(value, &mut out);
    out
}
