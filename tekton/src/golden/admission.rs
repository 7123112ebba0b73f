//! Objects as they are after the webhooks, or the webhooks' refusals.

use std::path::Path;

use serde_json::Value;

use super::compare::{difference, normal};
use super::{Outcomes, files};
use crate::api::config::TenantConfig;
use crate::api::{decode, defaults, validate};

fn settings(case: &Value, name: &str) -> std::collections::BTreeMap<String, String> {
    let data = case[name].as_object().into_iter().flatten();
    data.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

fn one(case: &Value) -> Result<(), String> {
    let config = TenantConfig {
        feature_flags: settings(case, "featureFlags"),
        config_defaults: settings(case, "configDefaults"),
        ..TenantConfig::default()
    };
    let mut object = case["object"].clone();
    let kind = object["kind"].as_str().unwrap_or("").to_owned();
    if let Err(why) = decode::check(&object) {
        let said = format!("mutation failed: {why}");
        return match case["expected"]["rejected"].as_str() {
            Some(expected) if expected == said => Ok(()),
            expected => Err(format!("expected {expected:?}, got {said:?}")),
        };
    }
    defaults::apply(&kind, &mut object, &config);
    let old = case.get("oldObject").filter(|o| !o.is_null());
    let faults = validate::check(&kind, &object, old, &config);
    match (&case["expected"]["rejected"], faults.is_empty()) {
        (Value::String(expected), false) => {
            let said = format!("validation failed: {faults}");
            if *expected == said { Ok(()) } else { Err(format!("expected {expected:?}, got {said:?}")) }
        }
        (Value::String(expected), true) => Err(format!("accepted; expected {expected:?}")),
        (_, false) => Err(format!("refused: {:?}", faults.to_string())),
        (_, true) => match difference(&normal(&case["expected"]["defaulted"]), &normal(&object)) {
            None => Ok(()),
            Some(difference) => Err(difference),
        },
    }
}

/// All cases.
pub fn run(dir: &Path) -> Result<Outcomes, String> {
    let mut out = Vec::new();
    for (file, content) in files(dir)? {
        for case in content["cases"].as_array().into_iter().flatten() {
            let name = format!("{file}/{}", case["name"].as_str().unwrap_or(""));
            out.push((name, one(case)));
        }
    }
    Ok(out)
}
