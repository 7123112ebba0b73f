//! Cancelling a run, and its time running out.

use serde_json::{Value, json};

use super::Pass;
use super::facts::Facts;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{ChildPatch, Key, PatchKind};
use crate::engine::doc::{name, namespace, object_mut, text};
use crate::engine::time::{duration, go_duration, rfc3339};

impl Pass<'_> {
    /// `spec.status: Cancelled`: children are cancelled, finally tasks do not run.
    pub(super) fn cancel(&mut self, pipeline: &Value) {
        let _ = pipeline;
        let running: Vec<Value> = self
            .seen
            .owned
            .iter()
            .filter(|o| matches!(text(o, "kind"), "TaskRun" | "CustomRun" | "PipelineRun"))
            .filter(|o| !condition::is_done(&o["status"]))
            .cloned()
            .collect();
        self.cancel_children(&running, "cancelled");
        let message = format!("PipelineRun {:?} was cancelled", name(&self.seen.run));
        self.end("Cancelled", &message);
    }

    /// The whole run is out of time.
    pub(super) fn time_out(&mut self, facts: &Facts) {
        self.cancel_children(&facts.running_dag(), "timed out");
        let within = duration(text(&self.seen.run["spec"]["timeouts"], "pipeline"))
            .unwrap_or(super::DEFAULT_TIMEOUT_US);
        let message = format!(
            "PipelineRun {:?} failed to finish within {:?}",
            name(&self.seen.run),
            go_duration(within)
        );
        self.show(facts);
        self.end("PipelineRunTimeout", &message);
    }

    fn end(&mut self, reason: &str, message: &str) {
        condition::set(&mut self.status, Truth::False, reason, message, self.now_us);
        object_mut(&mut self.status).insert("completionTime".into(), json!(rfc3339(self.now_us)));
    }

    /// Asks children to stop; those that were asked are left alone.
    pub(super) fn cancel_children(&mut self, children: &[Value], why: &str) {
        for child in children {
            let kind = text(child, "kind");
            let (word, what) = match kind {
                "TaskRun" => ("TaskRunCancelled", "TaskRun"),
                "CustomRun" => ("RunCancelled", "CustomRun"),
                _ => ("Cancelled", "PipelineRun"),
            };
            if text(&child["spec"], "status") == word {
                continue;
            }
            let message = format!(
                "{what} cancelled as the PipelineRun it belongs to has {} {why}.",
                if why == "cancelled" { "been" } else { "" }
            )
            .replace("has  ", "has ");
            let mut body = vec![json!({"op": "add", "path": "/spec/status", "value": word})];
            if kind != "PipelineRun" {
                body.push(json!({"op": "add", "path": "/spec/statusMessage", "value": message}));
            }
            self.decision.patches.push(ChildPatch {
                key: Key::new(kind, namespace(child), name(child)),
                kind: PatchKind::Json,
                body: Value::Array(body),
            });
        }
    }
}
