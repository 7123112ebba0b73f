//! Deciding for a PipelineRun.
//!
//! One pass: find the pipeline ([`resolve`]), check that run and pipeline fit ([`check`]), substitute ([`apply`]),
//! find its tasks and their children ([`tasks`]), see what follows ([`facts`]), create what can start ([`children`]),
//! and say where the run stands ([`references`], [`results`]). [`ending`] cuts it short.

mod affinity;
mod apply;
mod check;
mod children;
mod ending;
mod facts;
mod matrix;
mod references;
mod remote;
mod resolve;
mod results;
mod state;
mod tasks;
mod timeouts;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::config::TenantConfig;
use crate::api::validate;
use crate::cel;
use crate::engine::cloudevents;
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{Decision, Event, Installation, Need, Observed, Outcome};
use crate::engine::doc::{is_empty, list, name, namespace, object_mut, text};
use crate::engine::time::{parse, rfc3339};
use facts::Facts;
use state::{Kind, Task};
use timeouts::Timeouts;

/// Children that are created, or patched, by one decision: a transaction of the store has so many parts at most.
const WRITES_MAX: usize = 150;

/// Decides what to write for the PipelineRun in `seen`.
pub fn decide(seen: &Observed, config: &TenantConfig, installation: &Installation, now_us: i64) -> Outcome {
    let status = seen.run["status"].clone();
    let mut pass = Pass {
        seen,
        config,
        installation,
        now_us,
        status,
        wake_after_us: None,
        decision: Decision::default(),
        started: None,
    };
    match pass.run_once() {
        Ok(()) | Err(Stop::Done | Stop::Waits) => pass.finish(),
        Err(Stop::Need(needs)) => Outcome::Need(needs),
    }
}

/// Why a pass goes no further.
enum Stop {
    /// More must be read.
    Need(BTreeSet<Need>),
    /// A remote object is not there yet.
    Waits,
    /// The run has ended, or there is nothing to do.
    Done,
}

/// One look at one run.
struct Pass<'a> {
    seen: &'a Observed,
    config: &'a TenantConfig,
    installation: &'a Installation,
    now_us: i64,
    status: Value,
    /// In place of what the timeouts say.
    wake_after_us: Option<i64>,
    decision: Decision,
    /// The status in which the run had only started, if it has in this pass.
    started: Option<Value>,
}

impl<'a> Pass<'a> {
    fn run(&self) -> &'a Value {
        &self.seen.run
    }

    fn flag(&self, name: &str) -> bool {
        self.config.feature_flags.get(name).is_some_and(|value| value == "true")
    }

    fn times(&self) -> Timeouts {
        Timeouts::of(self.run(), &self.status, self.config, self.now_us)
    }

    fn run_once(&mut self) -> Result<(), Stop> {
        let spec = &self.run()["spec"];
        if !matches!(text(spec, "managedBy"), "" | "tekton.dev/pipeline") {
            return Ok(());
        }
        if condition::is_done(&self.status) {
            self.clean_up();
            return Ok(());
        }
        let pending = text(spec, "status") == "PipelineRunPending";
        if !pending {
            self.begin();
        } else if condition::succeeded(&self.status).is_null() {
            self.event("Normal", "Started", "");
        }
        self.name_label();
        if text(spec, "status") == "Cancelled" {
            self.cancel();
            return Ok(());
        }
        if pending {
            let message = format!("PipelineRun {:?} is pending", name(self.run()));
            self.set_condition(Truth::Unknown, "PipelineRunPending", &message);
            self.decision.waits_for = Some("spec.status PipelineRunPending to be removed".into());
            return Ok(());
        }
        if self.times().long_overdue() {
            self.end_overdue();
            return Ok(());
        }
        self.reconcile()
    }

    fn begin(&mut self) {
        if is_empty(&self.status, "startTime") {
            let created = parse(text(&self.run()["metadata"], "creationTimestamp")).unwrap_or(i64::MIN);
            object_mut(&mut self.status).insert("startTime".into(), json!(rfc3339(self.now_us.max(created))));
            self.set_condition(Truth::Unknown, "Started", "");
            self.event("Normal", "Started", "");
            self.started = Some(self.status.clone());
        }
    }

    fn reconcile(&mut self) -> Result<(), Stop> {
        let first = is_empty(&self.status, "pipelineSpec");
        let found = self.pipeline()?;
        self.config.put_provenance(&mut self.status);
        if first {
            // Also a run that does not fit its pipeline shows it.
            object_mut(&mut self.status).insert("pipelineSpec".into(), found.spec.clone());
            self.run_fits(&found.spec, &found.name)?;
        }
        let original = first.then(|| found.spec.clone());
        let spec = apply::pipeline(found.spec, self.run(), &found.name);
        object_mut(&mut self.status).insert("pipelineSpec".into(), spec.clone());
        self.still_valid(&spec, &found.name)?;
        let tasks = self.tasks(&spec, &found.name)?;
        self.tasks_fit(&tasks, original.as_ref())?;
        let mut facts = Facts::new(self.run(), &spec, tasks, self.times());
        self.programs_run(&facts.tasks)?;
        if facts.before_the_first() {
            self.references_fit(&spec, &facts.tasks)?;
            self.claims();
        }
        self.advance(&mut facts)?;
        self.conclude(&mut facts, &spec);
        Ok(())
    }

    /// What params were put into must still be one of the words that it may be.
    fn still_valid(&mut self, spec: &Value, pipeline: &str) -> Result<(), Stop> {
        let faults = validate::on_errors(spec, self.config);
        if faults.is_empty() {
            return Ok(());
        }
        let error = faults.to_string();
        let place = format!("Pipeline {}/{pipeline}", namespace(self.run()));
        let message = format!("{place} can't be Run; it has an invalid spec: {error}");
        Err(self.refuse("PipelineValidationFailed", &message, &error))
    }

    /// CEL programs in when expressions of tasks that have not started must run.
    fn programs_run(&mut self, tasks: &[Task]) -> Result<(), Stop> {
        for when in tasks.iter().filter(|t| !t.has_children()).flat_map(|t| list(&t.entry, "when")) {
            let program = text(when, "cel");
            if program.is_empty() {
                continue;
            }
            if let Err(error) = cel::evaluate(program) {
                let message = format!("[User error] Error evaluating CEL {}: {error}", name(self.run()));
                return Err(self.refuse_as_is("CELEvaluationFailed", &message, &error));
            }
        }
        Ok(())
    }

    /// Moves the run on: stops what must stop, and starts what can start.
    fn advance(&mut self, facts: &mut Facts) -> Result<(), Stop> {
        if facts.gracefully_cancelled() {
            self.cancel_gracefully(&facts.running(false));
        }
        if !facts.times.finally_has_begun() && facts.times.tasks_timed_out() {
            self.time_out_children(&facts.running(false));
        } else if facts.times.finally_timed_out() {
            self.time_out_children(&facts.running(true));
        }
        let queue = match facts.queue() {
            Ok(queue) => queue,
            Err(error) => {
                // The reference gives up this pass and writes nothing; a child's end makes it look again.
                self.status = keep_started(&self.status, &self.run()["status"]);
                self.decision.errors.push(error);
                self.decision.waits_for = Some(facts.waits_for());
                self.wake_after_us = Some(i64::MAX);
                return Err(Stop::Done);
            }
        };
        for at in &queue {
            self.resolve_results(facts, *at);
        }
        facts.look_again();
        for at in facts.finally_queue() {
            let states = facts.states();
            put_states(facts.tasks[at].entry.to_mut(), &states);
            if let Ok(found) = results::resolve(&facts.tasks[at].entry, |name| facts.find(name)) {
                results::put(&mut facts.tasks[at].entry, &found);
                self.finally_begins(facts);
            }
        }
        facts.look_again();
        self.programs_run(&facts.tasks)?;
        let finally = facts.finally_queue();
        let open = !facts.stopping() && !facts.gracefully_cancelled() && !facts.gracefully_stopped();
        let lacking = |at: &usize| facts.tasks[*at].lacks_children() && (open || facts.tasks[*at].finally);
        let begun: Vec<usize> = (0..facts.tasks.len()).filter(lacking).collect();
        for at in begun.into_iter().chain(queue).chain(finally) {
            if self.decision.creates.len() >= WRITES_MAX {
                // The others follow at once: a store takes only so much in one go.
                self.decision.also_after_us = Some(0);
                break;
            }
            self.start(facts, at)?;
        }
        facts.look_again();
        if facts.times.pipeline_timed_out() {
            let running = [facts.running(false), facts.running(true)].concat();
            if !self.time_out_children(&running) {
                return Err(Stop::Done);
            }
        }
        Ok(())
    }

    /// Puts results into a task that is about to start; one that its producer owes stops the pipeline.
    fn resolve_results(&mut self, facts: &mut Facts, at: usize) {
        match results::resolve(&facts.tasks[at].entry, |name| facts.find(name)) {
            Ok(found) => results::put(&mut facts.tasks[at].entry, &found),
            Err(missing) if facts.skip(at).is_none() => {
                let task = facts.tasks[at].name.clone();
                let gave_nothing = facts.find(&missing.task).is_some_and(Task::succeeded);
                let why = if gave_nothing {
                    format!(
                        "task {:?} completed successfully but did not emit the result {:?}, which is referenced by task {task:?}",
                        missing.task, missing.result
                    )
                } else {
                    format!(
                        "Invalid task result reference: Could not find result with name {} for pipeline task {}",
                        missing.result, missing.task
                    )
                };
                self.event(
                    "Warning",
                    "ResultValidationFailed",
                    &format!("Task {task:?} failed result validation: {why}"),
                );
                facts.invalid.insert(task, why);
                facts.look_again();
            }
            Err(_) => {}
        }
    }

    fn finally_begins(&mut self, facts: &mut Facts) {
        if is_empty(&self.status, "finallyStartTime") {
            object_mut(&mut self.status).insert("finallyStartTime".into(), json!(rfc3339(self.now_us)));
        }
        facts.times.finally_begins();
    }

    fn start(&mut self, facts: &mut Facts, at: usize) -> Result<(), Stop> {
        let task = &facts.tasks[at];
        let begun = task.has_children() && !task.lacks_children();
        if begun || facts.invalid.contains_key(&task.name) || facts.skip(at).is_some() {
            return Ok(());
        }
        if !task.finally && facts.stopping() {
            return Ok(());
        }
        let mut task = task.clone();
        if !task.has_children() {
            task.names = tasks::new_names(name(self.run()), &task);
        }
        let all = match self.children(facts, &task) {
            Ok(children) => children,
            Err(refused) => return Err(self.not_created(&task, &refused)),
        };
        let room = WRITES_MAX - self.decision.creates.len();
        let there: BTreeSet<&str> = task.each_child().map(name).collect();
        let new: Vec<Value> = all.into_iter().filter(|c| !there.contains(name(c))).take(room).collect();
        self.decision.creates.extend(new.iter().cloned());
        task.children.extend(new.into_iter().map(Cow::Owned));
        if task.lacks_children() {
            self.decision.also_after_us = Some(0);
        }
        facts.tasks[at] = task;
        facts.started(at);
        Ok(())
    }

    /// Children that cannot be made end the run.
    fn not_created(&mut self, task: &Task, refused: &children::Refused) -> Stop {
        let (kinds, event) = match task.kind {
            Kind::Task => ("TaskRuns", "TaskRunsCreationFailed"),
            Kind::Custom => ("CustomRuns", "RunsCreationFailed"),
            Kind::Pipeline => ("child PipelineRuns", "ChildPipelineRunsCreationFailed"),
        };
        let quoted: Vec<_> = task.names.iter().map(|name| format!("{name:?}")).collect();
        let error = &refused.error;
        self.event("Warning", event, &format!("Failed to create {kinds} [{}]: {error}", quoted.join(" ")));
        let error = format!(
            "error creating {kinds} called [{}] for PipelineTask {} from PipelineRun {}: {error}",
            task.names.join(" "),
            task.name,
            name(self.run())
        );
        self.fail(refused.reason, &refused.message, &error);
        Stop::Done
    }

    fn conclude(&mut self, facts: &mut Facts, spec: &Value) {
        let (truth, reason, message) = facts.condition();
        self.set_condition(truth, reason, &message);
        self.adjust_start(facts);
        self.list("childReferences", references::children(facts));
        facts.look_again();
        self.list("skippedTasks", references::skipped(facts));
        if truth == Truth::Unknown {
            self.decision.waits_for = Some(facts.waits_for());
            return;
        }
        object_mut(&mut self.status).insert("completionTime".into(), json!(rfc3339(self.now_us)));
        let (found, invalid) = results::of_pipeline(list(spec, "results"), facts);
        self.list("results", found);
        if !invalid.is_empty() {
            let error = format!(
                "invalid pipelineresults [{}], the referenced results don't exist",
                invalid.join(" ")
            );
            let message = format!(
                "Failed to get PipelineResult from TaskRun Results for PipelineRun {}: {error}",
                name(self.run())
            );
            self.set_condition(Truth::False, "CouldntGetPipelineResult", &message);
            self.decision.errors.push(error);
            self.decision.errors_pass = true;
        }
    }

    /// A run has started no later than the first of its children was made.
    fn adjust_start(&mut self, facts: &Facts) {
        let children = facts.tasks.iter().flat_map(|task| &task.children);
        let first = children.filter_map(|c| parse(text(&c["metadata"], "creationTimestamp"))).min();
        if let (Some(first), Some(start)) = (first, parse(text(&self.status, "startTime")))
            && first < start
        {
            object_mut(&mut self.status).insert("startTime".into(), json!(rfc3339(first)));
        }
    }

    /// Writes a list of the status; an empty one is left out.
    fn list(&mut self, key: &str, items: Vec<Value>) {
        if items.is_empty() {
            object_mut(&mut self.status).remove(key);
        } else {
            object_mut(&mut self.status).insert(key.into(), Value::Array(items));
        }
    }

    fn set_condition(&mut self, truth: Truth, reason: &str, message: &str) {
        condition::set(&mut self.status, truth, reason, message, self.now_us);
    }

    fn fail(&mut self, reason: &str, message: &str, error: &str) {
        self.set_condition(Truth::False, reason, message);
        object_mut(&mut self.status).insert("completionTime".into(), json!(rfc3339(self.now_us)));
        self.decision.errors.push(error.to_owned());
    }

    /// The user's mistake ends the run.
    fn refuse(&mut self, reason: &str, message: &str, error: &str) -> Stop {
        self.refuse_as_is(reason, &format!("[User error] {message}"), error)
    }

    fn refuse_as_is(&mut self, reason: &str, message: &str, error: &str) -> Stop {
        self.fail(reason, message, error);
        Stop::Done
    }

    fn event(&mut self, kind: &'static str, reason: &str, message: &str) {
        self.decision.events.push(Event { kind, reason: reason.into(), message: message.into() });
    }

    fn finish(mut self) -> Outcome {
        let ends = condition::is_done(&self.status) && !condition::is_done(&self.seen.run["status"]);
        if ends && !self.claims_to_go().is_empty() {
            // Nothing else makes anybody look at a run that has ended.
            self.decision.also_after_us = Some(0);
        }
        if !condition::is_done(&self.status) && !is_empty(&self.status, "startTime") {
            let wake = self.wake_after_us.or_else(|| self.times().wake_after_us());
            self.decision.requeue_after_us = wake.filter(|us| *us < i64::MAX && !self.decision.errors_pass);
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
        if cloudevents::sink(self.config).is_some() {
            let mut run = self.seen.run.clone();
            if let Some(update) = &self.decision.metadata {
                run["metadata"]["labels"] = json!(update.labels);
                run["metadata"]["annotations"] = json!(update.annotations);
            }
            let started = self.started.as_ref();
            self.decision.cloud_events = cloudevents::between(&run, started, &self.status, self.config);
        }
        if self.status != self.seen.run["status"] {
            self.decision.status = Some(self.status);
        }
        Outcome::Decision(Box::new(self.decision))
    }
}

/// The status that a pass began with, and that the run has started.
fn keep_started(now: &Value, before: &Value) -> Value {
    let mut out = before.clone();
    for key in ["startTime", "pipelineSpec", "conditions"] {
        if out[key].is_null() && !now[key].is_null() {
            object_mut(&mut out).insert(key.into(), now[key].clone());
        }
    }
    out
}

/// States of tasks go into params, when expressions, display name and reference of a finally task.
fn put_states(entry: &mut Value, states: &crate::engine::substitution::Replacements) {
    let matrix = object_mut(entry).remove("matrix");
    let workspaces = object_mut(entry).remove("workspaces");
    results::put_into(entry, states);
    for (key, kept) in [("matrix", matrix), ("workspaces", workspaces)] {
        if let Some(kept) = kept {
            object_mut(entry).insert(key.into(), kept);
        }
    }
}

#[cfg(test)]
mod tests;
