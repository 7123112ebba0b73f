//! Pipelines and tasks that a resolver fetches.

use std::borrow::Cow;

use serde_json::Value;

use super::resolve::Pipeline;
use super::state::Task;
use super::{Pass, Stop};
use crate::api::{defaults, validate};
use crate::engine::condition::{self, Truth};
use crate::engine::decide::Need;
use crate::engine::doc::{list, name, namespace, object_mut, text};
use crate::engine::params::{self, as_text};
use crate::engine::resolution::{self, Remote};
use crate::engine::trust::{self, Verdict};

/// The text and the source of a remote object; `None`: asked for, and not there yet. An error is the reference's text.
type Fetched = Result<Option<(String, Value)>, String>;

impl Pass<'_> {
    /// Says that the run waits for a resolver.
    pub(super) fn awaits_remote(&mut self, reason: &str) {
        let run = self.run();
        let message = format!("PipelineRun {}/{} awaiting remote resource", namespace(run), name(run));
        self.set_condition(Truth::Unknown, reason, &message);
        self.wake_after_us = Some(resolution::LOOK_AGAIN_US);
        self.decision.waits_for = Some("a resolver to answer".into());
    }

    /// The remote object that `asker` wants.
    fn fetch(&mut self, asker: &str, reference: &Value) -> Result<Fetched, Stop> {
        if !self.installation.resolvers {
            let why = format!("resolver {:?} is not supported yet", text(reference, "resolver"));
            return Ok(Err(why));
        }
        match resolution::look_for(self.seen, asker, reference) {
            Remote::Need(key) => Err(Stop::Need([Need::Object(key)].into())),
            Remote::Found { text, source } => Ok(Ok(Some((text, source)))),
            Remote::Failed(why) => Ok(Err(why)),
            Remote::Waits => Ok(Ok(None)),
            Remote::Ask(request) => {
                self.create_once(*request);
                Ok(Ok(None))
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
        let found = match self.fetch(name(self.run()), &reference)? {
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
        let verdict = self.admit(&mut pipeline, "Pipeline", &source)?;
        if !source.is_null() && self.config.tells_provenance() {
            self.status["provenance"]["refSource"] = source;
        }
        self.inherit(&pipeline);
        self.trusts(&verdict, name(&pipeline), Some(&pipeline["spec"]))?;
        Ok(Pipeline { spec: pipeline["spec"].clone(), name: name(&pipeline).to_owned() })
    }

    /// Fetched objects are admitted as if somebody had created them.
    fn admit(&mut self, object: &mut Value, kind: &str, source: &Value) -> Result<Verdict, Stop> {
        defaults::apply(kind, object, self.config);
        let verdict = trust::verify(self.seen, self.config, object, source);
        let verdict = verdict.map_err(|need| Stop::Need([need].into()))?;
        resolution::modernise(object);
        let faults = validate::check(kind, object, None, self.config);
        if faults.is_empty() {
            return Ok(verdict);
        }
        let head = "admission webhook \"validation.webhook.pipeline.tekton.dev\" denied the request";
        let error = format!(
            "failed to read runtime object as {kind}: validation failed for referenced object {}: {head}: validation failed: {faults}",
            name(object)
        );
        let message = format!("Failed dryRunValidation for PipelineRun {}: {error}", name(self.run()));
        Err(self.refuse("PipelineValidationFailed", &message, &error))
    }

    /// Tells the verdict on what was fetched; a bad one ends the run.
    fn trusts(&mut self, verdict: &Verdict, what: &str, spec: Option<&Value>) -> Result<(), Stop> {
        let (truth, why) = match verdict {
            Verdict::Skipped => return Ok(()),
            Verdict::Passed => (Truth::True, String::new()),
            Verdict::Warned(why) => (Truth::False, why.clone()),
            Verdict::Failed(why) => {
                let run = self.run();
                let head = format!("pipelineRun {}/{} referred resource {what}", namespace(run), name(run));
                (Truth::False, format!("{head} failed signature verification: {why}"))
            }
        };
        condition::set_of(&mut self.status, trust::CONDITION, truth, "", &why, self.now_us);
        if !matches!(verdict, Verdict::Failed(_)) {
            return Ok(());
        }
        if let Some(spec) = spec {
            object_mut(&mut self.status).insert("pipelineSpec".into(), spec.clone());
        }
        Err(self.refuse_as_is("ResourceVerificationFailed", &why, &why))
    }

    /// Finds the spec of a task that its entry names to a resolver.
    pub(super) fn remote_task(&mut self, task: &mut Task, pipeline_name: &str) -> Result<(), Stop> {
        let reference = task.entry["taskRef"].clone();
        let shown = shown(&reference);
        let asker = task.names.first().cloned().unwrap_or_default();
        let found = match self.fetch(&asker, &reference)? {
            Ok(found) => found,
            Err(why) => return Err(self.no_task(&shown, &why, pipeline_name)),
        };
        let Some((fetched, source)) = found else { return Err(Stop::Waits) };
        let mut object = match resolution::read(&fetched, "Task") {
            Ok(object) => object,
            Err(why) => return Err(self.no_task(&shown, &why, pipeline_name)),
        };
        let verdict = self.admit(&mut object, "Task", &source)?;
        let entry = text(&task.entry, "name").to_owned();
        self.trusts(&verdict, &entry, None)?;
        task.spec = Cow::Owned(object["spec"].clone());
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
