//! What is known of all tasks of a running pipeline, and what follows from it.

mod counts;
mod skip;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use skip::Skip;

use super::results;
use super::state::Task;
use super::timeouts::Timeouts;
use crate::engine::condition;
use crate::engine::doc::{list, name, text};
use crate::engine::graph::Graph;
use crate::engine::substitution::Replacements;

/// Everything about one run of a pipeline.
pub struct Facts<'a> {
    /// The run.
    pub run: &'a Value,
    /// Its tasks, those of `finally` last.
    pub tasks: Vec<Task<'a>>,
    /// Its times.
    pub times: Timeouts,
    /// Tasks that can never start because a result they need was not given, with the text that says so.
    pub invalid: BTreeMap<String, String>,
    index: BTreeMap<String, usize>,
    /// Tasks that must end before each task, and those that wait for it.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    skips: RefCell<BTreeMap<usize, Option<Skip>>>,
    stops: Cell<Option<bool>>,
    propagated: OnceCell<Replacements>,
}

impl<'a> Facts<'a> {
    /// Gathers them.
    pub fn new(run: &'a Value, spec: &Value, tasks: Vec<Task<'a>>, times: Timeouts) -> Self {
        let index: BTreeMap<String, usize> =
            tasks.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        let graph = Graph::of(list(spec, "tasks"));
        let (mut before, mut after) = (vec![Vec::new(); tasks.len()], vec![Vec::new(); tasks.len()]);
        for (at, task) in tasks.iter().enumerate().filter(|(_, task)| !task.finally) {
            for parent in graph.parents(&task.name).filter_map(|name| index.get(name).copied()) {
                before[at].push(parent);
                after[parent].push(at);
            }
        }
        Self {
            run,
            tasks,
            times,
            invalid: BTreeMap::new(),
            index,
            before,
            after,
            skips: RefCell::default(),
            stops: Cell::default(),
            propagated: OnceCell::new(),
        }
    }

    /// A task by name.
    pub fn find(&self, name: &str) -> Option<&Task<'a>> {
        self.index.get(name).and_then(|at| self.tasks.get(*at))
    }

    /// What results of tasks that have ended give to embedded tasks: the same all through a pass.
    pub fn propagated(&self) -> &Replacements {
        self.propagated.get_or_init(|| results::propagated(&self.tasks))
    }

    /// Notes that the task at `at` has got its children.
    pub fn started(&mut self, at: usize) {
        self.skips.borrow_mut().insert(at, None);
    }

    /// Forgets why tasks are skipped: something they depend on has changed.
    pub fn look_again(&mut self) {
        self.skips.borrow_mut().clear();
        self.stops.set(None);
    }

    fn spec_status(&self) -> &str {
        text(&self.run["spec"], "status")
    }

    /// `CancelledRunFinally`.
    pub fn gracefully_cancelled(&self) -> bool {
        self.spec_status() == "CancelledRunFinally"
    }

    /// `StoppedRunFinally`.
    pub fn gracefully_stopped(&self) -> bool {
        self.spec_status() == "StoppedRunFinally"
    }

    fn dag(&self) -> impl Iterator<Item = (usize, &Task<'a>)> {
        self.tasks.iter().enumerate().filter(|(_, t)| !t.finally)
    }

    /// No child has been made.
    pub fn before_the_first(&self) -> bool {
        !self.tasks.iter().any(Task::has_children)
    }

    /// A failure that is not ignored stops what has not begun.
    pub fn stopping(&self) -> bool {
        if let Some(known) = self.stops.get() {
            return known;
        }
        let stops = |t: &Task| (t.failed() || self.invalid.contains_key(&t.name)) && !t.ignores_failure();
        let found = self.dag().any(|(_, t)| stops(t));
        self.stops.set(Some(found));
        found
    }

    /// The pipeline has finally tasks.
    pub fn has_finally(&self) -> bool {
        self.tasks.iter().any(|t| t.finally)
    }

    /// The task has ended or will never start.
    pub fn done(&self, at: usize) -> bool {
        let task = &self.tasks[at];
        self.skip(at).is_some() || task.succeeded() || task.failed() || self.invalid.contains_key(&task.name)
    }

    /// Every task that is no finally task has ended or will never start.
    pub fn dag_done(&self) -> bool {
        self.dag().all(|(at, _)| self.done(at))
    }

    /// Children of running tasks: of finally tasks, or of the others.
    pub fn running(&self, finally: bool) -> Vec<Value> {
        let tasks = self.tasks.iter().filter(|t| t.finally == finally && t.is_running());
        let children = tasks.flat_map(|t| t.each_child());
        children.filter(|c| !condition::is_done(&c["status"])).cloned().collect()
    }

    fn parents(&self, at: usize) -> impl Iterator<Item = usize> {
        self.before[at].iter().copied()
    }

    fn parents_done(&self, at: usize) -> bool {
        self.parents(at).all(|parent| self.done(parent))
    }

    /// Tasks that can start now, in the pipeline's order.
    ///
    /// # Errors
    /// The reference's text, where a task counts as done before what it waits for is; the reference then does nothing.
    pub fn queue(&self) -> Result<Vec<usize>, String> {
        if self.gracefully_cancelled() {
            return Ok(Vec::new());
        }
        let done: BTreeSet<usize> = self.dag().map(|(at, _)| at).filter(|at| self.done(*at)).collect();
        let mut reached: BTreeSet<usize> = BTreeSet::new();
        let roots = self.dag().map(|(at, _)| at).filter(|at| self.before[*at].is_empty());
        let mut next: Vec<usize> = roots.collect();
        while let Some(at) = next.pop() {
            if reached.insert(at) && done.contains(&at) {
                next.extend(&self.after[at]);
            }
        }
        let lost: Vec<_> = done.difference(&reached).map(|at| self.tasks[*at].name.as_str()).collect();
        if !lost.is_empty() {
            return Err(format!(
                "invalid list of done tasks; some tasks were indicated completed without ancestors being done: [{}]",
                lost.join(" ")
            ));
        }
        if self.stopping() || self.gracefully_stopped() {
            return Ok(Vec::new());
        }
        let ready = reached.into_iter().filter(|at| !done.contains(at) && !self.tasks[*at].has_children());
        Ok(ready.filter(|at| self.parents(*at).all(|p| done.contains(&p))).collect())
    }

    /// Finally tasks that may start, now that all others are done.
    pub fn finally_queue(&self) -> Vec<usize> {
        if !self.dag_done() {
            return Vec::new();
        }
        let finally = self.tasks.iter().enumerate().filter(|(_, t)| t.finally && !t.has_children());
        finally.map(|(at, _)| at).collect()
    }

    /// Replacements `tasks.T.status`, `tasks.T.reason`, `tasks.status`.
    pub fn states(&self) -> Replacements {
        let mut out = Replacements::default();
        for (_, task) in self.dag() {
            let word = if task.succeeded() {
                "Succeeded"
            } else if task.any_failed() {
                "Failed"
            } else {
                "None"
            };
            out.strings.insert(format!("tasks.{}.status", task.name), word.to_owned());
            out.strings.insert(format!("tasks.{}.reason", task.name), task.reason().to_owned());
        }
        out.strings.insert("tasks.status".into(), self.aggregate().to_owned());
        out
    }

    fn aggregate(&self) -> &'static str {
        if !self.dag_done() {
            "None"
        } else if self.dag().any(|(_, t)| t.any_failed()) {
            "Failed"
        } else if self.dag().any(|(at, _)| self.skip(at).is_some()) {
            "Completed"
        } else {
            "Succeeded"
        }
    }

    /// What a run that is not done waits for, in words.
    pub fn waits_for(&self) -> String {
        let running = self.tasks.iter().filter(|t| t.is_running()).flat_map(|t| t.each_child());
        let names: BTreeSet<_> = running.filter(|c| !condition::is_done(&c["status"])).map(name).collect();
        format!("its children to end: {}", names.into_iter().collect::<Vec<_>>().join(", "))
    }
}
