//! The spans of a run that has ended, from the instants that were stored on the way.

use apimachinery::meta;
use apimachinery::time::Micros;
use base::telemetry::{Traceparent, root_span, span};
use serde_json::Value;
use store::cell::TRACEPARENT;
use store::cell::view::View;

/// From, to and name of each part of an attempt.
const PARTS: [(&str, &str, &str); 6] = [
    ("queued", "placed", "queued"),
    ("placed", "booted", "machine"),
    ("booted", "pulled", "pull"),
    ("pulled", "gate", "prepare"),
    ("gate", "first_step", "first step"),
    ("first_step", "done", "steps"),
];

/// Records the spans of `run`, which has just ended.
pub(super) fn ended(view: &View, run: &Value) {
    let Some(parent) = meta::annotation(run, TRACEPARENT).and_then(Traceparent::parse) else { return };
    let instant = |member: &str| Micros::parse(run["status"][member].as_str()?).map(|t| t.0);
    let created = Micros::parse(meta::text(run, "creationTimestamp")).map(|t| t.0);
    let (Some(start_us), Some(end_us)) = (created, instant("completionTime")) else { return };
    let fields = [
        ("run.kind", run["kind"].as_str().unwrap_or_default().to_owned()),
        ("run.name", view.run.key.name.clone()),
        ("tenant.id", view.run.key.tenant.clone()),
    ];
    let start_us =
        view.attempts.first().and_then(|(a, _)| a.timings.get("queued")).copied().unwrap_or(start_us);
    let end_us = view.attempts.last().and_then(|(a, _)| a.timings.get("done")).copied().unwrap_or(end_us);
    if meta::owners(run).next().is_none() {
        root_span("run", parent, start_us, end_us, &fields);
    } else {
        span("run", parent, start_us, end_us, &fields);
    }
    for (attempt, _) in &view.attempts {
        let fields = [("attempt.id", attempt.id.clone()), ("machine.id", attempt.machine.clone())];
        for (from, to, name) in PARTS {
            if let (Some(from), Some(to)) = (attempt.timings.get(from), attempt.timings.get(to))
                && from <= to
            {
                span(name, parent, *from, *to, &fields);
            }
        }
    }
}
