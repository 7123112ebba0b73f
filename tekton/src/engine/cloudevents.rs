//! CloudEvents about runs, as the reference's controller sends them: one whenever the condition of a run has changed,
//! with the whole run inside.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::config::TenantConfig;
use crate::api::convert;
use crate::engine::condition;
use crate::engine::doc::{name, namespace, text, uid};

/// The one format that there is.
const FORMAT: &str = "tektonv1";

/// An event that shall be sent.
#[derive(Clone, PartialEq, Debug)]
pub struct CloudEvent {
    /// Tells it from others; the same whenever the same change is told.
    pub id: String,
    /// Its type: `dev.tekton.event.taskrun.started.v1`.
    pub kind: String,
    /// Which run it is about, as a path.
    pub source: String,
    /// The run's name.
    pub subject: String,
    /// Where it shall be sent: a URL that a tenant wrote.
    pub sink: String,
    /// `{"taskRun": …}` and so on.
    pub data: Value,
}

/// Where a tenant's events go; none are sent without a sink.
pub fn sink(config: &TenantConfig) -> Option<&str> {
    let events = config.others.get("config-events");
    let formats = events.and_then(|data| data.get("formats")).map_or(FORMAT, String::as_str);
    let wanted = formats.trim().is_empty() || formats.split(',').any(|format| format.trim() == FORMAT);
    let own =
        events.and_then(|data| data.get("sink")).map(|sink| sink.trim()).filter(|sink| !sink.is_empty());
    let old = || config.config_defaults.get("default-cloud-events-sink").map(|sink| sink.trim());
    own.or_else(old).filter(|sink| wanted && !sink.is_empty())
}

/// The word for what the condition of a run says.
fn word(kind: &str, status: &Value) -> &'static str {
    let condition = condition::succeeded(status);
    match (text(condition, "status"), text(condition, "reason")) {
        ("True", _) => "successful",
        ("False", _) => "failed",
        // Who runs custom runs says what they like.
        ("", _) if kind == "CustomRun" => "started",
        (_, _) if kind == "CustomRun" => "running",
        ("", _) => "queued",
        (_, "Started") => "started",
        (_, "Running") => "running",
        _ => "unknown",
    }
}

/// The event that tells the state of `run`.
pub fn of(run: &Value, sink: &str) -> Option<CloudEvent> {
    let (kind, member) = match text(run, "kind") {
        "TaskRun" => ("TaskRun", "taskRun"),
        "PipelineRun" => ("PipelineRun", "pipelineRun"),
        "CustomRun" => ("CustomRun", "customRun"),
        _ => return None,
    };
    let status = &run["status"];
    let condition = condition::succeeded(status);
    let told = [
        uid(run),
        text(condition, "status"),
        text(condition, "reason"),
        text(condition, "message"),
        text(condition, "lastTransitionTime"),
    ];
    let hash = Sha256::digest(told.join("\u{0}"));
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(CloudEvent {
        id: format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]),
        kind: format!("dev.tekton.event.{}.{}.v1", kind.to_lowercase(), word(kind, status)),
        source: format!(
            "/apis/{}/namespaces/{}/{kind}/{}",
            text(run, "apiVersion"),
            namespace(run),
            name(run)
        ),
        subject: name(run).to_owned(),
        sink: sink.to_owned(),
        data: json!({member: told_as(kind, run)}),
    })
}

/// The run as events carry it: as v1beta1, in which the receivers of the reference's events expect it.
fn told_as(kind: &str, run: &Value) -> Value {
    let mut out = run.clone();
    // A run whose annotations do not let it be converted is told as it is, rather than not at all.
    if convert::to(kind, "v1beta1", &mut out).is_ok() { out } else { run.clone() }
}

/// The events for a change of `run` to `status`: also that it was waiting and that it has started, where it did both
/// at once. `started` is the status in which it had only started.
pub fn between(
    run: &Value,
    started: Option<&Value>,
    status: &Value,
    config: &TenantConfig,
) -> Vec<CloudEvent> {
    let Some(sink) = sink(config).filter(|_| !condition::succeeded(status).is_null()) else {
        return Vec::new();
    };
    let with = |status: &Value| {
        let mut run = run.clone();
        run["status"] = status.clone();
        run
    };
    let before = condition::succeeded(&run["status"]);
    let mut states = Vec::new();
    if before.is_null() {
        states.push(with(&run["status"]));
    }
    states.extend(started.map(with));
    let last = states.last().map_or(before, |run| condition::succeeded(&run["status"]));
    let after = condition::succeeded(status);
    let same = |key| text(last, key) == text(after, key);
    if !after.is_null() && !["status", "reason", "message"].into_iter().all(same) {
        states.push(with(status));
    }
    states.iter().filter_map(|run| of(run, sink)).collect()
}

#[cfg(test)]
mod tests;
