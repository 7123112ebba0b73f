//! CloudEvents on their way: messages in the store, sent to the tenant's sink until it takes them.
//!
//! At least once: a message goes only when the sink has answered with a success, or after [`GIVEN_UP`]. The same event
//! has the same `ce-id` each time. Sinks are servers that a tenant names, so requests go through [`crate::fetch`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use apimachinery::time::Micros;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use store::backend::RowKey;
use store::cell::CellError;
use store::cell::apply::{EventWrite, RunWrite};
use store::cell::outbox::Held;
use store::cell::view::View;
use store::object::ObjectKey;
use tekton::api::config::TenantConfig;
use tekton::engine::cloudevents::{self, CloudEvent};
use url::Url;

use crate::Inner;
use crate::fetch::Request;

/// Kind of the runs that others run.
pub(crate) const CUSTOM_RUNS: &str = "customruns.tekton.dev";
/// Bytes that are read of an answer.
const ANSWER_MAX: usize = 64 * 1024;
/// A sink must answer within this time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses between two tries.
const PAUSE_MIN_US: i64 = 10_000;
const PAUSE_MAX_US: i64 = 60_000_000;
/// How long an event is tried, µs.
const GIVEN_UP: i64 = 3_600_000_000;
/// Custom runs whose last event is remembered.
const REMEMBERED: usize = 4096;

/// The last events of custom runs. It may be lost: then one is sent again.
#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<ObjectKey, String>>);

/// An event as it is kept.
pub(crate) fn message(event: CloudEvent) -> (String, Value) {
    let content = json!({
        "type": event.kind, "source": event.source, "subject": event.subject, "sink": event.sink, "data": event.data,
    });
    (event.id, content)
}

/// Tells the state of a custom run, once.
pub(crate) async fn custom_run(cell: &Inner, view: &View, config: &TenantConfig) -> Result<(), CellError> {
    let wanted = config.feature_flags.get("send-cloudevents-for-runs").is_none_or(|flag| flag != "false");
    let event =
        cloudevents::sink(config).filter(|_| wanted).and_then(|s| cloudevents::of(&view.run.value, s));
    let fresh = event.filter(|event| {
        let mut told = cell.told.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(view.run.key.clone(), event.id.clone()).as_ref() != Some(&event.id)
    });
    let write = RunWrite { messages: fresh.into_iter().map(message).collect(), ..RunWrite::default() };
    cell.store.run_apply(view, write).await.map(drop)
}

/// Sends the messages in `rows`.
pub(crate) async fn send(
    cell: &Arc<Inner>,
    key: &ObjectKey,
    rows: &BTreeSet<RowKey>,
) -> Result<(), CellError> {
    for held in cell.store.outbox_read(rows).await? {
        let event = &held.message.content;
        let run = about(event);
        let (kind, sink) = (text(event, "type"), text(event, "sink"));
        match deliver(cell, &held).await {
            Ok(()) => {
                let message = format!("CloudEvent {kind} was sent to {sink}");
                let told = EventWrite { kind: "Normal", reason: "CloudEventSent".into(), message };
                cell.store.outbox_done(&held, &run, &told).await?;
            }
            Err(refused) => {
                let now_us = cell.host.clock.utc().0;
                if refused.for_good || now_us - held.message.since_us > GIVEN_UP {
                    let message = format!("CloudEvent {kind} was not sent to {sink}: {}", refused.why);
                    let told = EventWrite { kind: "Warning", reason: "CloudEventFailed".into(), message };
                    cell.store.outbox_done(&held, &run, &told).await?;
                } else {
                    let pause =
                        PAUSE_MIN_US.saturating_mul(1 << held.message.tries.min(20)).min(PAUSE_MAX_US);
                    cell.store.outbox_again(key, &held, now_us + pause).await?;
                }
            }
        }
    }
    Ok(())
}

/// The run that an event is about, by the version in which it is stored: events carry an older one.
fn about(event: &Value) -> Value {
    let data = event["data"].as_object().and_then(|data| data.values().next());
    let mut run = data.cloned().unwrap_or_default();
    let mut source = text(event, "source").split('/').skip(2);
    if let (Some(group), Some(version)) = (source.next(), source.next()) {
        run["apiVersion"] = json!(format!("{group}/{version}"));
    }
    run
}

/// Why a sink has not taken an event.
struct Refused {
    why: String,
    /// It never will.
    for_good: bool,
}

fn text<'a>(event: &'a Value, member: &str) -> &'a str {
    event[member].as_str().unwrap_or("")
}

/// Sends one event in binary form: attributes as headers, the data as body.
async fn deliver(cell: &Inner, held: &Held) -> Result<(), Refused> {
    let event = &held.message.content;
    let never = |why: String| Refused { why, for_good: true };
    let url = Url::parse(text(event, "sink")).map_err(|error| never(error.to_string()))?;
    let mut request =
        Request::get(url, ANSWER_MAX).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.method = Method::POST;
    request.body = event["data"].to_string().into();
    let time = Micros(held.message.since_us).rfc3339_micros();
    for (name, value) in [
        ("ce-id", held.message.id.as_str()),
        ("ce-source", text(event, "source")),
        ("ce-specversion", "1.0"),
        ("ce-subject", text(event, "subject")),
        ("ce-time", &time),
        ("ce-type", text(event, "type")),
    ] {
        let value = HeaderValue::from_str(value).map_err(|_| never(format!("{name} cannot be a header")))?;
        request = request.header(HeaderName::from_static(name), value);
    }
    let passing = |why: String| Refused { why, for_good: false };
    match cell.host.within(TIMEOUT, cell.fetch.fetch(request)).await {
        Ok(Ok(answer)) if (200..300).contains(&answer.status) => Ok(()),
        // What a sink refuses is not sent to it again, unless it may be a passing trouble.
        Ok(Ok(answer)) if matches!(answer.status, 404 | 408 | 413 | 425 | 429 | 500..) => {
            Err(passing(format!("{}", answer.status)))
        }
        Ok(Ok(answer)) => Err(never(format!("{}", answer.status))),
        Ok(Err(crate::fetch::FetchError::Forbidden(why))) => Err(never(why)),
        Ok(Err(error)) => Err(passing(error.to_string())),
        Err(_) => Err(passing("no answer in time".into())),
    }
}
