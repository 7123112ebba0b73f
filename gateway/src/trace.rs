//! The gateway's span of a run's trace: the commit that accepts it.
//!
//! Its id is the one that is stored on the run, so whoever works for the run later hangs its spans below it.

use apimachinery::meta;
use base::telemetry::{Traceparent, known_span};
use serde_json::Value;
use store::cell::TRACEPARENT;

use crate::entry::Ask;
use crate::objects::At;

/// The trace that the client's request belongs to.
pub(crate) fn sent(ask: &Ask) -> Option<Traceparent> {
    ask.headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(Traceparent::parse)
}

/// Records that `run` was submitted. What was not placed (no run, or no root run) has no trace.
pub(crate) fn submitted(at: &At<'_>, run: &Value, start_us: i64) {
    let kind = at.target.kind;
    if kind.group != "tekton.dev" || !matches!(kind.plural, "taskruns" | "pipelineruns") {
        return;
    }
    let Some(own) = meta::annotation(run, TRACEPARENT).and_then(Traceparent::parse) else { return };
    let fields = [
        ("component", "gateway".to_owned()),
        ("run.kind", kind.kind.to_owned()),
        ("run.name", meta::name(run).to_owned()),
        ("tenant.id", at.grant.tenant().to_string()),
    ];
    let parent = sent(at.ask).map(|parent| parent.span);
    known_span("submit", own, parent, start_us, at.app.host.clock.utc().0, &fields);
}
