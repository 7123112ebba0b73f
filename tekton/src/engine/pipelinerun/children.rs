//! The objects that a run creates for its tasks.

use serde_json::{Value, json};

use super::Pass;
use super::facts::Facts;
use crate::engine::doc::{is_empty, list, name, namespace, object_mut, set, strings, text, uid};
use crate::engine::names::child_name;
use crate::engine::substitution::Replacements;
use crate::engine::{params, pod};

impl Pass<'_> {
    /// The TaskRun of a task that can start now; `None` when that is impossible, and the run has failed.
    pub(super) fn child(&mut self, facts: &Facts, task_name: &str) -> Option<Value> {
        let task = facts.task(task_name);
        if facts.broken_promise(task_name).is_some() {
            return None;
        }
        let mut spec = task.spec.clone();
        let replacements = facts.replacements(task.finally);
        for part in ["params", "displayName", "workspaces", "taskRef"] {
            if let Some(value) = object_mut(&mut spec).get_mut(part) {
                match part {
                    "params" => params::apply(value.as_array_mut()?, &replacements),
                    _ => replacements.document(value, &[]),
                }
            }
        }
        let run = &self.seen.run;
        let mut child = json!({
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": self.metadata(&spec, task_name, task.finally),
            "spec": {"serviceAccountName": run["spec"]["taskRunTemplate"]["serviceAccountName"]},
            "status": {"podName": ""},
        });
        let out = &mut child["spec"];
        if !is_empty(&spec, "params") {
            out["params"] = spec["params"].clone();
        }
        if spec["taskSpec"].is_null() {
            out["taskRef"] = spec["taskRef"].clone();
        } else {
            out["taskSpec"] = embedded(&spec, &replacements);
        }
        if let Some(retries) = spec["retries"].as_u64().filter(|r| *r > 0) {
            out["retries"] = json!(retries);
        }
        if !text(&spec, "timeout").is_empty() {
            out["timeout"] = spec["timeout"].clone();
        }
        set(out, "podTemplate", run["spec"]["taskRunTemplate"]["podTemplate"].clone());
        let workspaces = self.workspaces(&spec);
        if !workspaces.is_empty() {
            out["workspaces"] = Value::Array(workspaces);
        }
        self.specifics(out, task_name);
        Some(child)
    }

    /// What `taskRunSpecs` says of a task.
    fn specifics(&self, out: &mut Value, task_name: &str) {
        let Some(specific) = self.task_run_spec(task_name) else { return };
        for field in ["serviceAccountName", "stepSpecs", "sidecarSpecs", "computeResources", "timeout"] {
            if !is_empty(specific, field) {
                out[field] = specific[field].clone();
            }
        }
        if let Some(template) = specific["podTemplate"].as_object() {
            let mut merged = out.get("podTemplate").and_then(Value::as_object).cloned().unwrap_or_default();
            merged.extend(template.clone());
            out["podTemplate"] = Value::Object(merged);
        }
    }

    fn task_run_spec(&self, task_name: &str) -> Option<&Value> {
        list(&self.seen.run["spec"], "taskRunSpecs").iter().find(|s| text(s, "pipelineTaskName") == task_name)
    }

    fn metadata(&self, spec: &Value, task_name: &str, finally: bool) -> Value {
        let run = &self.seen.run;
        let inner = &spec["taskSpec"]["metadata"];
        let of = |value: &Value, key: &str| strings(&json!({"metadata": value}), key);
        let mut labels = of(inner, "labels");
        let mut annotations = of(inner, "annotations");
        let update = self.decision.metadata.as_ref();
        labels.extend(update.map_or_else(|| strings(run, "labels"), |m| m.labels.clone()));
        annotations.extend(update.map_or_else(|| strings(run, "annotations"), |m| m.annotations.clone()));
        if let Some(specific) = self.task_run_spec(task_name) {
            labels.extend(of(&specific["metadata"], "labels"));
            annotations.extend(of(&specific["metadata"], "annotations"));
        }
        for (key, value) in [
            ("tekton.dev/pipelineRun", name(run)),
            ("tekton.dev/pipelineRunUID", uid(run)),
            ("tekton.dev/pipelineTask", task_name),
            ("tekton.dev/memberOf", if finally { "finally" } else { "tasks" }),
        ] {
            labels.insert(key.into(), value.to_owned());
        }
        if text(spec, "onError") == "continue" {
            annotations.insert("pipeline.tekton.dev/pipeline-task-on-error".into(), "continue".into());
        }
        json!({
            "name": child_name(name(run), &format!("-{task_name}")),
            "namespace": namespace(run),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [pod::owner(run)],
        })
    }

    /// Bindings of the workspaces that a task uses.
    fn workspaces(&self, spec: &Value) -> Vec<Value> {
        let bound = list(&self.seen.run["spec"], "workspaces");
        let mut wanted: Vec<Value> = list(spec, "workspaces").to_vec();
        // An embedded task that refers to a workspace of the run gets it without a declaration.
        let text_of_task = spec["taskSpec"].to_string();
        for binding in bound {
            let name = text(binding, "name");
            let used = text_of_task.contains(&format!("$(workspaces.{name}."));
            if used && !wanted.iter().any(|w| text(w, "name") == name) {
                wanted.push(json!({"name": name}));
            }
        }
        let mut out = Vec::new();
        for wish in &wanted {
            let pipeline_name = match text(wish, "workspace") {
                "" => text(wish, "name"),
                name => name,
            };
            let Some(binding) = bound.iter().find(|b| text(b, "name") == pipeline_name) else { continue };
            let mut binding = binding.clone();
            binding["name"] = wish["name"].clone();
            let sub_path: Vec<_> = [text(&binding, "subPath"), text(wish, "subPath")]
                .into_iter()
                .filter(|p| !p.is_empty())
                .collect();
            if !sub_path.is_empty() {
                binding["subPath"] = json!(sub_path.join("/"));
            }
            if !binding["volumeClaimTemplate"].is_null() {
                let claim = crate::engine::claims::name(
                    &binding["volumeClaimTemplate"],
                    pipeline_name,
                    &self.seen.run,
                );
                object_mut(&mut binding).remove("volumeClaimTemplate");
                binding["persistentVolumeClaim"] = json!({"claimName": claim});
            }
            out.push(binding);
        }
        out
    }

    /// Claims that the run's workspaces ask for and that are not there yet.
    pub(super) fn claims(&mut self) {
        for binding in list(&self.seen.run["spec"], "workspaces") {
            let template = &binding["volumeClaimTemplate"];
            if template.is_null() {
                continue;
            }
            let claim = crate::engine::claims::claim(template, text(binding, "name"), &self.seen.run);
            let there = self
                .seen
                .owned
                .iter()
                .any(|o| text(o, "kind") == "PersistentVolumeClaim" && name(o) == name(&claim));
            if !there {
                self.decision.creates.push(claim);
            }
        }
    }
}

/// An embedded task: its own params, and results of earlier tasks, are put into it, as the pipeline's params
/// already are.
fn embedded(task: &Value, results: &Replacements) -> Value {
    let mut out = task["taskSpec"].clone();
    for gone in ["metadata", "apiVersion", "kind", "spec"] {
        object_mut(&mut out).remove(gone);
    }
    let mut replacements = Replacements::default();
    let declared: Vec<_> = list(&out, "params").iter().map(|p| text(p, "name").to_owned()).collect();
    for (name, value) in params::values(list(&out, "params"), list(task, "params")) {
        if declared.contains(&name) {
            params::replace(&mut replacements, &name, &value);
        }
    }
    replacements.extend(results.clone());
    for part in ["steps", "sidecars", "stepTemplate", "volumes", "workspaces"] {
        if let Some(value) = object_mut(&mut out).get_mut(part) {
            replacements.document(value, &["computeResources"]);
        }
    }
    out
}
