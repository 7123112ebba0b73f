//! Declarations of parameters.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Settings;
use super::results::bad_keys;
use super::variables;
use crate::api::fault::Faults;
use crate::api::read::{map, some, text, texts, value_type};

/// Faults of types and defaults, told by name.
pub(super) fn types(params: &[Value]) -> Faults {
    let mut faults = Faults::none();
    for param in params {
        faults.add(one_type(param));
    }
    faults
}

fn one_type(param: &Value) -> Faults {
    let (name, kind) = (text(param, "name"), text(param, "type"));
    if !matches!(kind, "string" | "array" | "object") {
        return Faults::invalid(kind, &format!("{name}.type"));
    }
    if let Some(default) = some(param, "default").map(value_type).filter(|d| *d != kind) {
        return Faults::at(
            format!(r#""{kind}" type does not match default value's type: "{default}""#),
            &[&format!("{name}.type"), &format!("{name}.default.type")],
        );
    }
    match bad_keys(param) {
        None => Faults::none(),
        Some(keys) => Faults::at(
            format!("The value type specified for these keys {keys} is invalid"),
            &[&format!("{name}.properties")],
        ),
    }
}

/// Names must be unique.
pub(super) fn unique(params: &[Value]) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for name in params.iter().map(|p| text(p, "name")) {
        if !seen.insert(name) {
            faults.add(Faults::at("parameter appears more than once", &[""]).field_key("params", name));
        }
    }
    faults
}

/// Faults of the values that parameters are restricted to.
pub(super) fn enums(params: &[Value], config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    for param in params {
        let allowed: Vec<_> = texts(param, "enum").collect();
        if allowed.is_empty() {
            continue;
        }
        let mut wrong = |message: String| {
            faults.add(Faults::at(message, &[""]).key(text(param, "name")));
        };
        if !config.on("enable-param-enum") {
            wrong("feature flag `enable-param-enum` should be set to true to use Enum".into());
        }
        if text(param, "type") != "string" {
            wrong("enum can only be set with string type param".into());
        }
        let mut seen = BTreeSet::new();
        for value in allowed.iter().filter(|v| !seen.insert(**v)) {
            wrong(format!("parameter enum value {value} appears more than once"));
        }
        let default = text(param, "default");
        if !default.is_empty() && !allowed.contains(&default) {
            wrong(format!("param default value {default} not in the enum list"));
        }
    }
    faults.under("params")
}

fn well_formed(name: &str, dots: bool) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || (dots && b == b'.'))
}

/// Faults of the spelling of names.
pub(super) fn formats(params: &[Value]) -> Faults {
    let (objects, others): (Vec<_>, Vec<_>) = params.iter().partition(|p| text(p, "type") == "object");
    let names: BTreeSet<_> = others.iter().map(|p| text(p, "name")).collect();
    let wrong: Vec<_> = names.into_iter().filter(|n| !well_formed(n, true)).collect();
    let mut faults = Faults::none();
    if !wrong.is_empty() {
        faults.add(Faults::detailed(
            format!(
                "The format of following array and string variable names is invalid: [{}]",
                wrong.join(" ")
            ),
            &["params"],
            "String/Array Names: \nMust only contain alphanumeric characters, hyphens (-), underscores (_), and dots (.)\nMust begin with a letter or an underscore (_)",
        ));
    }
    let mut wrong = std::collections::BTreeMap::new();
    for param in objects {
        let name = text(param, "name");
        let keys = map(param, "properties").into_iter().flatten().map(|(k, _)| k.as_str());
        let keys: Vec<_> = keys.filter(|k| !well_formed(k, false)).collect();
        if !keys.is_empty() || !well_formed(name, false) {
            wrong.insert(name, keys);
        }
    }
    if !wrong.is_empty() {
        let shown: Vec<_> = wrong.iter().map(|(n, k)| format!("{n}:[{}]", k.join(" "))).collect();
        faults.add(Faults::detailed(
            format!("Object param name and key name format is invalid: map[{}]", shown.join(" ")),
            &["params"],
            "Object Names: \nMust only contain alphanumeric characters, hyphens (-), underscores (_) \nMust begin with a letter or an underscore (_)",
        ));
    }
    faults
}

/// Faults of declarations and of how steps use arrays.
pub(super) fn with_steps(steps: &[Value], params: &[Value], config: &Settings<'_>) -> Faults {
    let mut faults = unique(params);
    faults.add(enums(params, config));
    faults.add(formats(params));
    let arrays = params.iter().filter(|p| text(p, "type") == "array");
    let arrays = arrays.map(|p| text(p, "name").to_owned()).collect();
    faults.add(variables::arrays(steps, &arrays));
    faults
}
