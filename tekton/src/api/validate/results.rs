//! Results of tasks and of steps.

use apimachinery::field_error::quote;
use apimachinery::names::dns1123_label;
use serde_json::Value;

use crate::api::fault::Faults;
use crate::api::read::{map, some, text, value_type};

const FORMAT: &str = "must consist of alphanumeric characters, '-', '_', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my-name',  or 'my_name', regex used for validation is '^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$')";

fn is_name(name: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    ends(name.bytes().next())
        && ends(name.bytes().next_back())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn named(name: &str) -> Faults {
    if is_name(name) {
        return Faults::none();
    }
    Faults::detailed(format!("invalid key name {}", quote(name)), &["name"], &format!("Name {FORMAT}"))
}

/// Keys whose type is not a text's, as Go prints a list.
pub(super) fn bad_keys(holder: &Value) -> Option<String> {
    let properties = map(holder, "properties")?;
    let bad: Vec<_> =
        properties.iter().filter(|(_, p)| text(p, "type") != "string").map(|(k, _)| k.as_str()).collect();
    (!bad.is_empty()).then(|| format!("[{}]", bad.join(" ")))
}

fn object(result: &Value, the: &str) -> Faults {
    let path = format!("{}.properties", text(result, "name"));
    if some(result, "properties").is_none() {
        return Faults::missing(&path);
    }
    match bad_keys(result) {
        None => Faults::none(),
        Some(keys) => Faults::at(
            format!("{the} value type specified for these keys {keys} is invalid, the type must be string"),
            &[&path],
        ),
    }
}

/// Faults of a task's result.
pub(super) fn task_result(result: &Value) -> Faults {
    let faults = named(text(result, "name"));
    if !faults.is_empty() {
        return faults;
    }
    match text(result, "type") {
        "object" => object(result, "The"),
        "array" | "" => Faults::none(),
        "string" => value(result),
        other => Faults::detailed(format!("invalid value: {other}"), &["type"], "type must be string"),
    }
}

/// Faults of a step's result.
pub(super) fn step_result(result: &Value) -> Faults {
    let faults = named(text(result, "name"));
    if !faults.is_empty() {
        return faults;
    }
    match text(result, "type") {
        "object" => object(result, "the"),
        "array" | "" | "string" => Faults::none(),
        other => {
            Faults::detailed(format!("invalid value: {other}"), &["type"], &format!("invalid type {other}"))
        }
    }
}

/// A task's result may take its value from a step's.
fn value(result: &Value) -> Faults {
    let name = text(result, "name");
    let Some(value) = some(result, "value") else { return Faults::none() };
    let kind = value_type(value);
    if kind != "string" {
        let message = format!("Invalid Type. Wanted string but got: {}", quote(kind));
        return Faults::at(message, &[&format!("{name}.type")]);
    }
    let (value, path) = (value.as_str().unwrap_or(""), format!("{name}.value"));
    if value.is_empty() {
        return Faults::none();
    }
    let inner = value.strip_prefix("$(steps.").and_then(|v| v.strip_suffix(')'));
    let Some((step, result)) = inner.and_then(|v| v.split_once(".results.")) else {
        return Faults::at(
            format!(
                "Could not extract step name and result name. Expected value to look like $(steps.<stepName>.results.<resultName>) but got {}",
                quote(value)
            ),
            &[&path],
        );
    };
    let mut faults = Faults::none();
    if !dns1123_label(step).is_empty() {
        faults.add(Faults::detailed(
            format!("invalid extracted step name {}", quote(step)),
            &[&path],
            "stepName in $(steps.<stepName>.results.<resultName>) must be a valid DNS Label, For more info refer to https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#names",
        ));
    }
    if !is_name(result) {
        faults.add(Faults::detailed(
            format!("invalid extracted result name {}", quote(result)),
            &[&path],
            &format!("resultName in $(steps.<stepName>.results.<resultName>) {FORMAT}"),
        ));
    }
    faults
}
