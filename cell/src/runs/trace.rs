//! The spans of a run that has ended, from the instants that were stored on the way.

use apimachinery::meta;
use apimachinery::time::Micros;
use base::telemetry::{Traceparent, known_span, span};
use serde_json::Value;
use store::cell::TRACEPARENT;
use store::cell::view::View;

/// From, to and name of each part of an attempt, and who did it.
const PARTS: [(&str, &str, &str, &str); 6] = [
    ("queued", "placed", "queued", "cell"),
    ("placed", "booted", "machine", "cell"),
    ("booted", "pulled", "pull", "agent"),
    ("pulled", "gate", "prepare", "agent"),
    ("gate", "first_step", "first step", "agent"),
    ("first_step", "done", "steps", "agent"),
];

/// Records the spans of `run`, which has just ended.
pub(super) fn ended(view: &View, run: &Value) {
    let Some(trace) = meta::annotation(run, TRACEPARENT).and_then(Traceparent::parse) else { return };
    let instant = |member: &str| Micros::parse(run["status"][member].as_str()?).map(|t| t.0);
    let created = Micros::parse(meta::text(run, "creationTimestamp")).map(|t| t.0);
    let (Some(start_us), Some(end_us)) = (created, instant("completionTime")) else { return };
    let fields = [
        ("component", "cell".to_owned()),
        ("run.kind", run["kind"].as_str().unwrap_or_default().to_owned()),
        ("run.name", view.run.key.name.clone()),
        ("tenant.id", view.run.key.tenant.clone()),
    ];
    let start_us =
        view.attempts.first().and_then(|(a, _)| a.timings.get("queued")).copied().unwrap_or(start_us);
    let end_us = view.attempts.last().and_then(|(a, _)| a.timings.get("done")).copied().unwrap_or(end_us);
    let own = trace.of(meta::uid(run));
    // A child hangs below its parent's span, a root run below the gateway's.
    let parent =
        meta::owners(run).next().map_or(trace, |owner| trace.of(owner["uid"].as_str().unwrap_or("")));
    known_span("run", own, Some(parent.span), start_us, end_us, &fields);
    for (attempt, _) in &view.attempts {
        for (from, to, name, component) in PARTS {
            let fields = [
                ("component", component.to_owned()),
                ("attempt.id", attempt.id.clone()),
                ("machine.id", attempt.machine.clone()),
            ];
            if let (Some(from), Some(to)) = (attempt.timings.get(from), attempt.timings.get(to))
                && from <= to
            {
                span(name, own, *from, *to, &fields);
            }
        }
    }
    steps(own, run);
}

/// Records the steps, as far as the kubelet's form of their ends (whole seconds) tells.
fn steps(run_span: Traceparent, run: &Value) {
    for step in run["status"]["steps"].as_array().into_iter().flatten() {
        let instant = |member: &str| Micros::parse(step["terminated"][member].as_str()?).map(|t| t.0);
        let (Some(start_us), Some(end_us)) = (instant("startedAt"), instant("finishedAt")) else { continue };
        let fields = [
            ("component", "step".to_owned()),
            ("step.name", step["name"].as_str().unwrap_or_default().to_owned()),
            ("step.exit_code", step["terminated"]["exitCode"].to_string()),
        ];
        span("step", run_span, start_us, end_us.max(start_us), &fields);
    }
}
