//! References to tasks, pipelines and step actions.

use std::collections::BTreeSet;

use apimachinery::names::qualified_name;
use serde_json::Value;

use super::Settings;
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{names, some, text};

const CONCISE: &str =
    "feature flag enable-concise-resolver-syntax should be set to true to use concise resolver syntax";

/// Whether a name is a URL: word characters, a colon and a slash.
fn like_url(name: &str) -> bool {
    name.match_indices(":/").any(|(at, _)| {
        name[..at].bytes().next_back().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}

/// Faults of a reference by name or through a resolver.
pub(super) fn reference(reference: &Value, config: &Settings<'_>) -> Faults {
    let (name, resolver) = (text(reference, "name"), text(reference, "resolver"));
    let with_params = some(reference, "params").is_some();
    let concise = || match config.on("enable-concise-resolver-syntax") {
        true => Faults::none(),
        false => Faults::at(CONCISE, &[""]),
    };
    let mut faults = Faults::none();
    if with_params {
        faults.add(config.gate("resolver params", Level::Beta));
        if !name.is_empty() {
            faults.add(Faults::both(&["name", "params"]));
        }
        if resolver.is_empty() {
            faults.add(Faults::missing("resolver"));
        }
        faults.add(unique_by_key(names(reference, "params")));
    }
    if !resolver.is_empty() {
        faults.add(config.gate("resolver", Level::Beta));
        if like_url(name) {
            faults.add(concise());
        } else if !name.is_empty() {
            faults.add(Faults::invalid("invalid URI for request", "name"));
        }
    }
    if with_params || !resolver.is_empty() {
        return faults;
    }
    if name.is_empty() {
        faults.add(Faults::missing("name"));
    } else if like_url(name) {
        faults.add(concise());
        faults.add(Faults::missing("resolver"));
    } else {
        faults.add(kubernetes_name(name));
    }
    faults
}

/// Faults of a name that must be a qualified name.
pub(super) fn kubernetes_name(name: &str) -> Faults {
    let wrong = qualified_name(name);
    if wrong.is_empty() { Faults::none() } else { Faults::invalid(wrong.join(","), "name") }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let mut seen = BTreeSet::new();
    names.enumerate().filter(|(_, name)| !seen.insert(name.to_lowercase())).collect()
}

/// Names that differ only in case are the same; faults are told by name.
pub(super) fn unique_by_key<'a>(names: impl Iterator<Item = &'a str>) -> Faults {
    let mut faults = Faults::none();
    for (_, name) in repeated(names) {
        faults.add(Faults::both(&["name"]).key(name));
    }
    faults
}

/// As [`unique_by_key`], but told by position.
pub(super) fn unique_by_index<'a>(names: impl Iterator<Item = &'a str>) -> Faults {
    let mut faults = Faults::none();
    for (index, _) in repeated(names) {
        faults.add(Faults::both(&["name"]).index(index));
    }
    faults
}
