//! How a TaskRun ends before its steps do, and how it is tried again.

use serde_json::{Value, json};

use super::Pass;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{ChildPatch, Key, PatchKind};
use crate::engine::doc::{list, list_mut, name, namespace, object_mut, text};
use crate::engine::time::{go_duration, rfc3339};

impl Pass<'_> {
    pub(super) fn cancel(&mut self) {
        let run = &self.seen.run;
        let message =
            format!("TaskRun {:?} was cancelled. {}", name(run), text(&run["spec"], "statusMessage"));
        self.end_early("TaskRunCancelled", &message, true);
    }

    pub(super) fn time_out(&mut self) {
        let within = go_duration(self.timeout_us());
        let message = format!("TaskRun {:?} failed to finish within {within:?}", name(&self.seen.run));
        self.end_early("TaskRunTimeout", &message, false);
    }

    /// Images that cannot be pulled and containers that cannot be created end the run.
    pub(super) fn pull_failed(&mut self, pod: &Value) -> bool {
        let statuses = list(&pod["status"], "initContainerStatuses").iter();
        for container in statuses.chain(list(&pod["status"], "containerStatuses")) {
            let (waiting, full) = (&container["state"]["waiting"], text(container, "name"));
            let (what, short) = match full.split_once('-') {
                Some((what @ ("step" | "sidecar"), short)) => (what, short),
                _ => ("init container", full),
            };
            let (run, image, why) =
                (name(&self.seen.run), text(container, "imageID"), text(waiting, "message"));
            let (reason, message) = match text(waiting, "reason") {
                "ImagePullBackOff" => (
                    "TaskRunImagePullFailed",
                    format!(
                        "the {what} {short:?} in TaskRun {run:?} failed to pull the image {image:?}. The pod errored with the message: \"{why}.\""
                    ),
                ),
                "InvalidImageName" => (
                    "TaskRunImagePullFailed",
                    format!(
                        "the {what} {short:?} in TaskRun {run:?} failed to pull the image {image:?}. The pod errored with the message: \"{why}.\""
                    ),
                ),
                "CreateContainerConfigError" | "CreateContainerError" => {
                    ("CreateContainerConfigError", format!("failed to create container {full:?}: {why}"))
                }
                _ => continue,
            };
            self.end_early(reason, &message, false);
            return true;
        }
        false
    }

    fn end_early(&mut self, reason: &str, message: &str, for_good: bool) {
        let pod = self.pod().cloned();
        let keep =
            self.flag("keep-pod-on-cancel", false) && matches!(reason, "TaskRunCancelled" | "TaskRunTimeout");
        if let Some(pod) = &pod {
            let key = Key::new("Pod", namespace(pod), name(pod));
            if keep {
                let body = json!({"metadata": {"annotations": {"tekton.dev/cancel": "CANCEL"}}});
                self.decision.patches.push(ChildPatch { key, kind: PatchKind::Merge, body });
            } else {
                self.decision.deletes.push(key);
            }
            self.terminate_steps(reason, name(pod));
        }
        self.set_failed(reason, message);
        if !for_good {
            self.conclude();
        }
    }

    /// Fails the run without looking at retries: nothing was tried.
    pub(super) fn fail(&mut self, reason: &str, message: &str) {
        self.set_failed(reason, message);
    }

    pub(super) fn set_failed(&mut self, reason: &str, message: &str) {
        condition::set(&mut self.status, Truth::False, reason, message, self.now_us);
        let now = json!(rfc3339(self.now_us));
        object_mut(&mut self.status).insert("completionTime".into(), now);
    }

    /// Steps that have not ended are shown as ended with the run.
    pub(super) fn terminate_steps(&mut self, reason: &str, pod: &str) {
        let now = rfc3339(self.now_us);
        if list(&self.status, "steps").is_empty() {
            return;
        }
        for step in list_mut(&mut self.status, "steps") {
            let started = match (&step["running"], &step["waiting"]) {
                (Value::Object(running), _) => running.get("startedAt").cloned().unwrap_or(json!(now)),
                (_, Value::Object(_)) => json!(now),
                _ => continue,
            };
            let message = format!("Step {} terminated as pod {pod} is terminated", text(step, "name"));
            let map = object_mut(step);
            map.remove("running");
            map.remove("waiting");
            map.insert(
                "terminated".into(),
                json!({"exitCode": 1, "reason": reason, "message": message, "startedAt": started, "finishedAt": now}),
            );
            map.insert("terminationReason".into(), json!(reason));
        }
    }

    /// After a failure: archives the attempt and begins the next one, if there are retries left.
    pub(super) fn conclude(&mut self) {
        let retries = self.seen.run["spec"]["retries"].as_u64().unwrap_or(0) as usize;
        let failed = text(condition::succeeded(&self.status), "status") == "False";
        let cancelled = text(&self.seen.run["spec"], "status") == "TaskRunCancelled";
        if !failed || cancelled || self.retries_used() >= retries {
            return;
        }
        let message = text(condition::succeeded(&self.status), "message").to_owned();
        let mut archived = self.status.clone();
        let archive = object_mut(&mut archived).remove("retriesStatus").unwrap_or_else(|| json!([]));
        let map = object_mut(&mut self.status);
        for gone in ["startTime", "completionTime", "podName", "results", "taskSpec"] {
            map.remove(gone);
        }
        map.insert("retriesStatus".into(), archive);
        list_mut(&mut self.status, "retriesStatus").push(archived);
        condition::set(&mut self.status, Truth::Unknown, "ToBeRetried", &message, self.now_us);
        self.decision.requeue_after_us = Some(0);
        self.decision.waits_for = Some("its next attempt".into());
    }
}
