//! What must hold for every input, however strange: bodies of any kind, texts with references, messages of containers.
//! For the targets in `fuzz/`, and for tests, which try again whatever was once found.

use std::collections::BTreeMap;

use apimachinery::kind::{self, Kind};
use apimachinery::schema::{FieldValidation, conform};
use apimachinery::{decode as bodies, meta};
use serde_json::Value;

use crate::api::config::{self, TenantConfig};
use crate::api::{convert, decode as types, defaults, hint, validate};
use crate::engine::substitution::Replacements;
use crate::engine::termination as messages;

/// A body of a create: the first byte chooses kind, version and encoding, the second the settings.
///
/// # Panics
/// When something that must hold does not.
pub fn decode(data: &[u8]) {
    let [choice, settings, body @ ..] = data else { return };
    let kinds: Vec<&Kind> = kind::all().filter(|k| k.group.ends_with("tekton.dev")).collect();
    let kind = kinds[usize::from(*choice) % kinds.len()];
    let version = kind.versions[usize::from(choice >> 4) % kind.versions.len()].name;
    let media = if choice & 8 == 0 { "application/json" } else { "application/yaml" };
    let Ok(decoded) = bodies::object(kind, Some(media), body) else { return };
    let mut object = decoded.value;
    if !object.is_object() {
        return;
    }
    object["apiVersion"] = kind.api_version(version).into();
    object["kind"] = kind.kind.into();
    settled(&object, kind, version, *settings);
    if conform(kind, version, &mut object, &[], FieldValidation::Ignore).is_ok() {
        settled(&object, kind, version, *settings);
    }
}

fn tenant(settings: u8) -> TenantConfig {
    let on = |bit: u8| if settings & (1 << bit) == 0 { "false" } else { "true" }.to_owned();
    let level = ["stable", "beta", "alpha"][usize::from(settings >> 5) % 3];
    let flags = [
        ("enable-api-fields".to_owned(), level.to_owned()),
        ("enable-param-enum".to_owned(), on(0)),
        ("enable-artifacts".to_owned(), on(1)),
        ("enable-cel-in-whenexpression".to_owned(), on(2)),
        ("enable-concise-resolver-syntax".to_owned(), on(3)),
    ];
    TenantConfig { feature_flags: flags.into_iter().collect(), ..TenantConfig::default() }
}

/// Defaults do not change what has them; refusals can be printed; versions lead back.
fn settled(object: &Value, kind: &Kind, version: &str, settings: u8) {
    if types::check(object).is_err() {
        return;
    }
    let tenant = tenant(settings);
    let mut once = object.clone();
    defaults::apply(kind.kind, &mut once, &tenant);
    let mut twice = once.clone();
    defaults::apply(kind.kind, &mut twice, &tenant);
    assert_eq!(once, twice, "defaults change what has them");
    for old in [None, Some(object)] {
        let faults = validate::check(kind.kind, &once, old, &tenant);
        assert_eq!(faults.is_empty(), faults.to_string().is_empty(), "a refusal says nothing");
        drop(hint::of(&faults));
    }
    let stored = kind.stored_version().name;
    let mut there = once.clone();
    if convert::to(kind.kind, stored, &mut there).is_ok() {
        convert::keep(kind.kind, &once, &mut there);
        assert_eq!(meta::name(&there), meta::name(&once), "a conversion changes the name");
        drop(convert::to(kind.kind, version, &mut there));
    }
}

/// Texts and what is put into them. Lines: the first is the text, the others are `key=value`.
///
/// # Panics
/// When something that must hold does not.
pub fn substitution(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let text = lines.next().unwrap_or("");
    let mut replacements = Replacements::default();
    for (key, value) in lines.filter_map(|line| line.split_once('=')) {
        match key.strip_suffix("[*]") {
            Some(_) => drop(
                replacements.arrays.insert(key.to_owned(), value.split(',').map(str::to_owned).collect()),
            ),
            None => drop(replacements.strings.insert(key.to_owned(), value.to_owned())),
        }
    }
    assert_eq!(Replacements::default().string(text), text, "with nothing to put in, a text stays as it is");
    let out = replacements.string(text);
    if !text.contains("$(") {
        assert_eq!(out, text, "a text without references stays as it is");
    }
    let longest = replacements.strings.values().map(String::len).max().unwrap_or(0);
    let most = text.len() + text.matches("$(").count() * longest;
    assert!(out.len() <= most, "what is put in is looked at again");
    let elements = replacements.element(text);
    let is_array = text
        .strip_prefix("$(")
        .and_then(|t| t.strip_suffix(')'))
        .is_some_and(|k| replacements.arrays.contains_key(k));
    assert!(is_array || elements == [out], "an element that is no array is a text");
    let mut document = serde_json::json!({"args": [text], "script": text, "kept": {"script": text}});
    replacements.document(&mut document, &["kept"]);
    assert_eq!(document["kept"]["script"], text, "what is to be left alone is left alone");
    // The same text as a task's script, at admission.
    let task = serde_json::json!({
        "apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"},
        "spec": {"params": [{"name": "p", "type": "array"}, {"name": "o", "type": "object", "properties": {"k": {}}}],
                 "steps": [{"image": "i", "script": text, "args": [text]}]},
    });
    drop(validate::check("Task", &task, None, &TenantConfig::default()).to_string());
}

/// A container's termination message.
///
/// # Panics
/// When something that must hold does not.
pub fn termination(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match messages::parse(&text) {
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal says nothing"),
        Ok(entries) => {
            let keys: Vec<_> = entries.iter().map(|e| e.key.as_str()).collect();
            assert!(keys.is_sorted(), "entries are sorted by key");
        }
    }
    // The same bytes as settings.
    let map: BTreeMap<_, _> = text
        .split('\n')
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    for name in ["feature-flags", "config-defaults"] {
        if let Err(error) = config::check(name, &map) {
            assert!(!error.to_string().is_empty(), "a refusal says nothing");
        }
    }
}

#[cfg(test)]
mod tests;
