//! From counting tasks to the condition of the run.

use super::Facts;
use crate::engine::condition::Truth;
use crate::engine::doc::name;
use crate::engine::time::go_duration;

/// How many tasks are how far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Counts {
    succeeded: usize,
    failed: usize,
    ignored: usize,
    cancelled: usize,
    invalid: Vec<String>,
    skipped: usize,
    timed_out: usize,
    incomplete: usize,
}

impl Facts<'_> {
    fn counts(&self) -> Counts {
        let mut out = Counts::default();
        for (at, task) in self.tasks.iter().enumerate() {
            if task.succeeded() {
                out.succeeded += 1;
            } else if task.cancelled_for_timeout() {
                out.failed += 1;
            } else if task.cancelled() {
                out.cancelled += 1;
            } else if task.failed() {
                *(if task.ignores_failure() { &mut out.ignored } else { &mut out.failed }) += 1;
            } else if let Some(why) = self.invalid.get(&task.name) {
                out.invalid.push(why.clone());
            } else if let Some(skip) = self.skip(at) {
                out.skipped += 1;
                out.timed_out += usize::from(skip.is_timeout());
            } else {
                out.incomplete += 1;
            }
        }
        out
    }

    /// The condition that follows.
    pub fn condition(&self) -> (Truth, &'static str, String) {
        let run = name(self.run);
        if self.times.pipeline_timed_out() {
            let limit = go_duration(self.times.pipeline_us);
            let message = format!("PipelineRun {run:?} failed to finish within {limit:?}");
            return (Truth::False, "PipelineRunTimeout", message);
        }
        let counts = self.counts();
        if let Some(limit_us) = self.times.tasks_us.filter(|_| self.times.tasks_timed_out())
            && (counts.incomplete == 0 || !self.has_finally())
        {
            let limit = go_duration(limit_us);
            let message =
                format!("PipelineRun {run:?} failed due to tasks failed to finish within {limit:?}");
            return (Truth::False, "PipelineRunTimeout", message);
        }
        if counts.incomplete == 0 { self.ended(&counts) } else { self.running_on(&counts) }
    }

    fn ended(&self, counts: &Counts) -> (Truth, &'static str, String) {
        let Counts { succeeded, failed, ignored, cancelled, invalid, skipped, timed_out, .. } = counts;
        let completed = succeeded + failed + ignored + cancelled;
        let ignored_text = if *ignored > 0 { format!(" (Ignored: {ignored})") } else { String::new() };
        let mut message = format!(
            "Tasks Completed: {completed} (Failed: {}{ignored_text}, Cancelled {cancelled}), Skipped: {skipped}",
            failed + ignored
        );
        if !invalid.is_empty() {
            message.push_str(&format!(", Failed Validation: {} ({})", invalid.len(), invalid.join("; ")));
            (Truth::False, "PipelineValidationFailed", message)
        } else if failed + timed_out > 0 {
            (Truth::False, "Failed", message)
        } else if self.gracefully_cancelled() || self.gracefully_stopped() {
            (Truth::False, "Cancelled", format!("PipelineRun {:?} was cancelled", name(self.run)))
        } else if *cancelled > 0 {
            (Truth::False, "Cancelled", message)
        } else if *skipped > 0 {
            (Truth::True, "Completed", message)
        } else {
            (Truth::True, "Succeeded", message)
        }
    }

    fn running_on(&self, counts: &Counts) -> (Truth, &'static str, String) {
        let Counts { succeeded, failed, ignored, cancelled, skipped, incomplete, .. } = counts;
        let finally_done =
            || (0..self.tasks.len()).filter(|at| self.tasks[*at].finally).all(|at| self.done(at));
        let reason = if self.gracefully_cancelled() {
            "CancelledRunningFinally"
        } else if self.gracefully_stopped() {
            "StoppedRunningFinally"
        } else if self.times.tasks_timed_out() {
            "PipelineRunTimeoutRunningFinally"
        } else if *cancelled > 0 || (*failed > 0 && finally_done()) {
            "PipelineRunStopping"
        } else {
            "Running"
        };
        let completed = succeeded + failed + ignored + cancelled;
        let message = format!(
            "Tasks Completed: {completed} (Failed: {failed}, Cancelled {cancelled}), Incomplete: {incomplete}, Skipped: {skipped}"
        );
        (Truth::Unknown, reason, message)
    }
}
