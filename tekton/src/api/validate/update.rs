//! Runs of both kinds: what may change once they exist, and what they run.

use serde_json::Value;

use super::{Settings, metadata, refs};
use crate::api::defaults;
use crate::api::fault::Faults;
use crate::api::read::{list, some, text};

/// How a kind of run is called in texts, and what may change while it runs.
pub(super) struct Rules {
    pub kind: &'static str,
    /// The status that makes it wait.
    pub pending: &'static str,
    /// Where what it runs is referred to, and where it is embedded.
    pub runs: [&'static str; 2],
    pub free: &'static [&'static str],
    pub tip: &'static str,
}

/// Whether a run's condition `Succeeded` is decided.
fn done(object: &Value) -> bool {
    let conditions = list(&object["status"], "conditions");
    conditions.iter().any(|c| text(c, "type") == "Succeeded" && matches!(text(c, "status"), "True" | "False"))
}

/// A spec without what means nothing: empty maps, lists and texts, and the fields that may change.
fn essence(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => (!items.is_empty())
            .then(|| Value::Array(items.iter().map(|i| essence(i).unwrap_or(Value::Null)).collect())),
        Value::Object(map) => {
            let kept: serde_json::Map<_, _> =
                map.iter().filter_map(|(k, v)| Some((k.clone(), essence(v)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        other => Some(other.clone()),
    }
}

/// Faults of a run whose spec has those that `spec` finds.
pub(super) fn run(
    object: &Value,
    old: Option<&Value>,
    rules: &Rules,
    config: &Settings<'_>,
    spec: impl Fn(&Value, &Settings<'_>) -> Faults,
) -> Faults {
    let mut faults = metadata::metadata(object);
    faults.add(pending(object, rules));
    let mut inner = update(object, old, rules, config);
    inner.add(either(&object["spec"], rules, config));
    inner.add(spec(&object["spec"], config));
    faults.add(inner.under("spec"));
    faults
}

/// What it runs is referred to or embedded, not both.
fn either(spec: &Value, rules: &Rules, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    let [reference, embedded] = rules.runs;
    match (some(spec, reference), some(spec, embedded)) {
        (None, None) => faults.add(Faults::neither(&rules.runs)),
        (Some(_), Some(_)) => faults.add(Faults::both(&rules.runs)),
        _ => {}
    }
    if let Some(given) = some(spec, reference) {
        faults.add(refs::reference(given, config).under(reference));
    }
    if some(spec, embedded).is_some() && config.inline_disabled(&rules.kind.to_lowercase()) {
        faults.add(Faults::disallowed(embedded));
    }
    faults
}

/// Faults of an update, seen from the spec. What defaulting alone changes in a run that is done does not count.
fn update(new: &Value, old: Option<&Value>, rules: &Rules, config: &Settings<'_>) -> Faults {
    let Some(old) = old else { return Faults::none() };
    let done = done(old);
    let mut old = old.clone();
    if done {
        defaults::apply(rules.kind, &mut old, config);
    }
    let mut faults = Faults::none();
    if some(&old["spec"], "managedBy") != some(&new["spec"], "managedBy") {
        faults.add(Faults::invalid("managedBy is immutable", "spec.managedBy"));
    }
    let (mut before, mut after) = (old["spec"].clone(), new["spec"].clone());
    if !done {
        for spec in [&mut before, &mut after] {
            if let Some(spec) = spec.as_object_mut() {
                spec.retain(|field, _| !rules.free.contains(&field.as_str()));
            }
        }
    }
    if essence(&before) != essence(&after) {
        let tip = match done {
            true => format!("Once the {} is complete, no updates are allowed", rules.kind),
            false => rules.tip.to_owned(),
        };
        faults.add(Faults::invalid(tip, ""));
    }
    faults
}

/// A run that has started cannot be made to wait.
fn pending(object: &Value, rules: &Rules) -> Faults {
    let started = some(&object["status"], "startTime").is_some();
    if started && text(&object["spec"], "status") == rules.pending {
        return Faults::invalid(
            format!("{} cannot be Pending after it is started", rules.kind),
            "spec.status",
        );
    }
    Faults::none()
}
