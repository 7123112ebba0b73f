//! Deciding for a TaskRun.
//!
//! ```text
//! (no condition) -> Started -> pod created -> Pending -> Running -> Succeeded | Failed...
//!                      \-> pending (spec.status) ...   \-> cancelled, timed out
//! a failed attempt with retries left: archived, ToBeRetried, a new Pod
//! ```

mod ending;
mod resolve;

use serde_json::{Value, json};

use crate::api::config::TenantConfig;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{
    ChildPatch, Decision, Event, Installation, Key, MetadataUpdate, Observed, Outcome, PatchKind,
};
use crate::engine::doc::{is_empty, list, name, namespace, object_mut, strings, text, uid};
use crate::engine::pod::{self, Flags, Inputs, Refused};
use crate::engine::status;
use crate::engine::time::{duration, parse, rfc3339};

const DEFAULT_TIMEOUT_US: i64 = 3_600_000_000;

/// Decides what to write for the TaskRun in `seen`.
pub fn decide(seen: &Observed, config: &TenantConfig, installation: &Installation, now_us: i64) -> Outcome {
    let mut pass = Pass {
        seen,
        config,
        installation,
        now_us,
        status: seen.run["status"].clone(),
        decision: Decision::default(),
    };
    match pass.run() {
        Ok(()) => pass.finish(),
        Err(Stop::Need(need)) => Outcome::Need([need].into()),
    }
}

/// Leaves a pass early.
enum Stop {
    /// Something must be read first.
    Need(crate::engine::decide::Need),
}

/// One look at one run.
struct Pass<'a> {
    seen: &'a Observed,
    config: &'a TenantConfig,
    installation: &'a Installation,
    now_us: i64,
    status: Value,
    decision: Decision,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        let run = &self.seen.run;
        let managed_by = text(&run["spec"], "managedBy");
        if condition::is_done(&self.status) || !(managed_by.is_empty() || managed_by == "tekton.dev/pipeline")
        {
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
            return Ok(());
        }
        if self.timed_out() {
            self.time_out();
            return Ok(());
        }
        if let Some(pod) = self.pod().cloned()
            && self.pull_failed(&pod)
        {
            return Ok(());
        }
        let Some((spec, task)) = self.task()? else { return Ok(()) };
        match self.pod().cloned() {
            Some(pod) => self.follow(&pod, &spec),
            None => self.start(&spec, &task)?,
        }
        Ok(())
    }

    /// First sight of the run, or of its next attempt.
    fn begin(&mut self) {
        if is_empty(&self.status, "startTime") {
            let created = parse(text(&self.seen.run["metadata"], "creationTimestamp")).unwrap_or(i64::MIN);
            // A clock that runs behind must not let a run start before it was made.
            object_mut(&mut self.status).insert("startTime".into(), json!(rfc3339(self.now_us.max(created))));
            condition::set(&mut self.status, Truth::Unknown, "Started", "", self.now_us);
            self.event("Normal", "Started", "");
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

    fn start(&mut self, spec: &Value, task: &resolve::Task) -> Result<(), Stop> {
        if let Some((reason, message)) = self.seen.pod_refused.clone() {
            self.fail(&reason, &message);
            return Ok(());
        }
        let run = with_metadata(&self.seen.run, self.decision.metadata.as_ref());
        let retry = self.retries_used();
        let inputs = Inputs {
            run: &run,
            spec,
            name: pod::pod_name(&run, retry),
            flags: Flags {
                await_sidecars: self.flag("await-sidecar-readiness", true),
                injected_sidecars: self.flag("running-in-environment-with-injected-sidecars", true),
                no_creds_init: self.flag("disable-creds-init", false),
                keep_pod: self.flag("keep-pod-on-cancel", false),
            },
            images: &self.seen.images,
            installation: self.installation,
        };
        match pod::build(&inputs) {
            Ok(new) => {
                self.decision.creates.push(new);
                object_mut(&mut self.status).insert("podName".into(), json!(inputs.name));
                object_mut(&mut self.status).insert("taskSpec".into(), task.shown.clone());
                let bare = json!({"metadata": {"name": inputs.name}, "status": {"phase": "Running"}});
                status::derive(&mut self.status, &bare, spec, false, self.now_us);
                self.decision.waits_for = Some("its Pod to report".into());
                Ok(())
            }
            Err(Refused::Image(image)) => Err(Stop::Need(crate::engine::decide::Need::Image(image))),
            Err(Refused::User(message)) => {
                self.fail("TaskRunValidationFailed", &format!("[User error] {message}"));
                self.decision.errors.push(message);
                Ok(())
            }
            Err(Refused::Build(message)) => {
                let head =
                    format!("failed to create task run pod {:?}: translating TaskSpec to Pod", name(&run));
                let message = format!("{head}: {message}. Maybe invalid TaskSpec");
                self.fail("PodCreationFailed", &message);
                self.decision.errors.push(message);
                Ok(())
            }
        }
    }

    /// Takes over what the Pod says.
    fn follow(&mut self, pod: &Value, spec: &Value) {
        if self.seen.lost.contains(uid(pod)) {
            let message = format!(
                "the machine of pod {:?} was lost after its steps had started; they are not run again on their own",
                name(pod)
            );
            self.terminate_steps("Failed", name(pod));
            self.fail("Failed", &message);
            return;
        }
        self.announce_sidecars(pod);
        let ignore =
            text(&self.seen.run["metadata"]["annotations"], "pipeline.tekton.dev/pipeline-task-on-error")
                == "continue";
        let derived = status::derive(&mut self.status, pod, spec, ignore, self.now_us);
        if let Some(misfit) = derived.misfit {
            self.set_failed("TaskRunValidationFailed", &format!("[User error] {misfit}"));
            self.decision.errors.push(misfit);
        }
        if !derived.done {
            self.decision.waits_for = Some("its steps to end".into());
        }
        self.conclude();
    }

    /// The first step waits for the annotation that says that all sidecars are ready.
    fn announce_sidecars(&mut self, pod: &Value) {
        let annotations = &pod["metadata"]["annotations"];
        let waits =
            list(&pod["spec"], "volumes").iter().any(|v| text(v, "name") == "tekton-internal-downward");
        if !waits
            || text(annotations, "tekton.dev/ready") == "READY"
            || text(&pod["status"], "phase") != "Running"
        {
            return;
        }
        let ready = list(&pod["status"], "containerStatuses")
            .iter()
            .filter(|c| !text(c, "name").starts_with("step-"))
            .all(|c| c["ready"] == true || !c["state"]["terminated"].is_null());
        if ready {
            self.decision.patches.push(ChildPatch {
                key: Key::new("Pod", namespace(pod), name(pod)),
                kind: PatchKind::Json,
                body: json!([{"op": "replace", "path": "/metadata/annotations/tekton.dev~1ready", "value": "READY"}]),
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
            if timeout != 0 {
                self.decision.requeue_after_us = Some((start + timeout - self.now_us).max(0));
            }
        }
        self.announce();
        if self.status != self.seen.run["status"] {
            self.decision.status = Some(self.status);
        }
        Outcome::Decision(Box::new(self.decision))
    }

    /// The event that tells a change of the condition.
    fn announce(&mut self) {
        let (before, after) =
            (condition::succeeded(&self.seen.run["status"]), condition::succeeded(&self.status).clone());
        let same = ["status", "reason", "message"].iter().all(|key| text(before, key) == text(&after, key));
        if same || text(&after, "reason") == "Started" || text(&after, "reason") == "TaskRunPending" {
            return;
        }
        let (reason, message) = (text(&after, "reason").to_owned(), text(&after, "message").to_owned());
        match text(&after, "status") {
            "True" => self.event("Normal", "Succeeded", &message),
            "False" => self.event("Warning", "Failed", &message),
            _ => self.event("Normal", &reason, &message),
        }
        for error in self.decision.errors.clone() {
            self.event("Warning", "InternalError", &error);
        }
    }
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
