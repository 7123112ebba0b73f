//! Cells of core kinds, as `kubectl get` has always shown them.

use serde_json::Value;

use super::age;
use crate::kind::Computed;
use crate::meta;
use crate::time::Micros;

mod pod;

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

/// The value of a computed cell.
pub(super) fn compute(cell: Computed, object: &Value, now: Micros) -> Value {
    let since = |pointers: &[&str]| -> Value {
        let time = pointers.iter().find_map(|p| object.pointer(p).and_then(Value::as_str));
        time.map_or(UNKNOWN.to_owned(), |t| age(t, now)).into()
    };
    let or_none = |text: Option<&Value>| -> Value {
        text.and_then(Value::as_str).filter(|t| !t.is_empty()).unwrap_or(NONE).into()
    };
    match cell {
        Computed::Age => since(&["/metadata/creationTimestamp"]),
        Computed::PodReady => pod::ready(object).into(),
        Computed::PodStatus => pod::status(object).into(),
        Computed::PodRestarts => pod::restarts(object, now).into(),
        Computed::PodNode => or_none(object.pointer("/spec/nodeName")),
        Computed::PodIp => or_none(object.pointer("/status/podIPs/0/ip").or(object.pointer("/status/podIP"))),
        Computed::PodNominatedNode => or_none(object.pointer("/status/nominatedNodeName")),
        Computed::PodReadinessGates => pod::readiness_gates(object).into(),
        Computed::EventLastSeen => since(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime"]),
        Computed::EventFirstSeen => since(&["/firstTimestamp", "/eventTime"]),
        Computed::EventObject => event_object(object).into(),
        Computed::EventSource => event_source(object).into(),
        Computed::EventCount => {
            object.pointer("/series/count").or(object.get("count")).cloned().unwrap_or_else(|| 1.into())
        }
        Computed::EventMessage => object["message"].as_str().unwrap_or("").trim().into(),
        Computed::DataCount => (size(&object["data"]) + size(&object["binaryData"])).into(),
        Computed::SecretCount => size(&object["secrets"]).into(),
        Computed::PhaseOrTerminating if meta::is_deleting(object) => "Terminating".into(),
        Computed::PhaseOrTerminating => object["status"]["phase"].as_str().unwrap_or("").into(),
        Computed::ClaimCapacity => claim_capacity(object).into(),
        Computed::ClaimAccessModes => claim_modes(object).into(),
        Computed::LeaseHolder => object["spec"]["holderIdentity"].as_str().unwrap_or("").into(),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    }
}

fn event_object(event: &Value) -> String {
    let subject = &event["involvedObject"];
    let (kind, name) = (subject["kind"].as_str().unwrap_or(""), subject["name"].as_str().unwrap_or(""));
    if kind.is_empty() { name.to_owned() } else { format!("{}/{name}", kind.to_lowercase()) }
}

fn event_source(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let either = |a: &'static str, b: &'static str| if text(a).is_empty() { text(b) } else { text(a) };
    let component = either("/source/component", "/reportingComponent");
    let host = either("/source/host", "/reportingInstance");
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

fn claim_capacity(claim: &Value) -> String {
    if claim["spec"]["volumeName"].as_str().unwrap_or("").is_empty() {
        return String::new();
    }
    claim["status"]["capacity"]["storage"].as_str().unwrap_or("").to_owned()
}

fn claim_modes(claim: &Value) -> String {
    if claim["spec"]["volumeName"].as_str().unwrap_or("").is_empty() {
        return String::new();
    }
    let modes = claim["status"]["accessModes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let short: Vec<&str> = modes
        .map(|mode| match mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    short.join(",")
}
