//! The objects that a run creates for its tasks.

mod bindings;

use serde_json::{Value, json};

use super::facts::Facts;
use super::state::{Kind, Task};
use super::{Pass, affinity, apply, matrix, results};
use crate::api::defaults;
use crate::engine::doc::{is_empty, list, name, namespace, object_mut, set, strings, text, uid};
use crate::engine::substitution::Replacements;
use crate::engine::{params, pod};

/// Annotations that say something of one object only: a signer's.
const OF_ONE_OBJECT: &str = "chains.tekton.dev/";

/// Why children cannot be made: the run has failed.
pub struct Refused {
    /// Reason of the run's condition.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
    /// What is wrong, in the reference's words.
    pub error: String,
}

impl Pass<'_> {
    /// The children of a task that can start now: one, or one for each combination of its matrix.
    ///
    /// # Errors
    /// [`Refused`] where a workspace or a param's value is not what the task asks for.
    pub(super) fn children(&self, facts: &Facts, task: &Task) -> Result<Vec<Value>, Refused> {
        let mut entry = Value::clone(&task.entry);
        let sizes = sizes(&entry, facts);
        apply::at_start(&mut entry, sizes);
        let combinations = matrix::fan_out(&entry["matrix"]);
        let propagated = facts.propagated();
        self.params_allowed(&entry, task, &combinations)?;
        let (bindings, shared) = self.bindings(&entry, task, propagated).map_err(|error| Refused {
            reason: "CreateRunFailed",
            message: error.clone(),
            error,
        })?;
        let assistant = self.assistant_of(shared.as_deref());
        let spec = match task.kind {
            Kind::Task => self.task_spec(&entry, propagated),
            Kind::Custom => custom_spec(&entry),
            Kind::Pipeline => pipeline_spec(&entry),
        };
        let child = |index: usize, child_name: &String| {
            let mut params = combinations.get(index).cloned().unwrap_or_default();
            params.extend(list(&entry, "params").iter().cloned());
            let mut spec = spec.clone();
            if !params.is_empty() {
                spec["params"] = Value::Array(params);
            }
            if !bindings.is_empty() {
                spec["workspaces"] = Value::Array(bindings.clone());
            }
            self.specifics(&mut spec, task);
            let mut child = json!({
                "apiVersion": task.kind.api_version(),
                "kind": task.kind.child(),
                "metadata": self.metadata(&entry, task, assistant.as_deref()),
                "spec": spec,
            });
            child["metadata"]["name"] = json!(child_name);
            match task.kind {
                Kind::Task => child["status"] = json!({"podName": ""}),
                Kind::Custom => child["status"] = json!({"extraFields": null}),
                Kind::Pipeline => {}
            }
            child
        };
        Ok(task.names.iter().enumerate().map(|(index, name)| child(index, name)).collect())
    }

    /// Params must be among what the task allows, now that all of them are known.
    fn params_allowed(&self, entry: &Value, task: &Task, combinations: &[Vec<Value>]) -> Result<(), Refused> {
        if task.kind != Kind::Task || !self.flag("enable-param-enum") {
            return Ok(());
        }
        for index in 0..task.names.len() {
            let mut given = combinations.get(index).cloned().unwrap_or_default();
            given.extend(list(entry, "params").iter().cloned());
            if let Err(error) = params::check_enums(list(&task.spec, "params"), &given) {
                let head = format!("[User error] Invalid param value from PipelineTask {:?}", task.name);
                return Err(Refused {
                    reason: "InvalidParamValue",
                    message: format!("{head}: {error}"),
                    error,
                });
            }
        }
        Ok(())
    }

    fn task_spec(&self, entry: &Value, propagated: &Replacements) -> Value {
        let mut out = json!({});
        if entry["taskSpec"].is_null() {
            out["taskRef"] = entry["taskRef"].clone();
        } else {
            let mut spec = entry["taskSpec"].clone();
            for gone in ["metadata", "apiVersion", "kind", "spec"] {
                object_mut(&mut spec).remove(gone);
            }
            apply::spec(&mut spec, propagated);
            out["taskSpec"] = spec;
        }
        limits(&mut out, entry);
        out
    }

    /// What the run, and its `taskRunSpecs`, say of a task.
    fn specifics(&self, out: &mut Value, task: &Task) {
        let template = &self.run()["spec"]["taskRunTemplate"];
        let nothing = Value::Null;
        let specific = self.task_run_spec(&task.name).unwrap_or(&nothing);
        let account = match text(specific, "serviceAccountName") {
            "" => template["serviceAccountName"].clone(),
            own => json!(own),
        };
        let mut pod = specific["podTemplate"].clone();
        if let Some(common) = template["podTemplate"].as_object() {
            defaults::merge_pod_template(&mut pod, common);
        }
        match task.kind {
            Kind::Pipeline => {
                let mut inherited = json!({});
                set(&mut inherited, "serviceAccountName", account);
                set(&mut inherited, "podTemplate", pod);
                out["taskRunTemplate"] = inherited;
            }
            Kind::Custom => {
                set(out, "serviceAccountName", account);
                set(out, "timeout", specific["timeout"].clone());
            }
            Kind::Task => {
                set(out, "serviceAccountName", account);
                set(out, "podTemplate", pod);
                for field in ["stepSpecs", "sidecarSpecs", "computeResources", "timeout"] {
                    if !is_empty(specific, field) {
                        out[field] = specific[field].clone();
                    }
                }
            }
        }
    }

    fn task_run_spec(&self, task: &str) -> Option<&Value> {
        list(&self.run()["spec"], "taskRunSpecs").iter().find(|s| text(s, "pipelineTaskName") == task)
    }

    fn metadata(&self, entry: &Value, task: &Task, assistant: Option<&str>) -> Value {
        let run = self.run();
        let of = |value: &Value, key: &str| strings(&json!({"metadata": value}), key);
        let inner = match task.kind {
            Kind::Task => &entry["taskSpec"]["metadata"],
            Kind::Custom | Kind::Pipeline => &Value::Null,
        };
        let (mut labels, mut annotations) = (of(inner, "labels"), of(inner, "annotations"));
        let update = self.decision.metadata.as_ref();
        labels.extend(update.map_or_else(|| strings(run, "labels"), |m| m.labels.clone()));
        annotations.extend(update.map_or_else(|| strings(run, "annotations"), |m| m.annotations.clone()));
        annotations.retain(|key, _| !key.starts_with(OF_ONE_OBJECT));
        if let Some(specific) = self.task_run_spec(&task.name).filter(|_| task.kind == Kind::Task) {
            labels.extend(of(&specific["metadata"], "labels"));
            annotations.extend(of(&specific["metadata"], "annotations"));
        }
        for (key, value) in [
            ("tekton.dev/pipelineRun", name(run)),
            ("tekton.dev/pipelineRunUID", uid(run)),
            ("tekton.dev/pipelineTask", task.name.as_str()),
            ("tekton.dev/memberOf", if task.finally { "finally" } else { "tasks" }),
        ] {
            labels.insert(key.into(), value.to_owned());
        }
        let inner_pipeline = text(&entry["pipelineRef"], "name");
        if !inner_pipeline.is_empty() {
            labels.insert("tekton.dev/pipeline".into(), inner_pipeline.to_owned());
        }
        if task.ignores_failure() {
            annotations.insert("pipeline.tekton.dev/pipeline-task-on-error".into(), "continue".into());
        }
        if let Some(assistant) = assistant.filter(|_| task.kind != Kind::Pipeline) {
            annotations.insert(affinity::ANNOTATION.into(), assistant.to_owned());
        }
        json!({
            "namespace": namespace(run),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [pod::owner(run)],
        })
    }
}

/// Retries and timeout, as the entry has them.
fn limits(out: &mut Value, entry: &Value) {
    if let Some(retries) = entry["retries"].as_u64().filter(|r| *r > 0) {
        out["retries"] = json!(retries);
    }
    if !is_empty(entry, "timeout") {
        out["timeout"] = entry["timeout"].clone();
    }
}

fn custom_spec(entry: &Value) -> Value {
    let mut out = json!({});
    if entry["taskSpec"].is_null() {
        out["customRef"] = entry["taskRef"].clone();
    } else {
        let embedded = &entry["taskSpec"];
        let mut spec = json!({"apiVersion": embedded["apiVersion"], "kind": embedded["kind"]});
        for field in ["metadata", "spec"] {
            set(&mut spec, field, embedded[field].clone());
        }
        out["customSpec"] = spec;
    }
    limits(&mut out, entry);
    out
}

fn pipeline_spec(entry: &Value) -> Value {
    let mut out = json!({});
    set(&mut out, "pipelineRef", entry["pipelineRef"].clone());
    set(&mut out, "pipelineSpec", entry["pipelineSpec"].clone());
    if !is_empty(entry, "timeout") {
        out["timeouts"] = json!({"pipeline": entry["timeout"]});
    }
    out
}

/// `tasks.T.matrix.length` and `tasks.T.matrix.R.length`, for all matrices.
fn sizes(entry: &Value, facts: &Facts) -> Replacements {
    let mut out = Replacements::default();
    if !entry["params"].to_string().contains(".matrix.") {
        return out;
    }
    for task in facts.tasks.iter().filter(|t| t.is_matrixed()) {
        let count = matrix::count(&task.entry["matrix"]);
        out.strings.insert(format!("tasks.{}.matrix.length", task.name), count.to_string());
        for (result, values) in results::aggregate(task) {
            out.strings
                .insert(format!("tasks.{}.matrix.{result}.length", task.name), values.len().to_string());
        }
    }
    out
}
