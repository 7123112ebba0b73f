//! From a PipelineRun to its pipeline, and what of it goes onto the run.

use serde_json::{Value, json};

use super::{Pass, Stop};
use crate::engine::decide::{Key, MetadataUpdate, Need};
use crate::engine::doc::{is_empty, list, name, namespace, strings, text};

/// A pipeline that was found.
pub struct Pipeline {
    /// Its spec.
    pub spec: Value,
    /// Its name: that of the reference, of the fetched object, or of the run if it is embedded.
    pub name: String,
}

impl Pass<'_> {
    /// Puts the name of the pipeline, as far as it is known before it is read, onto the run.
    pub(super) fn name_label(&mut self) {
        let run = self.run();
        let spec = &run["spec"];
        let own = match text(&run["metadata"], "generateName") {
            "" => name(run),
            // The generated part of a name says nothing about the pipeline.
            prefix => prefix.trim_end_matches('-'),
        };
        let reference = &spec["pipelineRef"];
        let mut update =
            MetadataUpdate { labels: strings(run, "labels"), annotations: strings(run, "annotations") };
        let label = if !text(reference, "resolver").is_empty() {
            if update.labels.contains_key("tekton.dev/pipeline") {
                return;
            }
            let param = |name: &str| {
                let found = list(reference, "params").iter().find(|p| text(p, "name") == name);
                found.map_or("", |p| text(p, "value"))
            };
            // What is fetched by kind and name has that name.
            let named = if param("kind") == "pipeline" { param("name") } else { "" };
            if named.is_empty() { own } else { named }
        } else {
            match text(reference, "name") {
                "" => own,
                name => name,
            }
        };
        update.labels.insert("tekton.dev/pipeline".into(), label.to_owned());
        self.update(update);
    }

    fn update(&mut self, update: MetadataUpdate) {
        let run = self.run();
        if update.labels != strings(run, "labels") || update.annotations != strings(run, "annotations") {
            self.decision.metadata = Some(update);
        }
    }

    /// Labels and annotations of the pipeline go onto the run; the run's win.
    pub(super) fn inherit(&mut self, pipeline: &Value) {
        let run = self.run();
        let now = self.decision.metadata.clone().unwrap_or_else(|| MetadataUpdate {
            labels: strings(run, "labels"),
            annotations: strings(run, "annotations"),
        });
        let mut update = MetadataUpdate {
            labels: strings(pipeline, "labels"),
            annotations: strings(pipeline, "annotations"),
        };
        update.annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        update.labels.extend(now.labels);
        update.annotations.extend(now.annotations);
        // What a signer said of another object must not be said of this one.
        update.annotations.retain(|key, _| !key.starts_with("chains.tekton.dev/"));
        if !name(pipeline).is_empty() {
            update.labels.insert("tekton.dev/pipeline".into(), name(pipeline).to_owned());
        }
        self.update(update);
    }

    /// The pipeline, before substitution.
    ///
    /// # Errors
    /// What must be read first; or that the run has failed or waits.
    pub(super) fn pipeline(&mut self) -> Result<Pipeline, Stop> {
        let seen = self.seen;
        let run = &seen.run;
        let reference = &run["spec"]["pipelineRef"];
        if !is_empty(&self.status, "pipelineSpec") {
            let labels =
                self.decision.metadata.as_ref().map_or_else(|| strings(run, "labels"), |m| m.labels.clone());
            let known = match text(reference, "name") {
                "" if text(reference, "resolver").is_empty() => name(run).to_owned(),
                "" => labels.get("tekton.dev/pipeline").cloned().unwrap_or_default(),
                name => name.to_owned(),
            };
            // Taken, not copied: the pass puts the spec that it runs by in its place.
            return Ok(Pipeline { spec: self.status["pipelineSpec"].take(), name: known });
        }
        if !run["spec"]["pipelineSpec"].is_null() {
            self.inherit(&json!({}));
            return Ok(Pipeline { spec: run["spec"]["pipelineSpec"].clone(), name: name(run).to_owned() });
        }
        if !text(reference, "resolver").is_empty() {
            return self.remote_pipeline(reference);
        }
        let wanted = text(reference, "name");
        let key = Key::new("Pipeline", namespace(run), wanted);
        match self.seen.objects.get(&key) {
            None => Err(Stop::Need([Need::Object(key)].into())),
            Some(None) => {
                let error = format!(
                    "error when getting Pipeline for PipelineRun {}: tekton client cannot get pipeline {wanted} from local cluster: pipelines.tekton.dev {wanted:?} not found",
                    name(run)
                );
                Err(self.no_pipeline(&error))
            }
            Some(Some(pipeline)) => {
                self.inherit(pipeline);
                Ok(Pipeline { spec: pipeline["spec"].clone(), name: wanted.to_owned() })
            }
        }
    }

    /// A pipeline that cannot be had ends the run.
    pub(super) fn no_pipeline(&mut self, error: &str) -> Stop {
        let run = self.run();
        let message =
            format!("Error retrieving pipeline for pipelinerun {}/{}: {error}", namespace(run), name(run));
        self.fail("CouldntGetPipeline", &message, error);
        Stop::Done
    }
}
