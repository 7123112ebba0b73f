//! Counters of a cell, in the text format of Prometheus. Labels are bounded: never a tenant, never a run.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;
use store::cell::CellError;

/// Counters of a cell since its start.
#[derive(Default)]
pub(crate) struct Metrics {
    registry: Registry,
    passes: Family<Pass, Counter>,
    ended: Family<Ended, Counter>,
    parts: Family<Part, Histogram>,
    created: Counter,
    lost: Counter,
    moved: Counter,
    machines: Gauge,
    waiting: Gauge,
    running: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("cell");
        let metrics = Self {
            passes: Family::default(),
            ended: Family::default(),
            parts: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            created: Counter::default(),
            lost: Counter::default(),
            moved: Counter::default(),
            machines: Gauge::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("passes", "Passes of the runs loop by outcome", metrics.passes.clone());
        registry.register("runs_ended", "Runs that ended, by kind and outcome", metrics.ended.clone());
        registry.register(
            "taskrun_part_seconds",
            "Parts of TaskRuns that ended: the time up to an instant from the one before it",
            metrics.parts.clone(),
        );
        registry.register("machines_created", "Machines asked of the provider", metrics.created.clone());
        registry.register(
            "machines_lost",
            "Machines lost while an attempt counted on them",
            metrics.lost.clone(),
        );
        registry.register("runs_moved", "Runs that this cell has placed again", metrics.moved.clone());
        registry.register("machines", "Machines at the provider", metrics.machines.clone());
        registry.register("runs_waiting", "Runs that wait to be looked at", metrics.waiting.clone());
        registry.register("runs_running", "Runs that are being looked at", metrics.running.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    pub(crate) fn pass(&self, written: bool) {
        if written { &self.passes_written } else { &self.passes_idle }.fetch_add(1, Relaxed);
    }

    pub(crate) fn pass_failed(&self, error: &CellError) {
        self.passed(match error {
            CellError::Conflict { .. } => "raced",
            CellError::Full
            | CellError::Limit
            | CellError::Unavailable(_)
            | CellError::Damaged(_)
            | CellError::Foreign(_) => "failed",
        });
    }

    fn passed(&self, outcome: &'static str) {
        self.passes.get_or_create(&Pass { outcome }).inc();
    }

    pub(crate) fn run_ended(&self, run: &Value) {
        let conditions = run["status"]["conditions"].as_array().into_iter().flatten();
        let good = conditions.filter(|c| c["type"] == "Succeeded").any(|c| c["status"] == "True");
        let counter = match (run["kind"] == "TaskRun", good) {
            (true, true) => &self.taskruns_succeeded,
            (true, false) => &self.taskruns_failed,
            (false, true) => &self.pipelineruns_succeeded,
            (false, false) => &self.pipelineruns_failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn machine_created(&self) {
        self.machines_created.fetch_add(1, Relaxed);
    }

    pub(crate) fn machine_lost(&self) {
        self.machines_lost.fetch_add(1, Relaxed);
    }

    pub(crate) fn run_moved(&self) {
        self.moved.inc();
    }

    /// Everything that is counted, with the given gauges.
    pub(crate) fn text(&self, machines: usize, waiting: usize, running: usize) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        family(
            "cell_passes_total",
            "counter",
            "Passes of the runs loop by outcome.",
            &[
                ("{outcome=\"written\"}", read(&self.passes_written)),
                ("{outcome=\"idle\"}", read(&self.passes_idle)),
                ("{outcome=\"raced\"}", read(&self.passes_raced)),
                ("{outcome=\"failed\"}", read(&self.passes_failed)),
            ],
        );
        family(
            "cell_runs_ended_total",
            "counter",
            "Runs that ended, by kind and outcome.",
            &[
                ("{kind=\"TaskRun\",outcome=\"succeeded\"}", read(&self.taskruns_succeeded)),
                ("{kind=\"TaskRun\",outcome=\"failed\"}", read(&self.taskruns_failed)),
                ("{kind=\"PipelineRun\",outcome=\"succeeded\"}", read(&self.pipelineruns_succeeded)),
                ("{kind=\"PipelineRun\",outcome=\"failed\"}", read(&self.pipelineruns_failed)),
            ],
        );
        family(
            "cell_machines_created_total",
            "counter",
            "Machines asked of the provider.",
            &[("", read(&self.machines_created))],
        );
        family(
            "cell_machines_lost_total",
            "counter",
            "Machines lost while an attempt counted on them.",
            &[("", read(&self.machines_lost))],
        );
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        family("cell_machines", "gauge", "Machines at the provider.", &[("", count(machines))]);
        family("cell_runs_waiting", "gauge", "Runs that wait to be looked at.", &[("", count(waiting))]);
        family("cell_runs_running", "gauge", "Runs that are being looked at.", &[("", count(running))]);
        out
    }
}
