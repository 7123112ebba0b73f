//! What is known of each task of a running pipeline, and what follows from it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::condition::{self, Truth};
use crate::engine::decide::Observed;
use crate::engine::doc::{is_empty, list, name, text, texts};
use crate::engine::graph::{Graph, ResultRef, result_refs};
use crate::engine::substitution::Replacements;
use crate::engine::time::{duration, parse};

/// Why a task does not run. The texts are visible to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skip {
    /// A failure stops the pipeline.
    Stopping,
    /// `CancelledRunFinally`.
    GracefullyCancelled,
    /// `StoppedRunFinally`.
    GracefullyStopped,
    /// Its when expressions say no.
    When,
    /// What it depends on was skipped.
    Parent,
    /// A result it needs does not exist.
    MissingResults,
    /// The time of the run is over.
    PipelineTimeout,
    /// The time of the tasks is over.
    TasksTimeout,
    /// The time of the finally tasks is over.
    FinallyTimeout,
}

impl Skip {
    /// The text in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Stopping => "PipelineRun was stopping",
            Skip::GracefullyCancelled => "PipelineRun was gracefully cancelled",
            Skip::GracefullyStopped => "PipelineRun was gracefully stopped",
            Skip::When => "When Expressions evaluated to false",
            Skip::Parent => "Parent Tasks were skipped",
            Skip::MissingResults => "Results were missing",
            Skip::PipelineTimeout => "PipelineRun timeout has been reached",
            Skip::TasksTimeout => "PipelineRun Tasks timeout has been reached",
            Skip::FinallyTimeout => "PipelineRun Finally timeout has been reached",
        }
    }
}

/// How far one task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    NotStarted,
    Running,
    Succeeded,
    Failed,
    Ignored,
    Cancelled,
}

/// One task of the pipeline.
pub struct Task<'a> {
    /// Its entry in the pipeline.
    pub spec: &'a Value,
    /// It is a finally task.
    pub finally: bool,
    child: Option<Value>,
    stage: Stage,
}

/// Everything about one run of a pipeline.
pub struct Facts<'a> {
    pub(super) run: &'a Value,
    status: &'a Value,
    now_us: i64,
    tasks: BTreeMap<String, Task<'a>>,
    order: Vec<String>,
    graph: Graph,
    skips: RefCell<BTreeMap<String, Option<Skip>>>,
}

impl<'a> Facts<'a> {
    /// Gathers them.
    pub fn new(seen: &'a Observed, spec: &'a Value, status: &'a Value, now_us: i64) -> Self {
        let children: BTreeMap<&str, &Value> = seen
            .owned
            .iter()
            .filter(|o| matches!(text(o, "kind"), "TaskRun" | "CustomRun" | "PipelineRun"))
            .filter_map(|o| Some((o["metadata"]["labels"]["tekton.dev/pipelineTask"].as_str()?, o)))
            .collect();
        let (mut tasks, mut order) = (BTreeMap::new(), Vec::new());
        for (part, finally) in [("tasks", false), ("finally", true)] {
            for spec in list(spec, part) {
                let task = text(spec, "name").to_owned();
                let child = children.get(task.as_str()).map(|c| (*c).clone());
                let stage = stage(spec, child.as_ref());
                order.push(task.clone());
                tasks.insert(task, Task { spec, finally, child, stage });
            }
        }
        let graph = Graph::of(list(spec, "tasks"));
        Self { run: &seen.run, status, now_us, tasks, order, graph, skips: RefCell::default() }
    }

    /// A task by name.
    pub fn task(&self, name: &str) -> &Task<'a> {
        &self.tasks[name]
    }

    fn spec_status(&self) -> &str {
        text(&self.run["spec"], "status")
    }

    /// `CancelledRunFinally`.
    pub fn gracefully_cancelled(&self) -> bool {
        self.spec_status() == "CancelledRunFinally"
    }

    fn gracefully_stopped(&self) -> bool {
        self.spec_status() == "StoppedRunFinally"
    }

    fn elapsed(&self) -> i64 {
        parse(text(self.status, "startTime")).map_or(0, |start| self.now_us - start)
    }

    fn timeout(&self, which: &str) -> Option<i64> {
        duration(text(&self.run["spec"]["timeouts"], which)).filter(|t| *t > 0)
    }

    fn pipeline_timeout(&self) -> Option<i64> {
        match duration(text(&self.run["spec"]["timeouts"], "pipeline")) {
            Some(0) => None,
            Some(timeout) => Some(timeout),
            None => Some(super::DEFAULT_TIMEOUT_US),
        }
    }

    fn tasks_timeout(&self) -> Option<i64> {
        let derived = || Some(self.pipeline_timeout()? - self.timeout("finally")?);
        self.timeout("tasks").or_else(derived)
    }

    /// The whole run is out of time, and no finally task has begun.
    pub fn timed_out_as_a_whole(&self) -> bool {
        self.pipeline_timeout().is_some_and(|t| self.elapsed() >= t)
            && is_empty(self.status, "finallyStartTime")
            && (self.tasks_timeout().is_none() || !self.has_finally())
    }

    /// The tasks are out of time.
    pub fn tasks_timed_out(&self) -> bool {
        self.tasks_timeout().is_some_and(|t| self.elapsed() >= t) && is_empty(self.status, "finallyStartTime")
    }

    /// The finally tasks are out of time.
    pub fn finally_timed_out(&self) -> bool {
        let begun = parse(text(self.status, "finallyStartTime"));
        let derived = || Some(self.pipeline_timeout()? - self.timeout("tasks")?);
        let limit = self.timeout("finally").or_else(derived);
        matches!((begun, limit), (Some(begun), Some(limit)) if self.now_us - begun >= limit)
    }

    fn dag(&self) -> impl Iterator<Item = (&String, &Task<'a>)> {
        self.tasks.iter().filter(|(_, t)| !t.finally)
    }

    /// A failure that is not ignored stops what has not begun.
    fn stopping(&self) -> bool {
        self.dag().any(|(_, t)| matches!(t.stage, Stage::Failed | Stage::Cancelled))
    }

    /// The pipeline has finally tasks.
    pub fn has_finally(&self) -> bool {
        self.tasks.values().any(|t| t.finally)
    }

    /// Every task that is no finally task has ended or will never start.
    pub fn dag_done(&self) -> bool {
        self.dag().all(|(name, task)| match task.stage {
            Stage::Running => false,
            Stage::NotStarted => self.skip(name).is_some(),
            _ => true,
        })
    }

    /// Children that run, of tasks that are no finally tasks.
    pub fn running_dag(&self) -> Vec<Value> {
        self.dag().filter(|(_, t)| t.stage == Stage::Running).filter_map(|(_, t)| t.child.clone()).collect()
    }

    /// Children that run, of finally tasks.
    pub fn running_finally(&self) -> Vec<Value> {
        let finally = self.tasks.values().filter(|t| t.finally && t.stage == Stage::Running);
        finally.filter_map(|t| t.child.clone()).collect()
    }

    /// Why `name` does not run; `None`: it runs, or may yet.
    pub fn skip(&self, name: &str) -> Option<Skip> {
        if let Some(known) = self.skips.borrow().get(name) {
            return *known;
        }
        let found = self.find_skip(name);
        self.skips.borrow_mut().insert(name.to_owned(), found);
        found
    }

    fn find_skip(&self, name: &str) -> Option<Skip> {
        let task = self.tasks.get(name)?;
        if task.stage != Stage::NotStarted {
            return None;
        }
        if task.finally {
            return self.skip_finally(task);
        }
        if self.stopping() {
            return Some(Skip::Stopping);
        }
        if self.gracefully_cancelled() {
            return Some(Skip::GracefullyCancelled);
        }
        if self.gracefully_stopped() {
            return Some(Skip::GracefullyStopped);
        }
        let parents_done = self.parents_done(name);
        if parents_done && self.results_there(task) && !self.when_holds(task) {
            return Some(Skip::When);
        }
        let skipped_parent =
            self.graph.parents(name).any(|p| !matches!(self.skip(p), None | Some(Skip::When)));
        if skipped_parent {
            return Some(Skip::Parent);
        }
        if parents_done && !self.results_there(task) && self.broken_promise(name).is_none() {
            return Some(Skip::MissingResults);
        }
        if self.pipeline_timeout().is_some_and(|t| self.elapsed() >= t) {
            return Some(Skip::PipelineTimeout);
        }
        self.tasks_timed_out().then_some(Skip::TasksTimeout)
    }

    fn skip_finally(&self, task: &Task<'a>) -> Option<Skip> {
        if !self.dag_done() {
            return None;
        }
        if !self.results_there(task) {
            return Some(Skip::MissingResults);
        }
        if !self.when_holds(task) {
            return Some(Skip::When);
        }
        if self.pipeline_timeout().is_some_and(|t| self.elapsed() >= t) {
            return Some(Skip::PipelineTimeout);
        }
        self.finally_timed_out().then_some(Skip::FinallyTimeout)
    }

    fn parents_done(&self, name: &str) -> bool {
        self.graph.parents(name).all(|parent| match self.tasks[parent].stage {
            Stage::Succeeded | Stage::Ignored => true,
            Stage::NotStarted => self.skip(parent).is_some(),
            _ => false,
        })
    }

    fn results_there(&self, task: &Task<'a>) -> bool {
        result_refs(task.spec).iter().all(|r| self.result(r).is_some() || !self.tasks.contains_key(&r.task))
    }

    /// Value of a result of a child that has ended.
    pub fn result(&self, wanted: &ResultRef) -> Option<&Value> {
        let task = self.tasks.get(&wanted.task)?;
        if matches!(task.stage, Stage::NotStarted | Stage::Running) {
            return None;
        }
        let results = list(&task.child.as_ref()?["status"], "results");
        results.iter().find(|r| text(r, "name") == wanted.result).map(|r| &r["value"])
    }

    /// Whether the producer of a result ended well.
    pub fn succeeded(&self, task: &str) -> bool {
        self.tasks.get(task).is_some_and(|t| t.stage == Stage::Succeeded)
    }

    /// Replacements that the results, states and reasons of ended tasks give.
    pub fn replacements(&self, for_finally: bool) -> Replacements {
        let mut out = Replacements::default();
        for (name, task) in &self.tasks {
            if let Some(child) = &task.child
                && !matches!(task.stage, Stage::NotStarted | Stage::Running)
            {
                for result in list(&child["status"], "results") {
                    super::results::replace(&mut out, "tasks", name, text(result, "name"), &result["value"]);
                }
            }
            if for_finally && !task.finally {
                let (state, reason) = self.state_words(task);
                out.strings.insert(format!("tasks.{name}.status"), state.to_owned());
                out.strings.insert(format!("tasks.{name}.reason"), reason);
            }
        }
        if for_finally {
            out.strings.insert("tasks.status".into(), self.aggregate().to_owned());
        }
        out
    }

    fn state_words(&self, task: &Task<'a>) -> (&'static str, String) {
        let reason =
            task.child.as_ref().map(|c| text(condition::succeeded(&c["status"]), "reason").to_owned());
        match task.stage {
            Stage::Succeeded => ("Succeeded", reason.unwrap_or_default()),
            Stage::Failed | Stage::Ignored | Stage::Cancelled => ("Failed", reason.unwrap_or_default()),
            Stage::NotStarted | Stage::Running => ("None", String::new()),
        }
    }

    fn aggregate(&self) -> &'static str {
        if self.dag().any(|(_, t)| matches!(t.stage, Stage::Failed | Stage::Cancelled)) {
            "Failed"
        } else if self.dag().any(|(name, t)| t.stage == Stage::NotStarted && self.skip(name).is_some()) {
            "Completed"
        } else if self.dag().all(|(_, t)| matches!(t.stage, Stage::Succeeded | Stage::Ignored)) {
            "Succeeded"
        } else {
            "None"
        }
    }

    /// When expressions of a task with everything substituted.
    pub fn when(&self, task: &Task<'a>) -> Vec<Value> {
        let replacements = self.replacements(task.finally);
        list(task.spec, "when")
            .iter()
            .map(|when| {
                let mut when = when.clone();
                replacements.document(&mut when, &["operator"]);
                when
            })
            .collect()
    }

    fn when_holds(&self, task: &Task<'a>) -> bool {
        self.when(task).iter().all(|when| {
            let among = texts(when, "values").iter().any(|v| v == text(when, "input"));
            match text(when, "operator") {
                "notin" => !among,
                _ => among,
            }
        })
    }

    /// Tasks that can start now, in the pipeline's order.
    pub fn runnable(&self) -> Vec<String> {
        if self.stopping() {
            return Vec::new();
        }
        let can = |name: &&String| {
            let task = &self.tasks[*name];
            !task.finally
                && task.stage == Stage::NotStarted
                && self.skip(name).is_none()
                && self.parents_done(name)
        };
        self.order.iter().filter(can).cloned().collect()
    }

    /// Finally tasks that can start now.
    pub fn runnable_finally(&self) -> Vec<String> {
        let can = |name: &&String| {
            let task = &self.tasks[*name];
            task.finally && task.stage == Stage::NotStarted && self.skip(name).is_none()
        };
        self.order.iter().filter(can).cloned().collect()
    }

    /// Notes that a task has been started by this very pass.
    pub fn scheduled(&mut self, name: &str, child: &Value) {
        if let Some(task) = self.tasks.get_mut(name) {
            task.child = Some(child.clone());
            task.stage = Stage::Running;
        }
    }

    /// Results that a task needs, that do not exist although their task succeeded: the reference's text.
    pub fn broken_promise(&self, name: &str) -> Option<String> {
        let task = self.tasks.get(name)?;
        result_refs(task.spec).iter().find(|r| self.succeeded(&r.task) && self.result(r).is_none()).map(|r| {
            format!(
                "task {:?} completed successfully but did not emit the result {:?}, which is referenced by task {name:?}",
                r.task, r.result
            )
        })
    }

    /// Children as the status lists them: those that were listed stay in their order.
    pub fn child_references(&self, listed: &[Value]) -> Vec<Value> {
        let mut out: Vec<Value> = listed.to_vec();
        for task_name in &self.order {
            let Some(child) = &self.tasks[task_name].child else { continue };
            if out.iter().any(|r| text(r, "name") == name(child)) {
                continue;
            }
            let kind = text(child, "kind");
            let mut reference = json!({
                "apiVersion": child["apiVersion"],
                "kind": kind,
                "name": name(child),
                "pipelineTaskName": task_name,
            });
            if let Some(shown) = self.display_name(task_name) {
                reference["displayName"] = json!(shown);
            }
            let when = self.when(&self.tasks[task_name]);
            if !when.is_empty() {
                reference["whenExpressions"] = Value::Array(when);
            }
            out.push(reference);
        }
        out
    }

    fn display_name(&self, task: &str) -> Option<String> {
        let task = &self.tasks[task];
        let shown = text(task.spec, "displayName");
        (!shown.is_empty()).then(|| self.replacements(task.finally).string(shown))
    }

    /// Skipped tasks as the status lists them.
    pub fn skipped_list(&self) -> Vec<Value> {
        let entry = |task_name: &String| {
            let skip = self.skip(task_name)?;
            let mut entry = json!({"name": task_name, "reason": skip.as_str()});
            let when = self.when(&self.tasks[task_name]);
            if skip == Skip::When && !when.is_empty() {
                entry["whenExpressions"] = Value::Array(when);
            }
            Some(entry)
        };
        self.order.iter().filter_map(entry).collect()
    }

    /// Names of children that run, for whoever asks what the run waits for.
    pub fn waits_for(&self) -> String {
        let running =
            self.tasks.values().filter(|t| t.stage == Stage::Running).filter_map(|t| t.child.as_ref());
        let names: BTreeSet<_> = running.map(name).collect();
        format!("its children to end: {}", names.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// The condition that follows from the counts.
    pub fn condition(&self) -> (Truth, &'static str, String) {
        let count = |stage: Stage| self.tasks.values().filter(|t| t.stage == stage).count();
        let (succeeded, failed) = (count(Stage::Succeeded), count(Stage::Failed));
        let (ignored, cancelled) = (count(Stage::Ignored), count(Stage::Cancelled));
        let skips: Vec<_> = self.order.iter().filter_map(|name| self.skip(name)).collect();
        let (skipped, running) = (skips.len(), self.tasks.len());
        let broken: Vec<String> = self.order.iter().filter_map(|n| self.broken(n)).collect();
        let completed = succeeded + failed + ignored + cancelled;
        let incomplete = running - completed - skipped - broken.len();
        let all_failed = failed + ignored;
        let ignored_text = if ignored > 0 { format!(" (Ignored: {ignored})") } else { String::new() };
        let head = format!(
            "Tasks Completed: {completed} (Failed: {all_failed}{ignored_text}, Cancelled {cancelled})"
        );
        let timed_out = skips
            .iter()
            .any(|s| matches!(s, Skip::PipelineTimeout | Skip::TasksTimeout | Skip::FinallyTimeout));
        if incomplete == 0 {
            let mut message = format!("{head}, Skipped: {skipped}");
            if !broken.is_empty() {
                message.push_str(&format!(", Failed Validation: {} ({})", broken.len(), broken.join("; ")));
                return (Truth::False, "PipelineValidationFailed", message);
            }
            return if failed > 0 || timed_out {
                (Truth::False, "Failed", message)
            } else if self.gracefully_cancelled() || self.gracefully_stopped() || cancelled > 0 {
                (Truth::False, "Cancelled", message)
            } else if skipped > 0 {
                (Truth::True, "Completed", message)
            } else {
                (Truth::True, "Succeeded", message)
            };
        }
        let finally_done = self
            .tasks
            .values()
            .filter(|t| t.finally)
            .all(|t| !matches!(t.stage, Stage::Running | Stage::NotStarted));
        let reason = if self.gracefully_cancelled() {
            "CancelledRunningFinally"
        } else if self.gracefully_stopped() {
            "StoppedRunningFinally"
        } else if self.tasks_timed_out() && self.has_finally() {
            "PipelineRunTimeoutRunningFinally"
        } else if cancelled > 0 || (failed > 0 && finally_done) {
            "PipelineRunStopping"
        } else {
            "Running"
        };
        (Truth::Unknown, reason, format!("{head}, Incomplete: {incomplete}, Skipped: {skipped}"))
    }

    /// A task that can never start because a result it needs was promised and not given.
    fn broken(&self, name: &str) -> Option<String> {
        let task = &self.tasks[name];
        if task.stage != Stage::NotStarted || self.skip(name).is_some() || task.finally {
            return None;
        }
        self.broken_promise(name)
    }
}

fn stage(spec: &Value, child: Option<&Value>) -> Stage {
    let Some(child) = child else { return Stage::NotStarted };
    let condition = condition::succeeded(&child["status"]);
    match (text(condition, "status"), text(condition, "reason")) {
        ("True", _) => Stage::Succeeded,
        ("False", "TaskRunCancelled" | "CustomRunCancelled" | "Cancelled") => Stage::Cancelled,
        ("False", _) if text(spec, "onError") == "continue" => Stage::Ignored,
        ("False", _) => Stage::Failed,
        _ => Stage::Running,
    }
}
