//! From a PipelineRun to the pipeline it runs, validated and substituted.

use serde_json::{Value, json};

use super::Pass;
use crate::engine::decide::{Key, MetadataUpdate, Need};
use crate::engine::doc::{is_empty, list, name, namespace, object_mut, strings, text, uid};
use crate::engine::params::{self, Misfit};
use crate::engine::substitution::Replacements;

impl Pass<'_> {
    /// The pipeline's spec, before substitution; `None` when the run has failed or waits.
    pub(super) fn pipeline(&mut self) -> Result<Option<Value>, Need> {
        let run = &self.seen.run;
        let spec = &run["spec"];
        let reference = &spec["pipelineRef"];
        if !spec["pipelineSpec"].is_null() {
            // The generated part of a name says nothing about the pipeline.
            let label = match text(&run["metadata"], "generateName") {
                "" => name(run),
                prefix => prefix.trim_end_matches('-'),
            };
            self.label(&json!({}), label);
            return Ok(Some(spec["pipelineSpec"].clone()));
        }
        if !text(reference, "resolver").is_empty() {
            let message = format!("resolver {:?} is not supported yet", text(reference, "resolver"));
            self.fail("CouldntGetPipeline", &message, &message);
            return Ok(None);
        }
        let wanted = text(reference, "name");
        let key = Key::new("Pipeline", namespace(run), wanted);
        match self.seen.objects.get(&key) {
            None => Err(Need::Object(key)),
            Some(None) => {
                let error = format!(
                    "error when getting Pipeline for PipelineRun {}: tekton client cannot get pipeline {wanted} from local cluster: pipelines.tekton.dev {wanted:?} not found",
                    name(run)
                );
                let message = format!(
                    "Error retrieving pipeline for pipelinerun {}/{}: {error}",
                    namespace(run),
                    name(run)
                );
                self.fail("CouldntGetPipeline", &message, &error);
                Ok(None)
            }
            Some(Some(pipeline)) => {
                self.label(pipeline, wanted);
                Ok(Some(pipeline["spec"].clone()))
            }
        }
    }

    /// Labels and annotations of the pipeline go onto the run; the run's win.
    fn label(&mut self, pipeline: &Value, pipeline_name: &str) {
        let run = &self.seen.run;
        let mut update = MetadataUpdate {
            labels: strings(pipeline, "labels"),
            annotations: strings(pipeline, "annotations"),
        };
        update.annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        update.labels.extend(strings(run, "labels"));
        update.annotations.extend(strings(run, "annotations"));
        update.labels.insert("tekton.dev/pipeline".into(), pipeline_name.to_owned());
        if update.labels != strings(run, "labels") || update.annotations != strings(run, "annotations") {
            self.decision.metadata = Some(update);
        }
    }

    /// The pipeline's spec with params, context and workspaces substituted; `None` when the run has failed.
    pub(super) fn prepared(&mut self, pipeline: &Value) -> Result<Option<Value>, Need> {
        if !is_empty(&self.status, "pipelineSpec") {
            self.claims();
            return Ok(Some(self.status["pipelineSpec"].clone()));
        }
        if !self.valid(pipeline) {
            object_mut(&mut self.status).insert("pipelineSpec".into(), pipeline.clone());
            return Ok(None);
        }
        self.claims();
        let mut spec = pipeline.clone();
        let mut replacements = self.context(pipeline);
        for (name, value) in params::values(list(pipeline, "params"), list(&self.seen.run["spec"], "params"))
        {
            params::replace(&mut replacements, &name, &value);
        }
        for part in ["tasks", "finally", "results"] {
            let Some(tasks) = object_mut(&mut spec).get_mut(part).and_then(Value::as_array_mut) else {
                continue;
            };
            for task in tasks {
                substitute(task, &replacements);
            }
        }
        Ok(Some(spec))
    }

    fn context(&self, pipeline: &Value) -> Replacements {
        let run = &self.seen.run;
        let mut out = Replacements::default();
        let pipeline_name = match text(&run["spec"]["pipelineRef"], "name") {
            "" => name(run),
            name => name,
        };
        for (key, value) in [
            ("context.pipelineRun.name", name(run)),
            ("context.pipelineRun.namespace", namespace(run)),
            ("context.pipelineRun.uid", uid(run)),
            ("context.pipeline.name", pipeline_name),
        ] {
            out.strings.insert(key.into(), value.to_owned());
        }
        for workspace in list(pipeline, "workspaces") {
            let bound = list(&run["spec"], "workspaces").iter().any(|b| b["name"] == workspace["name"]);
            out.strings.insert(format!("workspaces.{}.bound", text(workspace, "name")), bound.to_string());
        }
        out
    }

    fn valid(&mut self, pipeline: &Value) -> bool {
        let run = &self.seen.run;
        let place = format!("PipelineRun {}/{}", namespace(run), name(run));
        let of = match text(&run["spec"]["pipelineRef"], "name") {
            "" => name(run),
            name => name,
        };
        let of = format!("Pipeline {}/{of}", namespace(run));
        let (specs, given) = (list(pipeline, "params").to_vec(), list(&run["spec"], "params").to_vec());
        let failure = match params::check(&specs, &given) {
            Ok(()) => None,
            Err(Misfit::Missing(names)) => {
                let error = format!("pipelineRun missing parameters: [{}]", names.join(" "));
                Some((
                    "ParameterMissing",
                    format!("{place} is missing some parameters required by {of}: {error}"),
                    error,
                ))
            }
            Err(Misfit::WrongType(names)) => {
                let error = format!("parameters have inconsistent types : [{}]", names.join(" "));
                let message =
                    format!("{place} parameters have mismatching types with {of}'s parameters: {error}");
                Some(("ParameterTypeMismatch", message, error))
            }
            Err(misfit @ Misfit::MissingKeys(_)) => {
                let error = format!("pipelineRun missing object keys for parameters: {misfit}");
                Some(("ObjectParameterMissKeys", format!("{place} is missing object keys: {error}"), error))
            }
        };
        let failure = failure.or_else(|| {
            let unbound = list(pipeline, "workspaces").iter().find(|w| {
                w["optional"] != true
                    && !list(&run["spec"], "workspaces").iter().any(|b| b["name"] == w["name"])
            })?;
            let error = format!(
                "pipeline requires workspace with name {:?} be provided by pipelinerun",
                text(unbound, "name")
            );
            Some((
                "InvalidWorkspaceBindings",
                format!("{place} doesn't bind {of}'s Workspaces correctly: {error}"),
                error,
            ))
        });
        if let Some((reason, message, error)) = failure {
            self.fail(reason, &format!("[User error] {message}"), &error);
            return false;
        }
        if let Some(feature) = unsupported(pipeline) {
            let message = format!("{feature} is not supported yet");
            self.fail("PipelineValidationFailed", &message, &message);
            return false;
        }
        true
    }

    /// Every task that is referred to must exist before anything starts.
    pub(super) fn tasks_exist(&mut self, spec: &Value) -> Result<(), Need> {
        if !is_empty(&self.status, "childReferences") {
            return Ok(());
        }
        let run = &self.seen.run;
        for part in ["tasks", "finally"] {
            for task in list(spec, part) {
                let wanted = text(&task["taskRef"], "name");
                if wanted.is_empty() {
                    continue;
                }
                let key = Key::new("Task", namespace(run), wanted);
                match self.seen.objects.get(&key) {
                    None => return Err(Need::Object(key)),
                    Some(Some(_)) => {}
                    Some(None) => {
                        let error = format!(
                            "Couldn't retrieve Task {wanted:?}: tasks.tekton.dev {wanted:?} not found"
                        );
                        let pipeline = match text(&run["spec"]["pipelineRef"], "name") {
                            "" => name(run),
                            name => name,
                        };
                        let message = format!(
                            "Pipeline {}/{pipeline} can't be Run; it contains Tasks that don't exist: {error}",
                            namespace(run)
                        );
                        self.fail("CouldntGetTask", &message, &error);
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The first thing in a pipeline that this engine cannot run yet, by its name in the documentation.
fn unsupported(pipeline: &Value) -> Option<&'static str> {
    for part in ["tasks", "finally"] {
        for task in list(pipeline, part) {
            let custom = |reference: &Value| {
                let version = text(reference, "apiVersion");
                !version.is_empty() && !version.starts_with("tekton.dev/v1")
            };
            if !task["matrix"].is_null() {
                return Some("matrix");
            }
            if !task["pipelineRef"].is_null() || !task["pipelineSpec"].is_null() {
                return Some("a pipeline in a pipeline");
            }
            if custom(&task["taskRef"]) || custom(&task["taskSpec"]) {
                return Some("a custom task");
            }
            if list(task, "when").iter().any(|w| !text(w, "cel").is_empty()) {
                return Some("CEL in when expressions");
            }
        }
    }
    None
}

/// An embedded task sees the pipeline's params, but for those that it declares or is given itself.
fn embedded(task: &mut Value, replacements: &Replacements) {
    if task["taskSpec"].is_null() {
        return;
    }
    let own =
        |value: &Value| list(value, "params").iter().map(|p| text(p, "name").to_owned()).collect::<Vec<_>>();
    let mut shadowed = own(&task["taskSpec"]);
    shadowed.extend(own(task));
    let hidden = |key: &String| {
        shadowed.iter().any(|name| {
            let heads = [
                format!("params.{name}"),
                format!("params[\"{name}\"]"),
                format!("params['{name}']"),
                format!("inputs.params.{name}"),
            ];
            heads.iter().any(|h| {
                key.strip_prefix(h.as_str()).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
            })
        })
    };
    let mut visible = replacements.clone();
    visible.strings.retain(|key, _| key.starts_with("params") && !hidden(key));
    visible.arrays.retain(|key, _| key.starts_with("params") && !hidden(key));
    visible.objects.retain(|key, _| key.starts_with("params") && !hidden(key));
    for part in ["steps", "sidecars", "stepTemplate", "volumes", "workspaces"] {
        if let Some(value) = object_mut(&mut task["taskSpec"]).get_mut(part) {
            visible.document(value, &["computeResources"]);
        }
    }
}

/// Substitutes a task of the pipeline.
fn substitute(task: &mut Value, replacements: &Replacements) {
    let mut own = Replacements::default();
    own.strings
        .insert("context.pipelineTask.retries".into(), task["retries"].as_u64().unwrap_or(0).to_string());
    own.extend(replacements.clone());
    let replacements = &own;
    embedded(task, replacements);
    for part in ["params", "when", "displayName", "workspaces", "taskRef", "value", "onError", "matrix"] {
        let Some(value) = object_mut(task).get_mut(part) else { continue };
        match (part, &mut *value) {
            ("params", Value::Array(params)) => params::apply(params, replacements),
            ("value", value) => *value = replacements.value(value),
            (_, value) => replacements.document(value, &["operator"]),
        }
    }
}
