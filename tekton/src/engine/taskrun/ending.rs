//! How a TaskRun ends before its steps do, and how it is tried again.

use serde_json::{Value, json};

use super::Pass;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{ChildPatch, Key, PatchKind};
use crate::engine::doc::{list, list_mut, name, namespace, object_mut, text};
use crate::engine::params::as_text;
use crate::engine::time::{duration, go_duration, parse, rfc3339};

/// Largest result that is told apart, unless a setting says otherwise, bytes.
const RESULT_MAX: usize = 4096;

impl Pass<'_> {
    pub(super) fn cancel(&mut self) {
        let run = &self.seen.run;
        let message =
            format!("TaskRun {:?} was cancelled. {}", name(run), text(&run["spec"], "statusMessage"));
        let message = self.with_previous(message);
        self.end_early("TaskRunCancelled", &message);
    }

    pub(super) fn time_out(&mut self) {
        let within = go_duration(self.timeout_us());
        let message = format!("TaskRun {:?} failed to finish within {within:?}", name(&self.seen.run));
        let message = self.with_previous(message);
        self.end_early("TaskRunTimeout", &message);
    }

    /// A run that ends while something held it up says what did.
    fn with_previous(&self, message: String) -> String {
        let before = condition::succeeded(&self.status);
        match text(before, "reason") {
            "" | "Started" | "Running" => message,
            reason => format!("{message}\nPrevious status: [{reason}] {}", text(before, "message")),
        }
    }

    /// Why the run must end because a container cannot start, as the status of the run tells: reason and message.
    /// `Err` says how long there is still hope, µs.
    pub(super) fn stuck(&self, pod: Option<&Value>) -> Option<Result<(&'static str, String), i64>> {
        let run = name(&self.seen.run);
        let states = [("step", "steps"), ("sidecar", "sidecars")];
        let states =
            states.iter().flat_map(|(what, part)| list(&self.status, part).iter().map(move |s| (what, s)));
        for (what, state) in states {
            let (waiting, short) = (&state["waiting"], text(state, "name"));
            let (image, why) = (text(state, "imageID"), text(waiting, "message"));
            let unpullable = format!(
                "the {what} {short:?} in TaskRun {run:?} failed to pull the image {image:?}. The pod errored with the message: \"{why}.\""
            );
            let unstartable = format!(
                "the {what} {short:?} in TaskRun {run:?} failed to start. The pod errored with the message: \"{why}.\""
            );
            let (setting, hopeful, ending) = match text(waiting, "reason") {
                "ImagePullBackOff" => {
                    ("default-imagepullbackoff-timeout", true, ("TaskRunImagePullFailed", unpullable))
                }
                "InvalidImageName" => ("", false, ("TaskRunImagePullFailed", unpullable)),
                "CreateContainerError" | "CreateContainerConfigError" => {
                    let hopeful = why.contains("context deadline exceeded");
                    ("default-create-container-error-timeout", hopeful, ("PodCreationFailed", unstartable))
                }
                _ => continue,
            };
            return match self.grace_left_us(pod, setting).filter(|_| hopeful) {
                Some(left) => Some(Err(left)),
                None => Some(Ok(ending)),
            };
        }
        None
    }

    /// What is left of the time that a setting gives a Pod since it could start containers; none when it is over.
    pub(super) fn grace_left_us(&self, pod: Option<&Value>, setting: &str) -> Option<i64> {
        let grace = duration(self.config.config_defaults.get(setting)?)?;
        let conditions = list(&pod?["status"], "conditions").iter();
        conditions
            .filter(|c| matches!(text(c, "type"), "Initialized" | "PodReadyToStartContainers"))
            .filter_map(|c| parse(text(c, "lastTransitionTime")))
            .map(|since| since + grace - self.now_us)
            .find(|left| *left > 0)
    }

    /// Results that are told apart may each be so large, and no larger.
    pub(super) fn check_sizes(&mut self) {
        let max = self.config.feature_flags.get("max-result-size").and_then(|max| max.parse().ok());
        let max: usize = max.unwrap_or(RESULT_MAX);
        let of_steps = list(&self.status, "steps").iter().flat_map(|step| list(step, "results"));
        let mut all = list(&self.status, "results").iter().chain(of_steps);
        if all.any(|result| as_text(&result["value"]).len() > max) {
            let run = name(&self.seen.run);
            let message = format!("TaskRun {run:?} failed: results exceeded size limit {max} bytes");
            object_mut(&mut self.status).remove("results");
            self.end_early("TaskRunResultLargerThanAllowedLimit", &message);
        }
    }

    /// Ends the run before its Pod has: the Pod goes, or is told to.
    pub(super) fn end_early(&mut self, reason: &str, message: &str) {
        let keep =
            self.flag("keep-pod-on-cancel", false) && matches!(reason, "TaskRunCancelled" | "TaskRunTimeout");
        if let Some(pod) = self.pod().cloned() {
            let key = Key::new("Pod", namespace(&pod), name(&pod));
            if keep {
                let body = json!([{"op": "replace", "path": "/metadata/annotations/tekton.dev~1cancel", "value": "CANCEL"}]);
                self.decision.patches.push(ChildPatch { key, kind: PatchKind::Json, body });
            } else {
                self.decision.deletes.push(key);
            }
        }
        // Also where somebody else has removed the Pod.
        let pod = text(&self.status, "podName").to_owned();
        if !pod.is_empty() {
            self.terminate_steps(reason, &pod);
        }
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
        let since = self.status["startTime"].clone();
        for step in list_mut(&mut self.status, "steps") {
            let started = match (&step["running"], &step["waiting"]) {
                (Value::Object(running), _) => {
                    running.get("startedAt").cloned().unwrap_or_else(|| since.clone())
                }
                (_, Value::Object(_)) => since.clone(),
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
        if !failed || cancelled || self.for_good || self.retries_used() >= retries {
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
        self.decision.also_after_us = Some(0);
        self.decision.waits_for = Some("its next attempt".into());
    }
}
