//! Deciding for a TaskRun.
//!
//! ```text
//! (no condition) -> Started -> pod created -> Pending -> Running -> Succeeded | Failed...
//!                      \-> pending (spec.status) ...   \-> cancelled, timed out
//! a failed attempt with retries left: archived, ToBeRetried, a new Pod
//! ```

mod done;
mod ending;
mod refused;
mod resolve;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::config::TenantConfig;
use crate::engine::claims;
use crate::engine::cloudevents;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{
    ChildPatch, Decision, Event, Installation, Key, MetadataUpdate, Need, Observed, Outcome, PatchKind,
};
use crate::engine::doc::{is_empty, list, name, namespace, object_mut, strings, text, uid};
use crate::engine::pod::{self, Flags, Inputs, Refused};
use crate::engine::status::{self, Told};
use crate::engine::substitution::Replacements;
use crate::engine::time::{duration, parse, rfc3339};

const DEFAULT_TIMEOUT_US: i64 = 3_600_000_000;

/// The annotation of a Pod that its first step waits for.
pub const READY: (&str, &str) = ("tekton.dev/ready", "READY");

/// No sidecar of a Pod with this status has yet to become ready.
pub fn sidecars_ready(status: &Value) -> bool {
    list(status, "containerStatuses").iter().filter(|c| !text(c, "name").starts_with("step-")).all(|c| {
        let runs = c["ready"] == true && !c["state"]["running"].is_null();
        runs || !c["state"]["terminated"].is_null()
    })
}

/// Decides what to write for the TaskRun in `seen`.
pub fn decide(seen: &Observed, config: &TenantConfig, installation: &Installation, now_us: i64) -> Outcome {
    let mut pass = Pass {
        seen,
        config,
        installation,
        now_us,
        status: seen.run["status"].clone(),
        decision: Decision::default(),
        before: condition::succeeded(&seen.run["status"]).clone(),
        for_good: false,
        started: None,
    };
    match pass.run() {
        Ok(()) => pass.finish(),
        Err(Stop::Need(needs)) => Outcome::Need(needs),
    }
}

/// Leaves a pass early.
enum Stop {
    /// These must be read first.
    Need(BTreeSet<Need>),
}

/// One look at one run.
struct Pass<'a> {
    seen: &'a Observed,
    config: &'a TenantConfig,
    installation: &'a Installation,
    now_us: i64,
    status: Value,
    decision: Decision,
    /// The condition against which a change is announced.
    before: Value,
    /// The run has failed for good, whatever retries are left.
    for_good: bool,
    /// The status in which the run had only started, if it has in this pass.
    started: Option<Value>,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        let run = &self.seen.run;
        let managed_by = text(&run["spec"], "managedBy");
        if !(managed_by.is_empty() || managed_by == "tekton.dev/pipeline") {
            return Ok(());
        }
        if condition::is_done(&self.status) {
            self.stop_sidecars();
            return Ok(());
        }
        let spec_status = text(&run["spec"], "status");
        if spec_status == "TaskRunPending" && is_empty(&self.status, "startTime") {
            let message = format!("TaskRun {:?} is pending", name(run));
            condition::set(&mut self.status, Truth::Unknown, "TaskRunPending", &message, self.now_us);
            self.decision.waits_for = Some("spec.status TaskRunPending to be removed".into());
            return Ok(());
        }
        self.begin();
        if spec_status == "TaskRunCancelled" {
            self.cancel();
        } else if self.timed_out() {
            self.time_out();
        } else if let Some(Ok((reason, message))) = self.stuck(self.pod()) {
            self.end_early(reason, &message);
        } else if let Some(task) = self.task()? {
            match self.pod().cloned() {
                Some(pod) => self.follow(&pod, &task.shown),
                None => self.start(&task)?,
            }
        }
        self.conclude();
        Ok(())
    }

    /// First sight of the run, or of its next attempt.
    fn begin(&mut self) {
        if is_empty(&self.status, "startTime") {
            let created = parse(text(&self.seen.run["metadata"], "creationTimestamp")).unwrap_or(i64::MIN);
            // A clock that runs behind must not let a run start before it was made.
            object_mut(&mut self.status).insert("startTime".into(), json!(rfc3339(self.now_us.max(created))));
            condition::set(&mut self.status, Truth::Unknown, "Started", "", self.now_us);
            self.before = condition::succeeded(&self.status).clone();
            self.event("Normal", "Started", "");
            self.started = Some(self.status.clone());
        }
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.config.feature_flags.get(name).map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }

    fn retries_used(&self) -> usize {
        list(&self.status, "retriesStatus").len()
    }

    /// The Pod of the current attempt.
    fn pod(&self) -> Option<&Value> {
        let wanted = pod::pod_name(&self.seen.run, self.retries_used());
        let mut pods = self.seen.owned.iter().filter(|o| text(o, "kind") == "Pod");
        pods.find(|p| name(p) == wanted && is_empty(&p["metadata"], "deletionTimestamp"))
    }

    fn timeout_us(&self) -> i64 {
        duration(text(&self.seen.run["spec"], "timeout")).unwrap_or(DEFAULT_TIMEOUT_US)
    }

    fn timed_out(&self) -> bool {
        let timeout = self.timeout_us();
        timeout != 0
            && parse(text(&self.status, "startTime")).is_some_and(|start| self.now_us - start >= timeout)
    }

    fn start(&mut self, task: &resolve::Task) -> Result<(), Stop> {
        let run = with_metadata(&self.seen.run, self.decision.metadata.as_ref());
        object_mut(&mut self.status).insert("taskSpec".into(), task.shown.clone());
        if let Some((reason, message)) = self.seen.pod_refused.clone() {
            self.refused(&reason, &message);
            return Ok(());
        }
        let run = with_template(run, task.replacements(&self.seen.run));
        let inputs = Inputs {
            run: &run,
            spec: &task.mounted(),
            name: pod::pod_name(&run, self.retries_used()),
            flags: Flags::of(self.config, self.installation),
            objects: &self.seen.objects,
            limit_ranges: self.seen.limit_ranges.as_deref(),
            images: &self.seen.images,
            installation: self.installation,
        };
        match pod::build(&inputs) {
            Ok(built) => {
                self.claim(&run);
                self.warn(&run, &built, &inputs.name);
                self.decision.creates.push(built.pod);
                object_mut(&mut self.status).insert("podName".into(), json!(inputs.name));
                // Those of an earlier attempt are gone.
                object_mut(&mut self.status).remove("sidecars");
                condition::set(
                    &mut self.status,
                    Truth::Unknown,
                    "Running",
                    status::MESSAGE_RUNNING,
                    self.now_us,
                );
                self.decision.waits_for = Some("its Pod to report".into());
            }
            Err(Refused::Need(needs)) => return Err(Stop::Need(needs)),
            Err(Refused::Invalid(message)) => {
                let message = format!("translating TaskSpec to Pod: {message}");
                self.set_failed("TaskRunValidationFailed", &message);
                self.decision.errors.push(message);
            }
            Err(Refused::Build(message)) => {
                self.no_pod(&format!("translating TaskSpec to Pod: {message}"));
            }
        }
        Ok(())
    }

    /// The claims that are made for the run, unless they are there.
    fn claim(&mut self, run: &Value) {
        for binding in list(&run["spec"], "workspaces") {
            let template = &binding["volumeClaimTemplate"];
            if template.is_null() {
                continue;
            }
            let claim = claims::claim(template, text(binding, "name"), run);
            let there = |o: &Value| text(o, "kind") == "PersistentVolumeClaim" && name(o) == name(&claim);
            if !self.seen.owned.iter().any(there) {
                self.decision.creates.push(claim);
            }
        }
    }

    /// What is odd about a Pod that is made all the same.
    fn warn(&mut self, run: &Value, built: &pod::Built, pod: &str) {
        if !built.missing_secrets.is_empty() {
            let missing = built.missing_secrets.join(", ");
            let message = format!(
                "Unable to retrieve some secrets ({missing}); attempting to use them may not succeed."
            );
            self.event("Warning", "FailedToRetrieveSecret", &message);
        }
        let assistant = text(&run["metadata"]["annotations"], pod::AFFINITY_ASSISTANT);
        if !assistant.is_empty() && !is_empty(&run["spec"]["podTemplate"], "affinity") {
            let message =
                format!("Pod template affinity is overwritten by affinity assistant for pod {pod:?}");
            self.event("Warning", "PodAffinityOverwrite", &message);
        }
    }

    /// Takes over what the Pod says.
    fn follow(&mut self, pod: &Value, spec: &Value) {
        if let Some((reason, message)) = self.seen.lost.get(uid(pod)) {
            self.terminate_steps(reason, name(pod));
            self.set_failed(reason, message);
            self.for_good = true;
            return;
        }
        if status::exceeds_nodes(pod) {
            let message = format!("Insufficient resources to schedule pod {:?}", name(pod));
            self.event("Warning", "ExceededNodeResources", &message);
        }
        self.announce_sidecars(pod);
        let on_error =
            text(&self.seen.run["metadata"]["annotations"], "pipeline.tekton.dev/pipeline-task-on-error");
        let results_apart =
            self.config.feature_flags.get("results-from").is_some_and(|from| from == "sidecar-logs");
        let told = Told {
            results_apart,
            pod,
            spec,
            embedded: &self.seen.run["spec"]["taskSpec"],
            ignore_failure: on_error == "continue",
            hopeful: self.grace_left_us(Some(pod), "default-create-container-error-timeout").is_some(),
        };
        let derived = status::derive(&mut self.status, &told, self.now_us);
        if derived.errors.is_empty()
            && let Some(misfit) = derived.misfit
        {
            self.set_failed("TaskRunValidationFailed", &format!("[User error] {misfit}"));
            self.decision.errors.push(misfit);
        }
        if !derived.errors.is_empty() {
            self.decision.errors.push(derived.errors.join("\n"));
        }
        if condition::is_done(&self.status) {
            if results_apart {
                self.check_sizes();
            }
            let goes_on =
                |c: &Value| !text(c, "name").starts_with("step-") && !c["state"]["running"].is_null();
            if list(&pod["status"], "containerStatuses").iter().any(goes_on) {
                // Its sidecars are stopped by the next look.
                self.decision.also_after_us = Some(0);
            }
            return;
        }
        self.decision.waits_for = Some("its steps to end".into());
        self.decision.also_after_us = match self.stuck(Some(pod)) {
            None => None,
            Some(Ok(_)) => Some(0),
            Some(Err(left)) => Some(left),
        };
    }

    /// The first step waits for the annotation that says that all sidecars are ready.
    fn announce_sidecars(&mut self, pod: &Value) {
        let annotations = &pod["metadata"]["annotations"];
        let (key, value) = READY;
        if text(annotations, key) == value || text(&pod["status"], "phase") != "Running" {
            return;
        }
        if sidecars_ready(&pod["status"]) {
            self.decision.patches.push(ChildPatch {
                key: Key::new("Pod", namespace(pod), name(pod)),
                kind: PatchKind::Json,
                body: json!([{"op": "replace", "path": "/metadata/annotations/tekton.dev~1ready", "value": value}]),
            });
        }
    }

    fn event(&mut self, kind: &'static str, reason: &str, message: &str) {
        self.decision.events.push(Event { kind, reason: reason.into(), message: message.into() });
    }

    fn finish(mut self) -> Outcome {
        if !condition::is_done(&self.status) && !is_empty(&self.status, "startTime") {
            let timeout = self.timeout_us();
            let start = parse(text(&self.status, "startTime")).unwrap_or(self.now_us);
            if timeout != 0 && self.decision.requeue_after_us.is_none() {
                self.decision.requeue_after_us = Some((start + timeout - self.now_us).max(0));
            }
        }
        self.announce();
        if !self.decision.errors.is_empty() {
            let error = self.decision.errors.join("\n");
            self.event("Warning", "InternalError", &error);
        }
        self.keep_transition();
        if cloudevents::sink(self.config).is_some() {
            let run = with_metadata(&self.seen.run, self.decision.metadata.as_ref());
            let started = self.started.as_ref();
            self.decision.cloud_events = cloudevents::between(&run, started, &self.status, self.config);
        }
        if self.status != self.seen.run["status"] {
            self.decision.status = Some(self.status);
        }
        Outcome::Decision(Box::new(self.decision))
    }

    /// A condition that is again what it was when the pass began has not changed.
    fn keep_transition(&mut self) {
        let old = condition::succeeded(&self.seen.run["status"]);
        let new = condition::succeeded(&self.status);
        if ["status", "reason", "message"].into_iter().all(|key| text(old, key) == text(new, key))
            && let (false, Some(conditions)) = (old.is_null(), self.status["conditions"].as_array_mut())
            && let Some(new) = conditions.iter_mut().find(|c| text(c, "type") == "Succeeded")
        {
            *new = old.clone();
        }
    }

    /// The event that tells a change of the condition.
    fn announce(&mut self) {
        let after = condition::succeeded(&self.status).clone();
        let same = |key| text(&self.before, key) == text(&after, key);
        if ["status", "reason", "message"].into_iter().all(same) {
            return;
        }
        let (reason, message) = (text(&after, "reason").to_owned(), text(&after, "message").to_owned());
        match text(&after, "status") {
            "True" => self.event("Normal", "Succeeded", &message),
            "False" => self.event("Warning", "Failed", &message),
            _ if self.before.is_null() => self.event("Normal", "Started", ""),
            _ => self.event("Normal", &reason, &message),
        }
    }
}

/// `run` with the variables of its pod template replaced.
fn with_template(mut run: Value, replacements: Replacements) -> Value {
    if let Some(template) = run.pointer_mut("/spec/podTemplate") {
        replacements.document(template, &[]);
    }
    run
}

/// `run` with labels and annotations that this very pass sets.
fn with_metadata(run: &Value, update: Option<&MetadataUpdate>) -> Value {
    let mut run = run.clone();
    if let Some(update) = update {
        run["metadata"]["labels"] = json!(update.labels);
        run["metadata"]["annotations"] = json!(update.annotations);
    }
    run
}

/// Labels and annotations of a run together with those of the task that it refers to; the run's win.
fn merged_metadata(run: &Value, task: &Value, task_name: Option<&str>) -> Option<MetadataUpdate> {
    let mut update =
        MetadataUpdate { labels: strings(task, "labels"), annotations: strings(task, "annotations") };
    update.annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    update.annotations.retain(|key, _| !key.starts_with("chains.tekton.dev"));
    update.labels.extend(strings(run, "labels"));
    update.annotations.extend(strings(run, "annotations"));
    if let Some(task_name) = task_name {
        update.labels.insert("tekton.dev/task".into(), task_name.into());
    }
    let changed =
        update.labels != strings(run, "labels") || update.annotations != strings(run, "annotations");
    changed.then_some(update)
}

#[cfg(test)]
mod tests;
