//! Cancelling a run, and its time running out.

use serde_json::{Value, json};

use super::state::TIMED_OUT;
use super::{Pass, WRITES_MAX};
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{ChildPatch, Key, PatchKind};
use crate::engine::doc::{name, namespace, object_mut, text};
use crate::engine::time::{go_duration, rfc3339};

/// What a cancelled child is told when its run was cancelled.
const CANCELLED: &str = "has been cancelled.";

impl Pass<'_> {
    fn open_children(&self) -> Vec<Value> {
        let kinds = ["TaskRun", "CustomRun", "PipelineRun"];
        let children = self.seen.owned.iter().filter(|o| kinds.contains(&text(o, "kind")));
        children.filter(|o| !condition::is_done(&o["status"])).cloned().collect()
    }

    /// `spec.status: Cancelled`: children are cancelled, finally tasks do not run. Child pipelines are not reached,
    /// as in the reference: the run says so, and ends when they have.
    pub(super) fn cancel(&mut self) {
        let run = name(self.run()).to_owned();
        let children = self.open_children();
        if !self.cancel_children(&children, CANCELLED) {
            return;
        }
        let beyond: Vec<_> = children.iter().filter(|c| text(c, "kind") == "PipelineRun").map(name).collect();
        if beyond.is_empty() {
            self.end("Cancelled", &format!("PipelineRun {run:?} was cancelled"));
            return;
        }
        let kinds: Vec<_> = beyond.iter().map(|child| format!("{child}:PipelineRun")).collect();
        let error = format!("found child objects of unknown kinds: map[{}]", kinds.join(" "));
        let message = format!(
            "PipelineRun {run:?} was cancelled but had errors trying to cancel TaskRuns and/or Runs: {error}"
        );
        self.set_condition(Truth::Unknown, "PipelineRunCouldntCancel", &message);
        self.decision
            .errors
            .push(format!("error(s) from cancelling TaskRun(s) from PipelineRun {run}: {error}"));
        self.decision.errors_pass = true;
        self.decision.waits_for = Some(format!("child pipelines to end: {}", beyond.join(", ")));
    }

    /// The run should have ended long ago: it ends without another look at its pipeline.
    pub(super) fn end_overdue(&mut self) {
        if !self.cancel_children(&self.open_children(), TIMED_OUT) {
            return;
        }
        let within = go_duration(self.times().pipeline_us);
        let message = format!("PipelineRun {:?} failed to finish within {within:?}", name(self.run()));
        self.end("PipelineRunTimeout", &message);
        self.decision.errors.push("PipelineRun has timed out for a long time".into());
    }

    /// Asks children to stop because time is over; whether all were asked.
    pub(super) fn time_out_children(&mut self, children: &[Value]) -> bool {
        self.cancel_children(children, TIMED_OUT)
    }

    /// Asks children to stop because the run is cancelled, while finally tasks will run.
    pub(super) fn cancel_gracefully(&mut self, children: &[Value]) -> bool {
        self.cancel_children(children, CANCELLED)
    }

    fn end(&mut self, reason: &str, message: &str) {
        self.set_condition(Truth::False, reason, message);
        object_mut(&mut self.status).insert("completionTime".into(), json!(rfc3339(self.now_us)));
    }

    /// Those that were asked already are left alone. Whether all are asked by now; if not, the others follow at once.
    fn cancel_children(&mut self, children: &[Value], why: &str) -> bool {
        for child in children {
            let kind = text(child, "kind");
            let word = match kind {
                "TaskRun" => "TaskRunCancelled",
                "CustomRun" => "RunCancelled",
                _ => continue,
            };
            let key = Key::new(kind, namespace(child), name(child));
            let asked = self.decision.patches.iter().any(|patch| patch.key == key);
            if asked || text(&child["spec"], "status") == word {
                continue;
            }
            if self.decision.patches.len() >= WRITES_MAX {
                self.decision.also_after_us = Some(0);
                self.decision.waits_for = Some("its other children to be asked to stop".into());
                return false;
            }
            let message = format!("{kind} cancelled as the PipelineRun it belongs to {why}");
            self.decision.patches.push(ChildPatch {
                key,
                kind: PatchKind::Json,
                body: json!([
                    {"op": "add", "path": "/spec/status", "value": word},
                    {"op": "add", "path": "/spec/statusMessage", "value": message},
                ]),
            });
        }
        true
    }
}
