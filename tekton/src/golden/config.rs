//! Settings that are taken, and settings that are refused; and flags as a status shows them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Outcomes;
use super::tables::each;
use crate::api::config;

/// All cases: whether the data is taken, what it means, and the text of a refusal.
pub fn run(dir: &Path) -> Result<Outcomes, String> {
    each(dir, |case| {
        let data = case["data"].as_object().into_iter().flatten();
        let data: BTreeMap<_, _> =
            data.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        let name = case["configMap"].as_str().unwrap_or("");
        match (config::check(name, &data), case.get("error").and_then(Value::as_str)) {
            (Ok(()), None) if name == "feature-flags" => {
                let config = config::TenantConfig { feature_flags: data, ..config::TenantConfig::default() };
                let (expected, shown) = (&case["parsed"], config.shown());
                if *expected == shown { Ok(()) } else { Err(format!("expected {expected}, got {shown}")) }
            }
            (Ok(()), None) => Ok(()),
            (Err(error), Some(expected)) if error.to_string() == expected => Ok(()),
            (got, expected) => Err(format!("expected {expected:?}, got {got:?}")),
        }
    })
}
