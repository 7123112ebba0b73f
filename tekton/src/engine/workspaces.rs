//! Workspaces of a TaskRun: bindings become volumes, declarations become mounts and variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::doc::{list, list_mut, object_mut, set, text};
use crate::engine::names::fnv32a;
use crate::engine::substitution::Replacements;

/// What a binding can be made of, in the reference's order.
const SOURCES: [&str; 6] = ["persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "csi"];

/// Checks bindings against declarations.
///
/// # Errors
/// The reference's text.
pub fn check(declared: &[Value], bound: &[Value], propagated: bool) -> Result<(), String> {
    for workspace in declared {
        let name = text(workspace, "name");
        let optional = workspace["optional"] == true;
        if !optional && !bound.iter().any(|b| text(b, "name") == name) {
            return Err(format!("declared workspace {name:?} is required but has not been bound"));
        }
    }
    for binding in bound {
        let name = text(binding, "name");
        if !propagated && !declared.iter().any(|w| text(w, "name") == name) {
            return Err(format!("workspace binding {name:?} does not match any declared workspace"));
        }
    }
    Ok(())
}

/// More than one claim in one TaskRun cannot be, when an affinity assistant per workspace is on.
///
/// # Errors
/// The reference's text.
pub fn check_one_claim(bound: &[Value]) -> Result<(), String> {
    let claims: BTreeSet<_> = bound
        .iter()
        .filter_map(|b| b["persistentVolumeClaim"]["claimName"].as_str())
        .chain(bound.iter().filter(|b| !b["volumeClaimTemplate"].is_null()).map(|b| text(b, "name")))
        .collect();
    if claims.len() > 1 { Err("more than one PersistentVolumeClaim is bound".into()) } else { Ok(()) }
}

/// Volume of each bound workspace, by workspace name; a claim bound twice is one volume.
pub fn volumes(bound: &[Value]) -> BTreeMap<String, Value> {
    let mut claims: BTreeMap<String, Value> = BTreeMap::new();
    let mut out = BTreeMap::new();
    for binding in bound {
        let name = text(binding, "name").to_owned();
        let volume_name = format!("ws-{}", &fnv32a(&name)[..5]);
        let Some(source) = SOURCES.into_iter().find(|source| !binding[source].is_null()) else { continue };
        let mut volume = json!({"name": volume_name, source: binding[source]});
        if let Some(claim) = binding["persistentVolumeClaim"]["claimName"].as_str() {
            volume = claims.entry(claim.to_owned()).or_insert(volume).clone();
        }
        out.insert(name, volume);
    }
    out
}

/// Path of a declared workspace.
pub fn path(declaration: &Value) -> String {
    match text(declaration, "mountPath") {
        "" => format!("/workspace/{}", text(declaration, "name")),
        path => path.to_owned(),
    }
}

/// Replacements `workspaces.W.path|bound|claim|volume` for the declared workspaces (and, when embedded, for the
/// bound ones that are not declared).
pub fn replacements(declared: &[Value], bound: &[Value], volumes: &BTreeMap<String, Value>) -> Replacements {
    let mut out = Replacements::default();
    let mut put = |name: &str, what: &str, value: String| {
        out.strings.insert(format!("workspaces.{name}.{what}"), value);
    };
    for declaration in declared {
        let name = text(declaration, "name");
        let binding = bound.iter().find(|b| text(b, "name") == name);
        put(name, "bound", binding.is_some().to_string());
        let unbound = binding.is_none() && declaration["optional"] == true;
        put(name, "path", if unbound { String::new() } else { path(declaration) });
        let claim = binding.and_then(|b| b["persistentVolumeClaim"]["claimName"].as_str()).unwrap_or("");
        put(name, "claim", claim.to_owned());
        put(name, "volume", volumes.get(name).map_or("", |v| text(v, "name")).to_owned());
    }
    out
}

/// Adds to an embedded task spec the declarations of bound workspaces that its text refers to, or that it does
/// not declare: they are propagated.
pub fn propagate(spec: &mut Value, bound: &[Value]) {
    for binding in bound {
        let name = text(binding, "name");
        if !list(spec, "workspaces").iter().any(|w| text(w, "name") == name) {
            list_mut(spec, "workspaces").push(json!({"name": name}));
        }
    }
}

/// Mounts the bound workspaces in `spec`: in every step and sidecar, or only in those that name it.
pub fn apply(spec: &mut Value, bound: &[Value], volumes: &BTreeMap<String, Value>) {
    let mut isolated = BTreeSet::new();
    for part in ["steps", "sidecars"] {
        for container in list(spec, part) {
            isolated.extend(list(container, "workspaces").iter().map(|w| text(w, "name").to_owned()));
        }
    }
    let mut added = BTreeSet::new();
    for binding in bound {
        let name = text(binding, "name");
        let declaration = list(spec, "workspaces").iter().find(|w| text(w, "name") == name).cloned();
        let (Some(declaration), Some(volume)) = (declaration, volumes.get(name)) else { continue };
        let mut mount = json!({"name": volume["name"], "mountPath": path(&declaration)});
        set(&mut mount, "subPath", binding["subPath"].clone());
        if declaration["readOnly"] == true {
            set(&mut mount, "readOnly", json!(true));
        }
        if isolated.contains(name) {
            mount_isolated(spec, name, &mount);
        } else {
            mount_everywhere(spec, &mount);
        }
        if added.insert(text(volume, "name").to_owned()) {
            list_mut(spec, "volumes").push(volume.clone());
        }
    }
}

fn mount_everywhere(spec: &mut Value, mount: &Value) {
    let template = object_mut(spec).entry("stepTemplate").or_insert_with(|| json!({}));
    list_mut(template, "volumeMounts").push(mount.clone());
    if list(spec, "sidecars").is_empty() {
        return;
    }
    for sidecar in list_mut(spec, "sidecars") {
        let taken = list(sidecar, "volumeMounts").iter().any(|m| m["mountPath"] == mount["mountPath"]);
        if !taken {
            list_mut(sidecar, "volumeMounts").push(mount.clone());
        }
    }
}

fn mount_isolated(spec: &mut Value, name: &str, mount: &Value) {
    for part in ["steps", "sidecars"] {
        if list(spec, part).is_empty() {
            continue;
        }
        for container in list_mut(spec, part) {
            let usage = list(container, "workspaces").iter().find(|w| text(w, "name") == name).cloned();
            let Some(usage) = usage else { continue };
            let mut mount = mount.clone();
            if !text(&usage, "mountPath").is_empty() {
                mount["mountPath"] = usage["mountPath"].clone();
            }
            list_mut(container, "volumeMounts").push(mount);
        }
    }
}
