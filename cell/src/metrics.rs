//! What a cell did, in the text format that Prometheus reads (OpenMetrics). Labels are bounded: never a tenant, never a
//! run.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::Value;
use store::cell::{CellError, TIMINGS};

/// Type of the body of `/metrics`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of a run's parts, in seconds: from a warm machine to a build of an hour.
const SECONDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// The instants of a TaskRun in their order; the time from one that is known to the next is a part of the run.
const INSTANTS: [&str; 7] = ["queued", "placed", "booted", "pulled", "gate", "first_step", "done"];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Pass {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Part {
    until: &'static str,
}

/// What a cell did since its start.
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
        self.passed(if written { "written" } else { "idle" });
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
        let kind = if run["kind"] == "TaskRun" { "TaskRun" } else { "PipelineRun" };
        let outcome = if good { "succeeded" } else { "failed" };
        self.ended.get_or_create(&Ended { kind, outcome }).inc();
        for (until, seconds) in parts(run) {
            self.parts.get_or_create(&Part { until }).observe(seconds);
        }
    }

    pub(crate) fn machine_created(&self) {
        self.created.inc();
    }

    pub(crate) fn machine_lost(&self) {
        self.lost.inc();
    }

    pub(crate) fn run_moved(&self) {
        self.moved.inc();
    }

    /// Everything that is counted, with the given gauges.
    pub(crate) fn text(&self, machines: usize, waiting: usize, running: usize) -> String {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.machines.set(count(machines));
        self.waiting.set(count(waiting));
        self.running.set(count(running));
        let mut out = String::new();
        if encode(&mut out, &self.registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
        out
    }
}

/// The parts of a TaskRun that ended, each with its seconds. Clocks of different machines may disagree: a part that
/// would be negative took no time.
fn parts(run: &Value) -> Vec<(&'static str, f64)> {
    let Some(timings) = apimachinery::meta::annotation(run, TIMINGS) else { return Vec::new() };
    let timings: Value = serde_json::from_str(timings).unwrap_or_default();
    let known: Vec<_> =
        INSTANTS.iter().filter_map(|instant| Some((*instant, timings[*instant].as_i64()?))).collect();
    let part = |pair: &[(&'static str, i64)]| (pair[1].0, (pair[1].1 - pair[0].1).max(0) as f64 / 1e6);
    known.windows(2).map(part).collect()
}

#[cfg(test)]
mod tests;
