//! A tenant's settings: the data of the ConfigMaps `feature-flags`, `config-defaults` and their siblings.

use std::collections::BTreeMap;

use apimachinery::field_error::quote;
use serde_json::Value;

/// A tenant's settings. Absent keys mean the reference's defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TenantConfig {
    /// Data of ConfigMap `feature-flags`.
    pub feature_flags: BTreeMap<String, String>,
    /// Data of ConfigMap `config-defaults`.
    pub config_defaults: BTreeMap<String, String>,
    /// Data of the other ConfigMaps, by name.
    pub others: BTreeMap<String, BTreeMap<String, String>>,
}

impl TenantConfig {
    /// The settings in these ConfigMaps, by name.
    pub fn of<'a>(maps: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut out = Self::default();
        for (name, map) in maps {
            match name {
                "feature-flags" => out.feature_flags = data(map),
                "config-defaults" => out.config_defaults = data(map),
                _ => drop(out.others.insert(name.to_owned(), data(map))),
            }
        }
        out
    }
}

/// The data of a ConfigMap.
pub fn data(map: &Value) -> BTreeMap<String, String> {
    let entries = map["data"].as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Why the data of a ConfigMap cannot be taken, in the reference's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not one of the values of a flag.
    #[error("invalid value for feature flag {}: {}", quote(.flag), quote(.value))]
    Value { flag: &'static str, value: String },
    /// Neither true nor false.
    #[error("failed parsing feature flags config {}: strconv.ParseBool: parsing {}: invalid syntax", quote(.0), quote(.0))]
    Bool(String),
    /// Neither true nor false, for one of the flags that have a stability of their own.
    #[error(
        "failed parsing feature flags config {}: strconv.ParseBool: parsing {}: invalid syntax for feature {}",
        quote(.value), quote(.value), .flag
    )]
    FeatureBool { flag: &'static str, value: String },
    /// Not a number.
    #[error("strconv.Atoi: parsing {}: invalid syntax", quote(.0))]
    Number(String),
    /// More than an object can hold.
    #[error("invalid value for feature flag \"results-from\": {}. This is exceeding the CRD limit", quote(.0))]
    TooLarge(String),
    /// A default that is not of its type; names the setting, or its value.
    #[error("failed parsing default config {}", quote(.0))]
    Default(String),
    /// A default that is not the document it has to be.
    #[error("failed to unmarshal {0}")]
    Document(String),
}

/// Flags that are on or off.
const SWITCHES: [&str; 10] = [
    "disable-creds-init",
    "running-in-environment-with-injected-sidecars",
    "await-sidecar-readiness",
    "require-git-ssh-secret-known-hosts",
    "send-cloudevents-for-runs",
    "enable-provenance-in-status",
    "set-security-context",
    "set-security-context-read-only-root-filesystem",
    "enable-step-actions",
    "enable-tekton-oci-bundles",
];
/// Switches whose refusal names them.
const FEATURES: [&str; 9] = [
    // Ours: results through termination messages are limited as in the reference.
    "enforce-termination-message-limit",
    "keep-pod-on-cancel",
    "enable-cel-in-whenexpression",
    "enable-param-enum",
    "enable-artifacts",
    "enable-concise-resolver-syntax",
    "enable-kubernetes-sidecar",
    "enable-termination-message-compression",
    "enable-wait-exponential-backoff",
];
/// Flags with a few values.
const CHOICES: [(&str, &[&str]); 5] = [
    ("enable-api-fields", &["stable", "beta", "alpha"]),
    ("coschedule", &["workspaces", "pipelineruns", "isolate-pipelinerun", "disabled"]),
    ("results-from", &["termination-message", "sidecar-logs"]),
    ("enforce-nonfalsifiability", &["none", "spire"]),
    ("trusted-resources-verification-no-match-policy", &["ignore", "warn", "fail"]),
];
/// Bytes that a result may never reach.
const LARGEST_RESULT: i64 = 1_572_864;

/// Whether the data of a ConfigMap of settings can be taken; ConfigMaps of other names always can.
///
/// # Errors
/// The first fault.
pub fn check(name: &str, data: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    match name {
        "feature-flags" => check_flags(data),
        "config-defaults" => check_defaults(data),
        _ => Ok(()),
    }
}

fn is_bool(value: &str) -> bool {
    matches!(
        value,
        "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False"
    )
}

fn check_flags(data: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for flag in FEATURES {
        if let Some(value) = data.get(flag).filter(|v| !is_bool(v)) {
            return Err(ConfigError::FeatureBool { flag, value: value.clone() });
        }
    }
    for flag in SWITCHES {
        if let Some(value) = data.get(flag).filter(|v| !is_bool(v)) {
            return Err(ConfigError::Bool(value.clone()));
        }
    }
    for (flag, values) in CHOICES {
        if let Some(value) = data.get(flag).filter(|v| !values.contains(&v.trim().to_lowercase().as_str())) {
            return Err(ConfigError::Value { flag, value: value.clone() });
        }
    }
    match data.get("max-result-size").map(|v| (v, v.parse::<i64>())) {
        Some((value, Err(_))) => Err(ConfigError::Number(value.clone())),
        Some((value, Ok(size))) if size >= LARGEST_RESULT => Err(ConfigError::TooLarge(value.clone())),
        _ => Ok(()),
    }
}

fn check_defaults(data: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let get = |key: &str| data.get(key).filter(|v| !v.is_empty());
    let numbers = [
        "default-timeout-minutes",
        "default-max-matrix-combinations-count",
        "default-step-ref-concurrency-limit",
    ];
    for key in numbers {
        if get(key).is_some_and(|v| v.parse::<i64>().is_err()) {
            return Err(ConfigError::Default(key.into()));
        }
    }
    let is_duration = |v: &str| apimachinery::time::parse_go_duration(v).is_some();
    let waits = [
        "default-imagepullbackoff-timeout",
        "default-create-container-error-timeout",
        "default-maximum-resolution-timeout",
    ];
    for key in waits {
        if get(key).is_some_and(|v| !is_duration(v)) {
            return Err(ConfigError::Default(key.into()));
        }
    }
    if let Some(value) = get("default-sidecar-log-polling-interval").filter(|v| !is_duration(v)) {
        return Err(ConfigError::Default(value.clone()));
    }
    let documents = [
        "default-pod-template",
        "default-affinity-assistant-pod-template",
        "default-container-resource-requirements",
    ];
    for key in documents {
        let is_map = |v: &str| {
            let parsed = serde_yaml_ng::from_str::<serde_json::Value>(v);
            parsed.is_ok_and(|d| d.is_object() || d.is_null())
        };
        if let Some(value) = get(key).filter(|v| !is_map(v)) {
            return Err(ConfigError::Document(value.clone()));
        }
    }
    Ok(())
}
