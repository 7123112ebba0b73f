//! Pipelines and tasks that a resolver fetches.

use serde_json::Value;

use super::resolve::Pipeline;
use super::state::Task;
use super::{Pass, Stop};
use crate::api::{defaults, validate};
use crate::engine::condition::Truth;
use crate::engine::doc::{list, name, namespace, object_mut, text};
use crate::engine::params::{self, as_text};
use crate::engine::resolution::{self, Remote};

impl Pass<'_> {
    /// Says that the run waits for a resolver.
    pub(super) fn awaits_remote(&mut self, reason: &str) {
        let run = self.run();
        let message = format!("PipelineRun {}/{} awaiting remote resource", namespace(run), name(run));
        self.set_condition(Truth::Unknown, reason, &message);
        self.wake_after_us = Some(resolution::LOOK_AGAIN_US);
        self.decision.waits_for = Some("a resolver to answer".into());
    }

    /// The text and the source of a remote object, which `asker` wants; `None`: asked for, and not there yet.
    ///
    /// # Errors
    /// The reference's text.
    fn fetch(&mut self, asker: &str, reference: &Value) -> Result<Option<(String, Value)>, String> {
        if !self.installation.resolvers {
            return Err(format!("resolver {:?} is not supported yet", text(reference, "resolver")));
        }
        match resolution::look_for(self.run(), asker, reference, &self.seen.owned) {
            Remote::Found { text, source } => Ok(Some((text, source))),
            Remote::Failed(why) => Err(why),
            Remote::Waits => Ok(None),
            Remote::Ask(request) => {
                self.create_once(*request);
                Ok(None)
            }
        }
    }

    /// The pipeline that `reference` names to a resolver.
    pub(super) fn remote_pipeline(&mut self, reference: &Value) -> Result<Pipeline, Stop> {
        let mut reference = reference.clone();
        let replacements = super::apply::of_run(self.run());
        if let Some(given) = object_mut(&mut reference).get_mut("params").and_then(Value::as_array_mut) {
            params::apply(given, &replacements);
        }
        let found = match self.fetch(name(self.run()), &reference) {
            Ok(found) => found,
            Err(why) => {
                let shown = text(&reference, "name");
                return Err(self.no_pipeline(&format!("resolver failed to get Pipeline {shown}: {why}")));
            }
        };
        let Some((fetched, source)) = found else {
            self.awaits_remote("ResolvingPipelineRef");
            return Err(Stop::Waits);
        };
        let mut pipeline = match resolution::read(&fetched, "Pipeline") {
            Ok(pipeline) => pipeline,
            Err(why) => return Err(self.no_pipeline(&why)),
        };
        self.admit(&mut pipeline, "Pipeline")?;
        if !source.is_null() && self.config.tells_provenance() {
            self.status["provenance"]["refSource"] = source;
        }
        self.inherit(&pipeline);
        Ok(Pipeline { spec: pipeline["spec"].clone(), name: name(&pipeline).to_owned() })
    }

    /// Fetched objects are admitted as if somebody had created them.
    fn admit(&mut self, object: &mut Value, kind: &str) -> Result<(), Stop> {
        defaults::apply(kind, object, self.config);
        let faults = validate::check(kind, object, None, self.config);
        if faults.is_empty() {
            return Ok(());
        }
        let head = "admission webhook \"validation.webhook.pipeline.tekton.dev\" denied the request";
        let error = format!(
            "failed to read runtime object as {kind}: validation failed for referenced object {}: {head}: validation failed: {faults}",
            name(object)
        );
        let message = format!("Failed dryRunValidation for PipelineRun {}: {error}", name(self.run()));
        Err(self.refuse("PipelineValidationFailed", &message, &error))
    }

    /// Finds the spec of a task that its entry names to a resolver.
    pub(super) fn remote_task(&mut self, task: &mut Task, pipeline_name: &str) -> Result<(), Stop> {
        let reference = task.entry["taskRef"].clone();
        let shown = shown(&reference);
        let asker = task.names.first().cloned().unwrap_or_default();
        let found = match self.fetch(&asker, &reference) {
            Ok(found) => found,
            Err(why) => return Err(self.no_task(&shown, &why, pipeline_name)),
        };
        let Some((fetched, _)) = found else { return Err(Stop::Waits) };
        let mut object = match resolution::read(&fetched, "Task") {
            Ok(object) => object,
            Err(why) => return Err(self.no_task(&shown, &why, pipeline_name)),
        };
        self.admit(&mut object, "Task")?;
        task.spec = object["spec"].clone();
        task.task_name = name(&object).to_owned();
        Ok(())
    }
}

/// A reference as messages show it.
fn shown(reference: &Value) -> String {
    let mut out = format!("resolver type {}\n", text(reference, "resolver"));
    for param in list(reference, "params") {
        out.push_str(&format!("{} = {}\n", text(param, "name"), as_text(&param["value"])));
    }
    out
}
