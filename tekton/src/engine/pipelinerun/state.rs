//! One task of the pipeline: its entry, what it refers to, and the children made for it.

use std::borrow::Cow;

use serde_json::Value;

use crate::engine::condition;
use crate::engine::doc::{list, text};

/// What a cancelled child is told when the time of its run is over.
pub const TIMED_OUT: &str = "has timed out.";

/// What a task of the pipeline is run as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A TaskRun.
    Task,
    /// A CustomRun, which somebody else runs.
    Custom,
    /// A PipelineRun.
    Pipeline,
}

impl Kind {
    /// What an entry of the pipeline asks for.
    pub fn of(task: &Value) -> Self {
        let custom = |reference: &Value| {
            !text(reference, "apiVersion").is_empty() && !matches!(text(reference, "kind"), "" | "Task")
        };
        if !task["pipelineRef"].is_null() || !task["pipelineSpec"].is_null() {
            Kind::Pipeline
        } else if custom(&task["taskRef"]) || custom(&task["taskSpec"]) {
            Kind::Custom
        } else {
            Kind::Task
        }
    }

    /// Kind of the child.
    pub fn child(self) -> &'static str {
        match self {
            Kind::Task => "TaskRun",
            Kind::Custom => "CustomRun",
            Kind::Pipeline => "PipelineRun",
        }
    }

    /// API version of the child.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Task | Kind::Pipeline => "tekton.dev/v1",
            Kind::Custom => "tekton.dev/v1beta1",
        }
    }
}

/// A task of the pipeline, resolved. What it shows of the pipeline and of its children is borrowed until something is put
/// into it: of a thousand tasks few change in a pass.
#[derive(Clone, Debug)]
pub struct Task<'t> {
    /// Its name in the pipeline.
    pub name: String,
    /// Its entry with everything substituted that is known.
    pub entry: Cow<'t, Value>,
    /// Its entry as the list of children shows it: without what only the pass that starts it substitutes.
    pub shown: Cow<'t, Value>,
    /// It is a finally task.
    pub finally: bool,
    /// What it is run as.
    pub kind: Kind,
    /// Spec of the Task, or null.
    pub spec: Cow<'t, Value>,
    /// Name of the Task, or "" if it is embedded.
    pub task_name: String,
    /// Names of its children, there or not.
    pub names: Vec<String>,
    /// Its children that are there.
    pub children: Vec<Cow<'t, Value>>,
}

impl Task<'_> {
    /// It is run several times, with different params.
    pub fn is_matrixed(&self) -> bool {
        !list(&self.entry["matrix"], "params").is_empty()
            || !list(&self.entry["matrix"], "include").is_empty()
    }

    /// A failure of it does not stop the pipeline.
    pub fn ignores_failure(&self) -> bool {
        text(&self.entry, "onError") == "continue"
    }

    /// Its children that are there.
    pub fn each_child(&self) -> impl Iterator<Item = &Value> {
        self.children.iter().map(|child| &**child)
    }

    /// It has children.
    pub fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// It has children that count as started where skipping is asked; a pipeline does not.
    pub fn is_scheduled(&self) -> bool {
        self.has_children() && self.kind != Kind::Pipeline
    }

    /// Some of the children that its matrix asks for are not there: they are still to be made, or were deleted.
    pub fn lacks_children(&self) -> bool {
        self.has_children() && self.is_matrixed() && self.children.len() < self.names.len()
    }

    /// All children have ended well.
    pub fn succeeded(&self) -> bool {
        self.has_children()
            && !self.lacks_children()
            && self.children.iter().all(|c| condition::is_successful(&c["status"]))
    }

    /// A child has ended badly.
    pub fn any_failed(&self) -> bool {
        self.children.iter().any(|c| text(condition::succeeded(&c["status"]), "status") == "False")
    }

    fn all_done(&self) -> bool {
        self.children.iter().all(|c| condition::is_done(&c["status"]))
    }

    /// All children have ended, one of them badly.
    pub fn failed(&self) -> bool {
        self.any_failed() && self.all_done()
    }

    /// Children have not all ended.
    pub fn is_running(&self) -> bool {
        self.has_children() && !self.succeeded() && !self.failed()
    }

    /// All children have ended, and one was cancelled.
    pub fn cancelled(&self) -> bool {
        self.children.iter().any(|child| self.was_cancelled(child)) && self.all_done()
    }

    /// All children have ended, and one was cancelled because time was over.
    pub fn cancelled_for_timeout(&self) -> bool {
        let timed_out = |child: &Value| {
            self.was_cancelled(child) && text(&child["spec"], "statusMessage").ends_with(TIMED_OUT)
        };
        self.each_child().any(timed_out) && self.all_done()
    }

    fn was_cancelled(&self, child: &Value) -> bool {
        let condition = condition::succeeded(&child["status"]);
        let word = match self.kind {
            Kind::Task => "TaskRunCancelled",
            Kind::Custom => "CustomRunCancelled",
            // A child pipeline that was cancelled counts as failed, as in the reference.
            Kind::Pipeline => return false,
        };
        text(condition, "status") == "False" && text(condition, "reason") == word
    }

    /// Reason of the first child that has not ended well, else of the first; or "".
    pub fn reason(&self) -> &str {
        let told = |child: &&Value| !condition::succeeded(&child["status"]).is_null();
        let not_well = |child: &&Value| told(child) && !condition::is_successful(&child["status"]);
        let child = self.each_child().find(not_well).or_else(|| self.each_child().next());
        child.map_or("", |child| text(condition::succeeded(&child["status"]), "reason"))
    }
}
