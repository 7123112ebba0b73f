//! What an object must pass before it is stored: Tekton's defaulting and validation, and for root runs, placement.

use std::collections::BTreeMap;

use apimachinery::kind::Kind;
use apimachinery::meta;
use apimachinery::status::{Reason, Status};
use base::telemetry::Traceparent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use store::cell::{CELL, EPOCH, REGION, TRACEPARENT};
use store::tenant::Surroundings;
use tekton::api::config::TenantConfig;
use tekton::api::defaults;
use tenancy::placement::{self, CellView, Request};

use crate::answer::Refused;
use crate::objects::At;

/// Annotation: why the run is where it is, as JSON.
pub const EXPLANATION: &str = "cella.dev/placement-explanation";
/// Annotations that only we set.
const OURS: [&str; 5] = [CELL, REGION, EPOCH, EXPLANATION, store::cell::TIMINGS];

/// Admits a new object; returns warnings.
///
/// # Errors
/// A Status in Tekton's words.
pub(crate) fn create(at: &At<'_>, object: &mut Value, around: &Surroundings) -> Result<Vec<String>, Refused> {
    let kind = at.target.kind;
    for ours in OURS {
        remove_annotation(object, ours);
    }
    if kind.group == "tekton.dev" {
        defaults::apply(kind.kind, object, &config(around));
    }
    if kind.id() == "namespaces" {
        object["status"] = json!({"phase": "Active"});
        let name = meta::name(object).to_owned();
        meta::set_label(object, "kubernetes.io/metadata.name", name);
    }
    let run = matches!(kind.kind, "TaskRun" | "PipelineRun") && kind.group == "tekton.dev";
    if run {
        place(at, object, around)?;
    }
    Ok(Vec::new())
}

/// Admits a change; returns warnings.
///
/// # Errors
/// A Status in Tekton's words.
pub(crate) fn update(
    at: &At<'_>,
    new: &mut Value,
    old: &Value,
    around: &Surroundings,
) -> Result<Vec<String>, Refused> {
    let kind = at.target.kind;
    // What we set, a client can neither change nor remove.
    for ours in OURS {
        match meta::annotation(old, ours).map(str::to_owned) {
            Some(value) => meta::set_annotation(new, ours, value),
            None => remove_annotation(new, ours),
        }
    }
    if kind.group == "tekton.dev" {
        defaults::apply(kind.kind, new, &config(around));
    }
    Ok(Vec::new())
}

/// Folds what clients may write into what is stored: `stringData` of Secrets.
///
/// # Errors
/// 400 when a value is no text.
pub(crate) fn fold(kind: &Kind, object: &mut Value) -> Result<(), Refused> {
    if kind.id() != "secrets" {
        return Ok(());
    }
    let Some(map) = object.as_object_mut() else { return Ok(()) };
    if let Some(Value::Object(texts)) = map.remove("stringData") {
        let data = map.entry("data").or_insert_with(|| json!({}));
        for (key, text) in texts {
            let text = text
                .as_str()
                .ok_or_else(|| Box::new(Status::bad_request(format!("stringData.{key} is no text"))))?;
            data[key] = json!(STANDARD.encode(text));
        }
    }
    for (key, value) in map.get("data").and_then(Value::as_object).into_iter().flatten() {
        if value.as_str().is_none_or(|v| STANDARD.decode(v).is_err()) {
            return Err(Box::new(Status::bad_request(format!(
                "data.{key} is not base64; text may be given in stringData"
            ))));
        }
    }
    if map.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
        map.insert("type".into(), json!("Opaque"));
    }
    Ok(())
}

/// A tenant's settings.
fn config(around: &Surroundings) -> TenantConfig {
    let data = |object: &Option<Value>| -> BTreeMap<String, String> {
        let data = object.as_ref().and_then(|o| o["data"].as_object());
        data.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    };
    TenantConfig {
        feature_flags: data(&around.feature_flags),
        config_defaults: data(&around.config_defaults),
        others: BTreeMap::new(),
    }
}

/// Places a root run, and starts its trace.
fn place(at: &At<'_>, object: &mut Value, around: &Surroundings) -> Result<(), Refused> {
    let annotations: BTreeMap<String, String> = object["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect();
    let residency = around.tenant.as_ref().map(|t| t.residency.clone()).unwrap_or_default();
    let refuse = |message: String| {
        let kind = at.target.kind;
        let mut status = Status::failure(Reason::BadRequest, message);
        status.details = Status::not_found(kind.group, kind.plural, meta::name(object)).details;
        Box::new(status)
    };
    let request = Request::parse(&annotations, residency).map_err(|e| refuse(e.to_string()))?;
    let cells: Vec<_> = around
        .cells
        .iter()
        .map(|c| CellView {
            cell: c.cell.clone(),
            region: c.region.clone(),
            heard_us: c.at_us,
            draining: c.draining,
            machines: c.machines,
            machines_max: c.machines_max,
        })
        .collect();
    let host = &at.app.host;
    let now = host.clock.utc().0;
    let random = u64::try_from(host.id() & u128::from(u64::MAX)).unwrap_or(0);
    let placed = placement::place(&request, &cells, now, random).map_err(|e| refuse(e.to_string()))?;
    let explanation =
        serde_json::to_string(&placed).map_err(|_| refuse("the placement cannot be written".into()))?;
    meta::set_annotation(object, CELL, placed.cell);
    meta::set_annotation(object, REGION, placed.region);
    meta::set_annotation(object, EPOCH, "1");
    meta::set_annotation(object, EXPLANATION, explanation);
    let sent = at.ask.headers.get("traceparent").and_then(|v| v.to_str().ok()).and_then(Traceparent::parse);
    let trace = sent.unwrap_or_else(|| {
        let id = host.id();
        Traceparent::new(id, u64::try_from(host.id() >> 64).unwrap_or(1))
    });
    meta::set_annotation(object, TRACEPARENT, trace.to_string());
    Ok(())
}

fn remove_annotation(object: &mut Value, key: &str) {
    if let Some(map) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        map.remove(key);
    }
}
