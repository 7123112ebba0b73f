//! A Pod that could not be made.

use super::Pass;
use crate::engine::condition::{self, Truth};
use crate::engine::doc::{name, namespace, object_mut, text};

/// How long until a Pod is tried again that a quota does not let in, µs.
const QUOTA_AGAIN_US: i64 = 60_000_000;
/// The same when the quota itself was being written, µs.
const CONFLICT_AGAIN_US: i64 = 1_000_000;

impl Pass<'_> {
    /// The Pod was refused; `reason` is that of the answer, `message` its text.
    pub(super) fn refused(&mut self, reason: &str, message: &str) {
        let forbidden = reason == "Forbidden";
        if reason == "QuotaConflict" {
            let message = "tried to create pod, but it failed with ResourceQuotaConflictError";
            self.try_again("Pending", message, CONFLICT_AGAIN_US);
        } else if forbidden && message.contains("exceeded quota") {
            let message = format!("TaskRun Pod exceeded available resources: {message}");
            self.try_again("ExceededResourceQuota", &message, QUOTA_AGAIN_US);
        } else if message.contains("TaskRun validation failed") {
            self.set_failed("TaskRunValidationFailed", message);
            self.decision.errors.push(message.to_owned());
        } else if reason == "AlreadyExists" {
            let waits = "tried to create pod, but it already exists";
            condition::set(&mut self.status, Truth::Unknown, "Pending", waits, self.now_us);
            self.decision.waits_for = Some("a Pod of the same name to go".into());
            self.decision.errors.push(message.to_owned());
        } else if forbidden
            && ["violates PodSecurity", "security context constraint"].iter().any(|w| message.contains(w))
        {
            self.set_failed("PodAdmissionFailed", message);
            self.decision.errors.push(message.to_owned());
        } else {
            self.no_pod(message);
        }
    }

    /// There is no Pod, and there will be none.
    pub(super) fn no_pod(&mut self, why: &str) {
        let run = &self.seen.run;
        let culprit = if run["spec"]["taskRef"].is_null() {
            "invalid TaskSpec".to_owned()
        } else {
            let task = text(&run["spec"]["taskRef"], "name");
            format!("missing or invalid Task {}/{task}", namespace(run))
        };
        let message = format!("failed to create task run pod {:?}: {why}. Maybe {culprit}", name(run));
        self.set_failed("PodCreationFailed", &message);
        self.decision.errors.push(message);
    }

    /// What could not begin has not begun.
    fn try_again(&mut self, reason: &str, message: &str, after_us: i64) {
        condition::set(&mut self.status, Truth::Unknown, reason, message, self.now_us);
        object_mut(&mut self.status).remove("startTime");
        self.decision.requeue_after_us = Some(after_us);
        self.decision.waits_for = Some("a quota".into());
    }
}
