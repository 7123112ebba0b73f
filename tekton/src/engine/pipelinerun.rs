//! Deciding for a PipelineRun.
//!
//! One pass: resolve the pipeline and its tasks, look at the children ([`facts`]), end early where the run says so
//! ([`ending`]), create what can start ([`children`]), and derive the condition from the counts.

mod children;
mod ending;
mod facts;
mod resolve;
mod results;

use serde_json::{Value, json};

use crate::api::config::TenantConfig;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{Decision, Event, Installation, Need, Observed, Outcome};
use crate::engine::doc::{is_empty, list, name, object_mut, text};
use crate::engine::time::{duration, parse, rfc3339};
use facts::Facts;

const DEFAULT_TIMEOUT_US: i64 = 3_600_000_000;

/// Decides what to write for the PipelineRun in `seen`.
pub fn decide(seen: &Observed, _config: &TenantConfig, _installation: &Installation, now_us: i64) -> Outcome {
    let mut pass = Pass { seen, now_us, status: seen.run["status"].clone(), decision: Decision::default() };
    match pass.run() {
        Ok(()) => pass.finish(),
        Err(need) => Outcome::Need([need].into()),
    }
}

/// One look at one run.
struct Pass<'a> {
    seen: &'a Observed,
    now_us: i64,
    status: Value,
    decision: Decision,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<(), Need> {
        let run = &self.seen.run;
        let managed_by = text(&run["spec"], "managedBy");
        if condition::is_done(&self.status) || !(managed_by.is_empty() || managed_by == "tekton.dev/pipeline")
        {
            return Ok(());
        }
        let pending = text(&run["spec"], "status") == "PipelineRunPending";
        if !pending {
            self.begin();
        } else if condition::succeeded(&self.status).is_null() {
            self.event("Normal", "Started", "");
        }
        let Some(pipeline) = self.pipeline()? else { return Ok(()) };
        if pending {
            let message = format!("PipelineRun {:?} is pending", name(run));
            condition::set(&mut self.status, Truth::Unknown, "PipelineRunPending", &message, self.now_us);
            self.decision.waits_for = Some("spec.status PipelineRunPending to be removed".into());
            return Ok(());
        }
        if text(&run["spec"], "status") == "Cancelled" {
            self.cancel(&pipeline);
            return Ok(());
        }
        let Some(spec) = self.prepared(&pipeline)? else { return Ok(()) };
        self.tasks_exist(&spec)?;
        if condition::is_done(&self.status) {
            return Ok(());
        }
        self.advance(&spec);
        Ok(())
    }

    fn begin(&mut self) {
        if is_empty(&self.status, "startTime") {
            let created = parse(text(&self.seen.run["metadata"], "creationTimestamp")).unwrap_or(i64::MIN);
            object_mut(&mut self.status).insert("startTime".into(), json!(rfc3339(self.now_us.max(created))));
            condition::set(&mut self.status, Truth::Unknown, "Started", "", self.now_us);
            self.event("Normal", "Started", "");
        }
    }

    /// Moves the run on: starts what can start, and says where it stands.
    fn advance(&mut self, spec: &Value) {
        object_mut(&mut self.status).insert("pipelineSpec".into(), spec.clone());
        let status = self.status.clone();
        let mut facts = Facts::new(self.seen, spec, &status, self.now_us);
        if facts.timed_out_as_a_whole() {
            self.time_out(&facts);
            return;
        }
        if facts.gracefully_cancelled() {
            self.cancel_children(&facts.running_dag(), "cancelled");
        } else if facts.tasks_timed_out() {
            self.cancel_children(&facts.running_dag(), "timed out");
        } else if facts.finally_timed_out() {
            self.cancel_children(&facts.running_finally(), "timed out");
        }
        let mut ready = facts.runnable();
        if facts.dag_done() && facts.has_finally() {
            if is_empty(&self.status, "finallyStartTime") && !facts.runnable_finally().is_empty() {
                object_mut(&mut self.status).insert("finallyStartTime".into(), json!(rfc3339(self.now_us)));
            }
            ready.extend(facts.runnable_finally());
        }
        for task in ready {
            if let Some(child) = self.child(&facts, &task) {
                facts.scheduled(&task, &child);
                self.decision.creates.push(child);
            }
            if condition::is_done(&self.status) {
                return;
            }
        }
        self.show(&facts);
        self.conclude(&facts, spec);
    }

    /// Children and skipped tasks, as the status lists them.
    fn show(&mut self, facts: &Facts) {
        let children = facts.child_references(list(&self.status, "childReferences"));
        if !children.is_empty() {
            object_mut(&mut self.status).insert("childReferences".into(), Value::Array(children));
        }
        let skipped = facts.skipped_list();
        if skipped.is_empty() {
            object_mut(&mut self.status).remove("skippedTasks");
        } else {
            object_mut(&mut self.status).insert("skippedTasks".into(), Value::Array(skipped));
        }
    }

    fn conclude(&mut self, facts: &Facts, spec: &Value) {
        let (truth, reason, message) = facts.condition();
        if truth == Truth::Unknown {
            condition::set(&mut self.status, truth, reason, &message, self.now_us);
            self.decision.waits_for = Some(facts.waits_for());
            return;
        }
        let found = results::of_pipeline(spec, facts);
        match found {
            Ok(results) => {
                if !results.is_empty() {
                    object_mut(&mut self.status).insert("results".into(), Value::Array(results));
                }
                condition::set(&mut self.status, truth, reason, &message, self.now_us);
            }
            Err(missing) if truth == Truth::True => {
                let message = format!(
                    "Failed to get PipelineResult from TaskRun Results for PipelineRun {}: invalid pipelineresults [{}], the referenced results don't exist",
                    name(&self.seen.run),
                    missing.join(" ")
                );
                condition::set(
                    &mut self.status,
                    Truth::False,
                    "CouldntGetPipelineResult",
                    &message,
                    self.now_us,
                );
            }
            Err(_) => condition::set(&mut self.status, truth, reason, &message, self.now_us),
        }
        object_mut(&mut self.status).insert("completionTime".into(), json!(rfc3339(self.now_us)));
    }

    fn fail(&mut self, reason: &str, message: &str, error: &str) {
        condition::set(&mut self.status, Truth::False, reason, message, self.now_us);
        object_mut(&mut self.status).insert("completionTime".into(), json!(rfc3339(self.now_us)));
        self.decision.errors.push(error.to_owned());
    }

    fn event(&mut self, kind: &'static str, reason: &str, message: &str) {
        self.decision.events.push(Event { kind, reason: reason.into(), message: message.into() });
    }

    fn finish(mut self) -> Outcome {
        if !condition::is_done(&self.status) && !is_empty(&self.status, "startTime") {
            self.decision.requeue_after_us = self.wake_after();
        }
        let (before, after) =
            (condition::succeeded(&self.seen.run["status"]), condition::succeeded(&self.status).clone());
        let same = ["status", "reason", "message"].iter().all(|key| text(before, key) == text(&after, key));
        if !same && !matches!(text(&after, "reason"), "Started" | "PipelineRunPending") {
            let (reason, message) = (text(&after, "reason").to_owned(), text(&after, "message").to_owned());
            match text(&after, "status") {
                "True" => self.event("Normal", "Succeeded", &message),
                "False" => self.event("Warning", "Failed", &message),
                _ => self.event("Normal", &reason, &message),
            }
        }
        for error in self.decision.errors.clone() {
            self.event("Warning", "InternalError", &error);
        }
        if self.status != self.seen.run["status"] {
            self.decision.status = Some(self.status);
        }
        Outcome::Decision(Box::new(self.decision))
    }

    /// Until the next timeout: that of the tasks, of the run as a whole, or of the finally tasks.
    fn wake_after(&self) -> Option<i64> {
        let timeouts = &self.seen.run["spec"]["timeouts"];
        let whole = duration(text(timeouts, "pipeline")).unwrap_or(DEFAULT_TIMEOUT_US);
        let start = parse(text(&self.status, "startTime"))?;
        let elapsed = self.now_us - start;
        let tasks = duration(text(timeouts, "tasks")).filter(|t| *t > 0);
        let finally_start = parse(text(&self.status, "finallyStartTime"));
        let mut left = Vec::new();
        if whole > 0 {
            left.push(whole - elapsed);
        }
        if let (Some(tasks), None) = (tasks, finally_start) {
            left.push(tasks - elapsed);
        }
        if let (Some(limit), Some(begun)) =
            (duration(text(timeouts, "finally")).filter(|t| *t > 0), finally_start)
        {
            left.push(begun + limit - self.now_us);
        }
        left.into_iter().filter(|l| *l > 0).min()
    }
}
