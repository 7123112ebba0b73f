//! Validation, as the reference's validating webhook does it on create and update.

mod graph;
mod matrix;
mod metadata;
mod others;
mod params;
mod pattern;
mod pipeline;
mod pipelineparams;
mod pipelinerun;
mod pipelinetask;
mod references;
mod refs;
mod results;
mod stepaction;
mod steps;
mod task;
mod taskrun;
mod update;
mod v1beta1;
mod variables;
mod when;
mod workspaces;

use std::ops::Deref;

use serde_json::Value;

use crate::api::config::TenantConfig;
use crate::api::fault::Faults;
use crate::api::read;

/// What rules depend on beside the object: the tenant's settings, and the version that the object is in.
struct Settings<'a> {
    config: &'a TenantConfig,
    /// The object is in v1beta1: some of its rules never changed with those of v1.
    older: bool,
}

impl Deref for Settings<'_> {
    type Target = TenantConfig;

    fn deref(&self) -> &TenantConfig {
        self.config
    }
}

/// Faults of an object of `tekton.dev` or `resolution.tekton.dev`, after defaulting; kinds without rules have none. `old` is the stored object
/// that an update replaces.
pub fn check(kind: &str, object: &Value, old: Option<&Value>, config: &TenantConfig) -> Faults {
    let older = object["apiVersion"] == "tekton.dev/v1beta1";
    let config = &Settings { config, older };
    let mut faults = match kind {
        "Task" => task::task(object, config),
        "TaskRun" => taskrun::task_run(object, old, config),
        "Pipeline" => pipeline::pipeline(object, config),
        "PipelineRun" => pipelinerun::pipeline_run(object, old, config),
        "StepAction" => stepaction::step_action(object, config),
        "CustomRun" => others::custom_run(object),
        "ResolutionRequest" => others::resolution_request(object),
        "VerificationPolicy" => others::verification_policy(object),
        _ => Faults::none(),
    };
    if older {
        faults.add(v1beta1::older(kind, object, config));
    }
    faults
}

/// Faults of `onError` of a pipeline's tasks, once params have been put into them.
pub fn on_errors(pipeline: &Value, config: &TenantConfig) -> Faults {
    let config = &Settings { config, older: false };
    let mut faults = Faults::none();
    for task in read::list(pipeline, "tasks").iter().chain(read::list(pipeline, "finally")) {
        faults.add(pipelinetask::on_error(task, config));
    }
    faults
}
