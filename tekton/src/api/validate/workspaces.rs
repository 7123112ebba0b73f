//! Workspaces: what a task declares and uses, and what a run binds.

use std::collections::BTreeSet;

use apimachinery::field_error::quote;
use serde_json::Value;

use super::Settings;
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{list, names, some, text};

/// Fields of a binding that name where its data is.
const SOURCES: [&str; 7] =
    ["volumeClaimTemplate", "persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "csi"];
/// The ones of them that the texts list.
const LISTED: [&str; 5] = ["configmap", "emptydir", "persistentvolumeclaim", "secret", "volumeclaimtemplate"];

/// Faults of one binding.
pub(super) fn binding(binding: &Value) -> Faults {
    match SOURCES.iter().filter(|s| some(binding, s).is_some()).count() {
        0 => return Faults::neither(&LISTED),
        1 => {}
        _ => return Faults::both(&LISTED),
    }
    let required = [
        ("persistentVolumeClaim", "claimName", "persistentvolumeclaim.claimname"),
        ("configMap", "name", "configmap.name"),
        ("secret", "secretName", "secret.secretName"),
        ("csi", "driver", "csi.driver"),
    ];
    for (source, field, path) in required {
        if some(binding, source).is_some_and(|s| text(s, field).is_empty()) {
            return Faults::missing(path);
        }
    }
    if some(binding, "projected").is_some_and(|p| list(p, "sources").is_empty()) {
        return Faults::missing("projected.sources");
    }
    Faults::none()
}

/// A path without `.`, `..` and repeated slashes, as far as its text tells.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.last().is_some_and(|l| *l != "..") {
            parts.pop();
        } else if !rooted {
            parts.push(part);
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// Faults of a task's declarations: names and mount paths must be its own.
pub(super) fn declared(spec: &Value) -> Faults {
    let template = std::slice::from_ref(&spec["stepTemplate"]);
    let mounts = list(spec, "steps").iter().chain(template).flat_map(|s| list(s, "volumeMounts"));
    let mut taken: BTreeSet<String> = mounts.map(|m| clean(text(m, "mountPath"))).collect();
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for (index, workspace) in list(spec, "workspaces").iter().enumerate() {
        let name = text(workspace, "name");
        if !seen.insert(name) {
            let message = format!("workspace name {} must be unique", quote(name));
            faults.add(Faults::at(message, &["name"]).index(index));
        }
        let path = match text(workspace, "mountPath") {
            "" => clean(&format!("/workspace/{name}")),
            path => clean(path),
        };
        if !taken.insert(path.clone()) {
            let message = format!("workspace mount path {} must be unique", quote(&path));
            faults.add(Faults::at(message, &["mountpath"]).index(index));
        }
    }
    faults.under("workspaces")
}

/// Faults of the workspaces that steps and sidecars keep for themselves.
pub(super) fn used(spec: &Value, config: &Settings<'_>) -> Faults {
    let declared: BTreeSet<_> = names(spec, "workspaces").collect();
    let mut faults = Faults::none();
    for (field, feature) in [("steps", "step workspaces"), ("sidecars", "sidecar workspaces")] {
        for (index, user) in list(spec, field).iter().enumerate() {
            if !list(user, "workspaces").is_empty() {
                faults.add(config.gate(feature, Level::Beta));
            }
            for (at, name) in names(user, "workspaces").enumerate() {
                if !declared.contains(name) {
                    let fault = Faults::at(format!("undefined workspace {}", quote(name)), &["name"]);
                    faults.add(fault.field_index("workspaces", at).field_index(field, index));
                }
            }
        }
    }
    faults
}
