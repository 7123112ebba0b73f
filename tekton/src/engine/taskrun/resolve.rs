//! From a TaskRun to the spec of its task: reference, StepActions, validation, substitution, workspaces.

use serde_json::{Value, json};

use super::{Pass, Stop, merged_metadata};
use crate::api::{defaults, validate};
use crate::engine::condition::{self, Truth};
use crate::engine::decide::{Key, Need};
use crate::engine::doc::{is_empty, list, list_mut, name, namespace, object_mut, text};
use crate::engine::resolution::{self, Remote};
use crate::engine::substitution::Replacements;
use crate::engine::trust::{self, Verdict};
use crate::engine::{params, pod, stepaction, taskspec, workspaces};

/// A task that is ready to run.
pub struct Task {
    /// The spec as `status.taskSpec` shows it: substituted, before workspaces are mounted.
    pub shown: Value,
    /// What the workspaces are bound to.
    pub bound: Vec<Value>,
}

/// What became of looking for a remote object.
enum Fetched {
    /// Its text, and where it comes from.
    Text(String, Value),
    /// The run waits for it, or has failed.
    Nothing,
}

impl Pass<'_> {
    /// The task to run; `None` when the run has just failed or waits.
    pub(super) fn task(&mut self) -> Result<Option<Task>, Stop> {
        // What was once run stays what is run, however the Task changes.
        if !is_empty(&self.status, "taskSpec") {
            let shown = self.status["taskSpec"].clone();
            let bound = self.bound(&shown);
            return Ok(Some(Task { shown, bound }));
        }
        let Some((spec, task_name)) = self.referred()? else { return Ok(None) };
        self.config.put_provenance(&mut self.status);
        let Some(spec) = self.with_actions(spec)? else { return Ok(None) };
        self.show_steps(&spec);
        Ok(self.prepared(spec, &task_name))
    }

    /// The spec that the run embeds or refers to, and its name.
    fn referred(&mut self) -> Result<Option<(Value, String)>, Stop> {
        let run = &self.seen.run;
        let reference = &run["spec"]["taskRef"];
        if !run["spec"]["taskSpec"].is_null() {
            return Ok(Some((run["spec"]["taskSpec"].clone(), name(run).to_owned())));
        }
        if !text(reference, "resolver").is_empty() {
            return self.remote_task(&reference.clone());
        }
        let wanted = text(reference, "name");
        let key = Key::new("Task", namespace(run), wanted);
        match self.seen.objects.get(&key) {
            None => Err(Stop::Need([Need::Object(key)].into())),
            Some(None) => {
                let head = format!("error when listing tasks for taskRun {}", name(run));
                self.unresolved(&format!("{head}: tasks.tekton.dev {wanted:?} not found"));
                Ok(None)
            }
            Some(Some(task)) => {
                self.decision.metadata = merged_metadata(run, task, Some(wanted));
                Ok(Some((task["spec"].clone(), wanted.to_owned())))
            }
        }
    }

    fn remote_task(&mut self, reference: &Value) -> Result<Option<(Value, String)>, Stop> {
        let run = &self.seen.run;
        let mut replacements = taskspec::params_of(&Value::Null, list(&run["spec"], "params"));
        replacements.extend(taskspec::context(run, ""));
        let Fetched::Text(found, source) =
            self.fetch(reference, &replacements, "ResolvingTaskRef", "resource")?
        else {
            return Ok(None);
        };
        let mut task = match resolution::read(&found, "Task") {
            Ok(task) => task,
            Err(why) => {
                self.unresolved(&why);
                return Ok(None);
            }
        };
        defaults::apply("Task", &mut task, self.config);
        let verdict = trust::verify(self.seen, self.config, &task, &source);
        let verdict = verdict.map_err(|need| Stop::Need([need].into()))?;
        resolution::modernise(&mut task);
        // Fetched objects are admitted as if somebody had created them.
        let faults = validate::check("Task", &task, None, self.config);
        if !faults.is_empty() {
            let head = "admission webhook \"validation.webhook.pipeline.tekton.dev\" denied the request";
            let message = format!(
                "validation failed for referenced object {}: {head}: validation failed: {faults}",
                name(&task)
            );
            self.set_failed("TaskValidationFailed", &message);
            self.decision.errors.push(message);
            return Ok(None);
        }
        if !source.is_null() && self.config.tells_provenance() {
            self.status["provenance"]["refSource"] = source;
        }
        self.decision.metadata = merged_metadata(&self.seen.run, &task, Some(name(&task)));
        if !self.trusts(&verdict) {
            object_mut(&mut self.status).insert("taskSpec".into(), task["spec"].clone());
            return Ok(None);
        }
        Ok(Some((task["spec"].clone(), name(&task).to_owned())))
    }

    /// Tells the verdict on the fetched Task; whether the run goes on.
    fn trusts(&mut self, verdict: &Verdict) -> bool {
        let (truth, why) = match verdict {
            Verdict::Skipped => return true,
            Verdict::Passed => (Truth::True, ""),
            Verdict::Warned(why) | Verdict::Failed(why) => (Truth::False, why.as_str()),
        };
        let failed = matches!(verdict, Verdict::Failed(_));
        if failed {
            self.set_failed("ResourceVerificationFailed", why);
            self.decision.errors.push(why.to_owned());
        }
        condition::set_of(&mut self.status, trust::CONDITION, truth, "", why, self.now_us);
        !failed
    }

    /// Asks for a remote object, waits for it, or takes it.
    fn fetch(
        &mut self,
        reference: &Value,
        replacements: &Replacements,
        reason: &str,
        what: &str,
    ) -> Result<Fetched, Stop> {
        if !self.installation.resolvers {
            let resolver = text(reference, "resolver");
            self.unresolved(&format!("resolver {resolver:?} is not supported yet"));
            return Ok(Fetched::Nothing);
        }
        let mut reference = reference.clone();
        if let Some(given) = reference.get_mut("params").and_then(Value::as_array_mut) {
            params::apply(given, replacements);
        }
        let run = &self.seen.run;
        match resolution::look(self.seen, &reference) {
            Remote::Need(key) => return Err(Stop::Need([Need::Object(key)].into())),
            Remote::Found { text, source } => return Ok(Fetched::Text(text, source)),
            Remote::Failed(why) => {
                self.unresolved(&why);
                return Ok(Fetched::Nothing);
            }
            Remote::Ask(request) => {
                let asked = self.decision.creates.iter().any(|there| name(there) == name(&request));
                self.decision.creates.extend((!asked).then_some(*request));
            }
            Remote::Waits => {}
        }
        let message = format!("TaskRun {}/{} awaiting remote {what}", namespace(run), name(run));
        condition::set(&mut self.status, Truth::Unknown, reason, &message, self.now_us);
        // The reference counts every look at an unanswered request as the beginning of the run.
        self.before = Value::Null;
        self.decision.requeue_after_us = Some(resolution::LOOK_AGAIN_US);
        self.decision.waits_for = Some(format!("the resolver {:?}", text(&reference, "resolver")));
        Ok(Fetched::Nothing)
    }

    /// `spec` with the StepActions in place of the references to them; `None` when the run waits or has failed.
    fn with_actions(&mut self, mut spec: Value) -> Result<Option<Value>, Stop> {
        let mut merged = list(&spec, "steps").to_vec();
        let mut waits = false;
        for (index, step) in merged.iter_mut().enumerate().filter(|(_, step)| !step["ref"].is_null()) {
            let task = taskspec::params_of(&spec, list(&self.seen.run["spec"], "params"));
            let done = match self.action(step, &task)? {
                Ok(Some(action)) => stepaction::merged(step, &action["spec"], &task),
                // The request has failed: the run has said so.
                Ok(None) if condition::is_done(&self.status) => return Ok(None),
                Ok(None) => {
                    waits = true;
                    continue;
                }
                Err(why) => Err(why),
            };
            match done {
                Ok(done) => *step = done,
                Err(why) => {
                    let step = text(step, "name");
                    let head = format!("failed to resolve step ref for step {step:?} (index {index})");
                    self.unresolved(&format!("{head}: {why}"));
                    return Ok(None);
                }
            }
        }
        if waits {
            return Ok(None);
        }
        if !merged.is_empty() {
            spec["steps"] = Value::Array(merged);
        }
        Ok(Some(spec))
    }

    /// The StepAction of a step; none while it is fetched; the inner error is the reference's text.
    fn action(&mut self, step: &Value, task: &Replacements) -> Result<Result<Option<Value>, String>, Stop> {
        let (run, reference) = (&self.seen.run, &step["ref"]);
        if text(reference, "resolver").is_empty() {
            let key = Key::new("StepAction", namespace(run), text(reference, "name"));
            return match self.seen.objects.get(&key) {
                None => Err(Stop::Need([Need::Object(key)].into())),
                Some(None) => Ok(Err(format!("stepactions.tekton.dev {:?} not found", key.name))),
                Some(Some(action)) => Ok(Ok(Some(action.clone()))),
            };
        }
        let mut replacements = task.clone();
        replacements.extend(taskspec::context(run, ""));
        match self.fetch(reference, &replacements, "ResolvingStepActionRef", "StepAction")? {
            Fetched::Nothing => Ok(Ok(None)),
            Fetched::Text(found, source) => {
                let action = resolution::read(&found, "StepAction");
                if action.is_ok() {
                    self.note_source(text(step, "name"), source);
                }
                Ok(action.map(Some))
            }
        }
    }

    /// The steps, before there is anything to say of them; what an earlier attempt left stays.
    fn show_steps(&mut self, spec: &Value) {
        let old = list(&self.status, "steps").to_vec();
        let named = |name: &str| old.iter().find(|state| text(state, "name") == name).cloned();
        let names = list(spec, "steps")
            .iter()
            .enumerate()
            .map(|(index, step)| taskspec::step_name(step, index).trim_start_matches("step-").to_owned());
        let steps: Value = names.map(|name| named(&name).unwrap_or_else(|| json!({"name": name}))).collect();
        object_mut(&mut self.status).insert("steps".into(), steps);
    }

    /// Where a step's action comes from, in the step's state.
    fn note_source(&mut self, step: &str, source: Value) {
        if source.is_null() {
            return;
        }
        let states = list_mut(&mut self.status, "steps");
        let at = states.iter().position(|state| text(state, "name") == step).unwrap_or_else(|| {
            states.push(json!({"name": step}));
            states.len() - 1
        });
        states[at]["provenance"]["refSource"] = source;
    }

    fn prepared(&mut self, mut spec: Value, task_name: &str) -> Option<Task> {
        let run = &self.seen.run;
        let embedded = !run["spec"]["taskSpec"].is_null();
        if let Err((reason, message)) = self.check(&spec, task_name, embedded) {
            object_mut(&mut self.status).insert("taskSpec".into(), spec);
            return self.refuse(reason, &message);
        }
        let bound = self.bound(&spec);
        if embedded {
            workspaces::propagate(&mut spec, &bound);
        }
        // Mount paths may contain params: substitute those first.
        let mut declared = taskspec::substituted(&spec, run, task_name, Replacements::default());
        workspaces::substitute_own_paths(&mut declared);
        let volumes = workspaces::volumes(&bound);
        let variables = workspaces::replacements(list(&declared, "workspaces"), &bound, &volumes);
        let mut shown = declared;
        taskspec::apply(&mut shown, &variables);
        Some(Task { shown, bound })
    }

    /// All that can be wrong with a run before it is run: reason and the reference's text.
    fn check(&self, spec: &Value, task_name: &str, embedded: bool) -> Result<(), (&'static str, String)> {
        let run = &self.seen.run;
        let given = list(&run["spec"], "params");
        let invalid = |message: String| ("TaskRunValidationFailed", message);
        pod::check_resources(spec).map_err(invalid)?;
        params::check(list(spec, "params"), given)
            .map_err(|misfit| invalid(format!("invalid input params for task {task_name}: {misfit}")))?;
        if self.flag("enable-param-enum", false) {
            params::check_enums(list(spec, "params"), given).map_err(|why| ("InvalidParamValue", why))?;
        }
        let values = params::values(list(spec, "params"), given);
        let beyond = params::beyond_the_end(&values, &texts_of(spec));
        if !beyond.is_empty() {
            return Err(invalid(format!("non-existent param references:[{}]", beyond.join(" "))));
        }
        let bound = self.bindings(spec);
        workspaces::check(list(spec, "workspaces"), &bound, embedded).map_err(invalid)?;
        let coschedule = self.config.feature_flags.get("coschedule").map_or("workspaces", String::as_str);
        if coschedule == "workspaces" {
            workspaces::check_one_claim(&bound).map_err(invalid)?;
        }
        taskspec::check_overrides(spec, &run["spec"]).map_err(invalid)
    }

    /// The run's bindings, and the installation's for what is left.
    fn bindings(&self, spec: &Value) -> Vec<Value> {
        let configured = self.config.config_defaults.get("default-task-run-workspace-binding");
        let own = list(&self.seen.run["spec"], "workspaces");
        workspaces::with_default(own, list(spec, "workspaces"), configured.map_or("", String::as_str))
    }

    /// The bindings as they are mounted: claims for templates, params substituted.
    fn bound(&self, spec: &Value) -> Vec<Value> {
        let run = &self.seen.run;
        let mut bound = workspaces::with_claims(&self.bindings(spec), run);
        workspaces::substitute(&mut bound, &taskspec::params_of(spec, list(&run["spec"], "params")));
        bound
    }

    fn refuse(&mut self, reason: &str, message: &str) -> Option<Task> {
        self.set_failed(reason, &format!("[User error] {message}"));
        self.decision.errors.push(message.to_owned());
        None
    }

    /// What the run refers to cannot be had.
    fn unresolved(&mut self, message: &str) {
        self.set_failed("TaskRunResolutionFailed", message);
        self.decision.errors.push(message.to_owned());
    }
}

impl Task {
    /// Replacements of the run's params.
    pub fn replacements(&self, run: &Value) -> Replacements {
        taskspec::params_of(&self.shown, list(&run["spec"], "params"))
    }

    /// The spec with the bound workspaces mounted.
    pub fn mounted(&self) -> Value {
        let mut out = self.shown.clone();
        if out.is_null() {
            out = json!({});
        }
        workspaces::apply(&mut out, &self.bound, &workspaces::volumes(&self.bound));
        out
    }
}

fn texts_of(value: &Value) -> std::collections::BTreeSet<String> {
    fn walk(value: &Value, out: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::String(text) if text.contains("$(") => {
                out.insert(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, out)),
            Value::Object(map) => map.values().for_each(|item| walk(item, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut out = std::collections::BTreeSet::new();
    walk(value, &mut out);
    out
}
