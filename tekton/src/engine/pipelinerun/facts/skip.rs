//! Why a task does not run.

use serde_json::Value;

use super::Facts;
use crate::cel;
use crate::engine::doc::{list, text, texts};
use crate::engine::pipelinerun::{matrix, results};

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
    /// A param of its matrix is an empty list.
    EmptyMatrix,
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
            Skip::EmptyMatrix => "Matrix Parameters have an empty array",
        }
    }

    /// Time was over.
    pub fn is_timeout(self) -> bool {
        matches!(self, Skip::PipelineTimeout | Skip::TasksTimeout | Skip::FinallyTimeout)
    }
}

impl Facts<'_> {
    /// Why the task at `at` does not run; `None`: it runs, or may yet.
    pub fn skip(&self, at: usize) -> Option<Skip> {
        if let Some(known) = self.skips.borrow().get(&at) {
            return *known;
        }
        let found = if self.tasks[at].finally { self.skip_finally(at) } else { self.find_skip(at) };
        self.skips.borrow_mut().insert(at, found);
        found
    }

    fn find_skip(&self, at: usize) -> Option<Skip> {
        let task = &self.tasks[at];
        if task.is_scheduled() {
            return None;
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
        let parents_done = self.parents_done(at);
        if parents_done && !when_holds(&task.entry) {
            return Some(Skip::When);
        }
        if self.parents(at).any(|p| !matches!(self.skip(p), None | Some(Skip::When))) {
            return Some(Skip::Parent);
        }
        if !parents_done {
            return matrix::has_empty_list(&task.entry["matrix"]).then_some(Skip::EmptyMatrix);
        }
        if self.results_missing(at) {
            return Some(Skip::MissingResults);
        }
        if self.times.pipeline_is_over() {
            return Some(Skip::PipelineTimeout);
        }
        if self.times.tasks_are_over() {
            return Some(Skip::TasksTimeout);
        }
        matrix::has_empty_list(&task.entry["matrix"]).then_some(Skip::EmptyMatrix)
    }

    fn skip_finally(&self, at: usize) -> Option<Skip> {
        let task = &self.tasks[at];
        if task.is_scheduled() || !self.dag_done() {
            return None;
        }
        if self.results_missing(at) {
            return Some(Skip::MissingResults);
        }
        if !when_holds(&task.entry) {
            return Some(Skip::When);
        }
        if self.times.pipeline_is_over() {
            return Some(Skip::PipelineTimeout);
        }
        if self.times.finally_is_over() {
            return Some(Skip::FinallyTimeout);
        }
        matrix::has_empty_list(&task.entry["matrix"]).then_some(Skip::EmptyMatrix)
    }

    /// A result it needs cannot be had, because it is a finally task, its failure would not matter, or its producer's
    /// when expressions said no. Any other lack is a mistake of the pipeline.
    fn results_missing(&self, at: usize) -> bool {
        let task = &self.tasks[at];
        let Err(missing) = results::resolve(&task.entry, |name| self.find(name)) else { return false };
        let Some(producer) = self.index.get(&missing.task) else { return false };
        task.finally || task.ignores_failure() || self.skip(*producer) == Some(Skip::When)
    }
}

/// All when expressions hold.
fn when_holds(entry: &Value) -> bool {
    list(entry, "when").iter().all(|when| {
        let program = text(when, "cel");
        if !program.is_empty() {
            // A program that cannot be evaluated has ended the run before anybody asks here.
            return cel::evaluate(program) == Ok(true);
        }
        let among = texts(when, "values").iter().any(|v| v == text(when, "input"));
        match text(when, "operator") {
            "notin" => !among,
            _ => among,
        }
    })
}
