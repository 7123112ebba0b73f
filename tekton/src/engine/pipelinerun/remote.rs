//! Pipelines and tasks that a resolver fetches.

use serde_json::Value;

use super::resolve::Pipeline;
use super::state::Task;
use super::{Pass, Stop};
use crate::engine::condition::Truth;
use crate::engine::doc::{name, namespace, text};

impl Pass<'_> {
    pub(super) fn awaits_remote(&mut self, reason: &str) {
        let run = self.run();
        let message = format!("PipelineRun {}/{} awaiting remote resource", namespace(run), name(run));
        self.set_condition(Truth::Unknown, reason, &message);
    }

    pub(super) fn remote_pipeline(&mut self, reference: &Value) -> Result<Pipeline, Stop> {
        let message = format!("resolver {:?} is not supported yet", text(reference, "resolver"));
        Err(self.no_pipeline(&message))
    }

    pub(super) fn remote_task(&mut self, task: &mut Task, pipeline_name: &str) -> Result<(), Stop> {
        let message = format!("resolver {:?} is not supported yet", text(&task.entry["taskRef"], "resolver"));
        Err(self.no_task(&task.name.clone(), &message, pipeline_name))
    }
}
