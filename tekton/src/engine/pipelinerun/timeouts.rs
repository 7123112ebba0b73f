//! The times of a run: as a whole, for its tasks, for its finally tasks.

use serde_json::Value;

use crate::api::config::TenantConfig;
use crate::engine::doc::text;
use crate::engine::time::{duration, parse};

/// Limits and elapsed times of a run, µs. A limit of nought is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Limit of the run as a whole; 0: none.
    pub pipeline_us: i64,
    /// Limit of the tasks, said or derived.
    pub tasks_us: Option<i64>,
    /// Limit of the finally tasks, said or derived.
    pub finally_us: Option<i64>,
    now_us: i64,
    start_us: Option<i64>,
    finally_start_us: Option<i64>,
}

impl Timeouts {
    /// Those of `run`, whose status is `status` by now.
    pub fn of(run: &Value, status: &Value, config: &TenantConfig, now_us: i64) -> Self {
        let said = |which: &str| duration(text(&run["spec"]["timeouts"], which));
        let minutes =
            config.config_defaults.get("default-timeout-minutes").and_then(|m| m.parse::<i64>().ok());
        let pipeline_us = said("pipeline").unwrap_or(minutes.unwrap_or(60) * 60_000_000);
        let rest = |of: Option<i64>| match of {
            Some(other) if other > 0 && pipeline_us > 0 => Some(pipeline_us - other),
            _ => None,
        };
        Self {
            pipeline_us,
            tasks_us: said("tasks").or_else(|| rest(said("finally"))).filter(|t| *t > 0),
            finally_us: said("finally").or_else(|| rest(said("tasks"))).filter(|t| *t > 0),
            now_us,
            start_us: parse(text(status, "startTime")),
            finally_start_us: parse(text(status, "finallyStartTime")),
        }
    }

    /// Notes that the finally tasks begin now.
    pub fn finally_begins(&mut self) {
        self.finally_start_us.get_or_insert(self.now_us);
    }

    /// The finally tasks have begun.
    pub fn finally_has_begun(&self) -> bool {
        self.finally_start_us.is_some()
    }

    fn elapsed_us(&self) -> i64 {
        self.start_us.map_or(0, |start| self.now_us - start)
    }

    /// The run must end now.
    pub fn pipeline_timed_out(&self) -> bool {
        self.pipeline_us > 0 && self.elapsed_us() >= self.pipeline_us
    }

    /// The run should have ended long ago.
    pub fn long_overdue(&self) -> bool {
        self.pipeline_us > 0 && self.elapsed_us() >= 2 * self.pipeline_us
    }

    /// Nothing starts any more.
    pub fn pipeline_is_over(&self) -> bool {
        self.pipeline_us > 0 && self.elapsed_us() > self.pipeline_us
    }

    /// The tasks have taken too long: until the finally tasks began, or until now.
    pub fn tasks_timed_out(&self) -> bool {
        let until = self.finally_start_us.unwrap_or(self.now_us);
        let taken = self.start_us.map_or(0, |start| until - start);
        self.tasks_us.is_some_and(|limit| taken >= limit)
    }

    /// No task starts any more.
    pub fn tasks_are_over(&self) -> bool {
        self.tasks_us.is_some_and(|limit| self.elapsed_us() > limit)
    }

    /// The finally tasks have taken too long.
    pub fn finally_timed_out(&self) -> bool {
        matches!((self.finally_start_us, self.finally_us), (Some(begun), Some(limit)) if self.now_us - begun >= limit)
    }

    /// No finally task starts any more.
    pub fn finally_is_over(&self) -> bool {
        matches!((self.finally_start_us, self.finally_us), (Some(begun), Some(limit)) if self.now_us - begun > limit)
    }

    /// Until somebody must look again, µs: as the reference computes it, also negative.
    pub fn wake_after_us(&self) -> Option<i64> {
        self.start_us?;
        let mut wait = (self.pipeline_us > 0).then(|| self.pipeline_us - self.elapsed_us());
        match self.finally_start_us {
            None => wait = self.tasks_us.map(|limit| limit - self.elapsed_us()).or(wait),
            Some(begun) => {
                let finally = self.finally_us.map(|limit| limit - (self.now_us - begun));
                wait = [wait, finally].into_iter().flatten().min();
            }
        }
        wait
    }
}
