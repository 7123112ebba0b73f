//! The kinds with few rules: CustomRun, ResolutionRequest, VerificationPolicy.

use serde_json::Value;

use super::{metadata, pattern, refs, workspaces};
use crate::api::fault::Faults;
use crate::api::read::{list, map, names, some, text};

/// Faults of a CustomRun.
pub(super) fn custom_run(object: &Value) -> Faults {
    let spec = &object["spec"];
    let mut faults = metadata::metadata(object);
    match (some(spec, "customRef"), some(spec, "customSpec")) {
        (None, None) => faults.add(Faults::neither(&["spec.customRef", "spec.customSpec"])),
        (Some(_), Some(_)) => faults.add(Faults::both(&["spec.customRef", "spec.customSpec"])),
        (reference, embedded) => {
            let field = if reference.is_some() { "customRef" } else { "customSpec" };
            // Only the first missing part is told.
            let holder = reference.or(embedded).unwrap_or(&Value::Null);
            if let Some(part) = ["apiVersion", "kind"].into_iter().find(|p| text(holder, p).is_empty()) {
                faults.add(Faults::missing(&format!("spec.{field}.{part}")));
            }
        }
    }
    let message = text(spec, "statusMessage");
    if text(spec, "status").is_empty() && !message.is_empty() {
        let why = "statusMessage should not be set if status is not set, but it is currently set to";
        faults.add(Faults::invalid(format!("{why} {message}"), "statusMessage"));
    }
    faults.add(refs::unique_by_key(names(spec, "params")).under("spec.params"));
    let mut bound = refs::unique_by_index(names(spec, "workspaces"));
    for (index, binding) in list(spec, "workspaces").iter().enumerate() {
        bound.add(workspaces::binding(binding).index(index));
    }
    faults.add(bound.under("spec.workspaces"));
    faults
}

/// Faults of a ResolutionRequest, once it is there: its label names the resolver.
pub(super) fn resolution_request(object: &Value) -> Faults {
    let labels = map(&object["metadata"], "labels");
    let kind = labels.and_then(|l| l.get("resolution.tekton.dev/type")).and_then(Value::as_str);
    if kind.is_none_or(str::is_empty) {
        return Faults::missing("meta.labels.resolution.tekton.dev/type");
    }
    Faults::none()
}

/// Faults of a VerificationPolicy.
pub(super) fn verification_policy(object: &Value) -> Faults {
    let spec = &object["spec"];
    let mut faults = metadata::metadata(object);
    for field in ["resources", "authorities"] {
        if list(spec, field).is_empty() {
            faults.add(Faults::missing(field));
        }
    }
    for pattern in list(spec, "resources").iter().map(|r| text(r, "pattern")) {
        if let Some(why) = pattern::fault(pattern) {
            let details = format!("resourcePattern cannot be compiled by regex: {why}");
            faults.add(Faults::detailed(format!("invalid value: {pattern}"), &["ResourcePattern"], &details));
        }
    }
    for (index, authority) in list(spec, "authorities").iter().enumerate() {
        if let Some(key) = some(authority, "key") {
            faults.add(self::key(key).field_index("key", index));
        }
    }
    let mode = text(spec, "mode");
    if !matches!(mode, "" | "enforce" | "warn") {
        let why = format!("available values are: enforce, warn, but got: {mode}");
        faults.add(Faults::invalid(why, "mode"));
    }
    faults
}

fn key(key: &Value) -> Faults {
    let set = |field: &str| !text(key, field).is_empty();
    let sources =
        usize::from(set("data")) + usize::from(set("kms")) + usize::from(some(key, "secretRef").is_some());
    let fields = ["data", "kms", "secretref"];
    let mut faults = match sources {
        0 => Faults::neither(&fields),
        1 => Faults::none(),
        _ => Faults::both(&fields),
    };
    let hash = text(key, "hashAlgorithm");
    if !matches!(hash.to_lowercase().as_str(), "" | "sha224" | "sha256" | "sha384" | "sha512") {
        faults.add(Faults::invalid(hash, "HashAlgorithm"));
    }
    faults
}
