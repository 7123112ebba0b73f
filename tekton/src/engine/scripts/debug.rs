//! Breakpoints: where a step stops, and the scripts with which whoever debugs it lets it go on.

use serde_json::{Value, json};

use super::PREAMBLE;
use crate::engine::doc::{list_mut, text, texts};
use crate::engine::names::suffix;

/// Volume of the scripts.
pub const SCRIPTS_VOLUME: &str = "tekton-internal-debug-scripts";
/// Volume that tells which step stands.
pub const INFO_VOLUME: &str = "tekton-internal-debug-info";

/// Where steps stop.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Breakpoints {
    /// After a step that has failed.
    pub on_failure: bool,
    /// Before the steps of these names.
    pub before: Vec<String>,
}

impl Breakpoints {
    /// Those of a TaskRun's `spec.debug`.
    pub fn of(debug: &Value) -> Self {
        let breakpoints = &debug["breakpoints"];
        Self {
            on_failure: text(breakpoints, "onFailure") == "enabled",
            before: texts(breakpoints, "beforeSteps"),
        }
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.on_failure || !self.before.is_empty()
    }

    /// Whether the step `name` is stood before.
    pub fn stops_before(&self, name: &str) -> bool {
        self.before.iter().any(|step| step == name)
    }

    /// Mounts in a step what debugging it needs.
    pub(super) fn mount(&self, step: &mut Value, index: usize) {
        if self.any() {
            let info = json!({"name": INFO_VOLUME, "mountPath": format!("/tekton/debug/info/{index}")});
            list_mut(step, "volumeMounts").extend([scripts_mount(true), info]);
        }
    }

    /// Writes the scripts for a task of `steps` steps.
    pub(super) fn write(&self, steps: usize, seed: &str, writer: &mut String) {
        let mut scripts = Vec::new();
        if self.on_failure {
            scripts.push(("continue", go_on(steps, "\ttouch ${tektonRun}/${stepNumber}/out # Mark step as success\n\techo \"0\" > ${tektonRun}/${stepNumber}/out.breakpointexit\n", "")));
            scripts.push(("fail-continue", go_on(steps, "\ttouch ${tektonRun}/${stepNumber}/out.err # Mark step as a failure\n\techo \"1\" > ${tektonRun}/${stepNumber}/out.breakpointexit\n", "")));
        }
        if !self.before.is_empty() {
            let before = "before step ";
            scripts.push((
                "beforestep-continue",
                go_on(steps, "\techo \"0\" > ${tektonRun}/${stepNumber}/out.beforestepexit\n", before),
            ));
            scripts.push((
                "beforestep-fail-continue",
                go_on(steps, "\techo \"1\" > ${tektonRun}/${stepNumber}/out.beforestepexit.err\n", before),
            ));
        }
        for (name, content) in scripts {
            let mark = format!(
                "debug-{name}-heredoc-randomly-generated-{}",
                suffix(&format!("{seed}/debug-{name}"))
            );
            writer.push_str(&format!(
                "tmpfile=\"/tekton/debug/scripts/debug-{name}\"\ntouch ${{tmpfile}} && chmod +x ${{tmpfile}}\ncat > ${{tmpfile}} << '{mark}'\n{content}\n{mark}\n"
            ));
        }
    }
}

pub(super) fn scripts_mount(read_only: bool) -> Value {
    let mut mount = json!({"name": SCRIPTS_VOLUME, "mountPath": "/tekton/debug/scripts"});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

/// A script that finds the step that stands, and does `release` to it.
fn go_on(steps: usize, release: &str, what: &str) -> String {
    format!(
        "{PREAMBLE}\nnumberOfSteps={steps}\ndebugInfo=/tekton/debug/info\ntektonRun=/tekton/run\n\npostFile=\"$(ls ${{debugInfo}} | grep -E '[0-9]+' | tail -1)\"\nstepNumber=\"$(echo ${{postFile}} | sed 's/[^0-9]*//g')\"\n\nif [ $stepNumber -lt $numberOfSteps ]; then\n{release}\techo \"Executing step $stepNumber...\"\nelse\n\techo \"Last step (no. $stepNumber) has already been executed, {what}breakpoint exiting !\"\n\texit 0\nfi"
    )
}
