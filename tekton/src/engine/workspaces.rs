//! Workspaces of a TaskRun: bindings become volumes, declarations become mounts and variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::claims;
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

/// `bound` together with the installation's binding for declared workspaces that have none and need one.
/// `configured` is the setting's YAML.
pub fn with_default(bound: &[Value], declared: &[Value], configured: &str) -> Vec<Value> {
    let mut out = bound.to_vec();
    let Ok(Value::Object(default)) = serde_yaml_ng::from_str::<Value>(configured) else { return out };
    for declaration in declared.iter().filter(|d| d["optional"] != true) {
        let name = &declaration["name"];
        if !bound.iter().any(|b| b["name"] == *name) {
            let mut binding = Value::Object(default.clone());
            binding["name"] = name.clone();
            out.push(binding);
        }
    }
    out
}

/// `bound` with the claims in place of their templates.
pub fn with_claims(bound: &[Value], owner: &Value) -> Vec<Value> {
    let claimed = |binding: &Value| {
        let template = &binding["volumeClaimTemplate"];
        if template.is_null() {
            return binding.clone();
        }
        let claim = claims::name(template, text(binding, "name"), owner);
        let mut out = json!({"name": binding["name"], "persistentVolumeClaim": {"claimName": claim}});
        set(&mut out, "subPath", binding["subPath"].clone());
        out
    };
    bound.iter().map(claimed).collect()
}

/// The parts of a binding that take variables.
const IN_BINDINGS: [&str; 7] = [
    "/subPath",
    "/persistentVolumeClaim/claimName",
    "/configMap/name",
    "/secret/secretName",
    "/projected/sources",
    "/csi/driver",
    "/csi/nodePublishSecretRef",
];

/// Applies the replacements of params to bindings.
pub fn substitute(bound: &mut [Value], replacements: &Replacements) {
    for binding in bound {
        for part in IN_BINDINGS {
            if let Some(value) = binding.pointer_mut(part) {
                replacements.document(value, &[]);
            }
        }
    }
}

/// Replacements `workspaces.W.path|bound|claim|volume`: path and whether it is bound for the declared workspaces,
/// claim and volume for the bound ones.
pub fn replacements(declared: &[Value], bound: &[Value], volumes: &BTreeMap<String, Value>) -> Replacements {
    let mut out = Replacements::default();
    let mut put = |name: &str, what: &str, value: String| {
        out.strings.insert(format!("workspaces.{name}.{what}"), value);
    };
    for declaration in declared {
        let name = text(declaration, "name");
        let unbound = declaration["optional"] == true && !bound.iter().any(|b| text(b, "name") == name);
        put(name, "bound", (!unbound).to_string());
        put(name, "path", if unbound { String::new() } else { path(declaration) });
    }
    for (name, volume) in volumes {
        put(name, "volume", text(volume, "name").to_owned());
    }
    for binding in bound {
        let claim = binding["persistentVolumeClaim"]["claimName"].as_str().unwrap_or("");
        put(text(binding, "name"), "claim", claim.to_owned());
    }
    out
}

/// Where a step or sidecar mounts a workspace at a path of its own, `$(workspaces.W.path)` means that one.
pub fn substitute_own_paths(spec: &mut Value) {
    for part in ["steps", "sidecars"] {
        for container in spec.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
            let mut own = Replacements::default();
            for usage in list(container, "workspaces").iter().filter(|u| !text(u, "mountPath").is_empty()) {
                let name = format!("workspaces.{}.path", text(usage, "name"));
                own.strings.insert(name, text(usage, "mountPath").to_owned());
            }
            if !own.strings.is_empty() {
                own.document(container, &["computeResources", "results"]);
            }
        }
    }
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
