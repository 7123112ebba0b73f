//! The canonical Pod of a TaskRun: exactly what Tekton's own builder makes.

mod steps;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::engine::decide::{ImageConfig, Installation};
use crate::engine::doc::{is_empty, list, list_mut, name, namespace, object_mut, set, strings, text, uid};
use crate::engine::names::{child_name, restrict};
use crate::engine::time::duration;
use crate::engine::{scripts, taskspec};

/// The Pod lives at most this many times as long as the run may take.
const DEADLINE_FACTOR: f64 = 1.5;
/// Without a timeout: the largest value that the field takes.
const DEADLINE_NONE: i64 = i32::MAX as i64;

/// Fields of a pod template that go into the Pod's spec as they are.
const TEMPLATE_FIELDS: [&str; 19] = [
    "nodeSelector",
    "tolerations",
    "affinity",
    "securityContext",
    "runtimeClassName",
    "automountServiceAccountToken",
    "dnsPolicy",
    "dnsConfig",
    "enableServiceLinks",
    "priorityClassName",
    "schedulerName",
    "imagePullSecrets",
    "hostAliases",
    "hostNetwork",
    "topologySpreadConstraints",
    "hostUsers",
    "overhead",
    "preemptionPolicy",
    "hostname",
];

/// Everything that a Pod is built from.
pub struct Inputs<'a> {
    /// The TaskRun, defaulted.
    pub run: &'a Value,
    /// Its task's spec, substituted, with workspaces applied.
    pub spec: &'a Value,
    /// Name of the Pod.
    pub name: String,
    /// Flags that matter here.
    pub flags: Flags,
    /// Images that were looked up, by reference.
    pub images: &'a BTreeMap<String, ImageConfig>,
    /// The installation.
    pub installation: &'a Installation,
}

/// Feature flags that change the Pod.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// `await-sidecar-readiness`
    pub await_sidecars: bool,
    /// `running-in-environment-with-injected-sidecars`
    pub injected_sidecars: bool,
    /// `disable-creds-init`
    pub no_creds_init: bool,
    /// `keep-pod-on-cancel`
    pub keep_pod: bool,
}

/// Why there is no Pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The image must be looked up first.
    Image(String),
    /// The run is wrong; the reference's text.
    User(String),
    /// The Pod cannot be built; the reference's text.
    Build(String),
}

/// Builds the Pod.
///
/// # Errors
/// [`Refused`].
pub fn build(inputs: &Inputs) -> Result<Value, Refused> {
    let Inputs { run, spec, .. } = inputs;
    let mut volumes: Vec<Value> =
        ["workspace", "home", "results", "steps", "artifacts"].map(empty_volume).into();
    let mut steps = taskspec::steps_with_template(spec);
    let mut sidecars = list(spec, "sidecars").to_vec();
    let run_spec = &run["spec"];
    taskspec::override_resources(&mut steps, list(run_spec, "stepSpecs"), "Step").map_err(Refused::User)?;
    taskspec::override_resources(&mut sidecars, list(run_spec, "sidecarSpecs"), "Sidecar")
        .map_err(Refused::User)?;

    let mut init = vec![prepare(&steps, inputs.installation)];
    if let Some(placer) =
        scripts::place(&mut steps, &mut sidecars, &inputs.installation.shell_image, uid(run))
    {
        init.push(placer);
        volumes.push(empty_volume("scripts"));
    }
    if let Some(maker) = working_dirs(&steps, inputs.installation) {
        init.push(maker);
    }
    let ready = ready_at_birth(inputs.flags, &sidecars);
    let mut containers = steps::containers(inputs, &steps, ready)?;
    volumes.push(empty_volume("bin"));
    if !ready || inputs.flags.keep_pod {
        volumes.push(downward(inputs.flags.keep_pod));
    }
    steps::mount_implicit(&mut containers, &mut volumes, inputs.flags);
    let template = &run_spec["podTemplate"];
    steps::add_template_env(&mut containers, list(template, "env"));
    volumes.extend(list(spec, "volumes").iter().cloned());
    volumes.extend(list(template, "volumes").iter().cloned());
    unique_names(&volumes)?;
    containers.extend(sidecars.iter().map(sidecar));

    let mut pod_spec = json!({
        "restartPolicy": "Never",
        "initContainers": init,
        "containers": containers,
        "volumes": volumes,
        "activeDeadlineSeconds": deadline_s(run_spec),
    });
    set(&mut pod_spec, "serviceAccountName", run_spec["serviceAccountName"].clone());
    for field in TEMPLATE_FIELDS {
        set(&mut pod_spec, field, template[field].clone());
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(inputs, ready),
        "spec": pod_spec,
    }))
}

fn metadata(inputs: &Inputs, ready: bool) -> Value {
    let run = inputs.run;
    let mut annotations = strings(run, "annotations");
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations.insert("pipeline.tekton.dev/release".into(), inputs.installation.release.clone());
    if ready {
        annotations.insert("tekton.dev/ready".into(), "READY".into());
    }
    let mut labels = strings(run, "labels");
    labels.insert("tekton.dev/taskRun".into(), name(run).into());
    labels.insert("tekton.dev/taskRunUID".into(), uid(run).into());
    json!({
        "name": inputs.name,
        "namespace": namespace(run),
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owner(run)],
    })
}

/// The controller reference to `run`.
pub fn owner(run: &Value) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1",
        "kind": run["kind"],
        "name": name(run),
        "uid": uid(run),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Name of the Pod of a TaskRun's attempt number `retry`.
pub fn pod_name(run: &Value, retry: usize) -> String {
    let suffix = if retry == 0 { "-pod".to_owned() } else { format!("-pod-retry{retry}") };
    child_name(name(run), &suffix)
}

fn deadline_s(run_spec: &Value) -> i64 {
    match duration(text(run_spec, "timeout")) {
        Some(0) => DEADLINE_NONE,
        Some(us) => (us as f64 / 1e6 * DEADLINE_FACTOR) as i64,
        None => (3600.0 * DEADLINE_FACTOR) as i64,
    }
}

fn empty_volume(what: &str) -> Value {
    json!({"name": format!("tekton-internal-{what}"), "emptyDir": {}})
}

fn downward(keep_pod: bool) -> Value {
    let item = |annotation: &str, path: &str| {
        let field = format!("metadata.annotations['tekton.dev/{annotation}']");
        json!({"path": path, "fieldRef": {"fieldPath": field}})
    };
    let mut items = vec![item("ready", "ready")];
    if keep_pod {
        items.push(item("cancel", "cancel"));
    }
    json!({"name": "tekton-internal-downward", "downwardAPI": {"items": items}})
}

fn prepare(steps: &[Value], installation: &Installation) -> Value {
    let mut command = vec!["/ko-app/entrypoint".to_owned(), "init".into(), "/ko-app/entrypoint".into()];
    command.push("/tekton/bin/entrypoint".into());
    command.extend(steps.iter().enumerate().map(|(index, step)| taskspec::step_name(step, index)));
    json!({
        "name": "prepare",
        "image": installation.entrypoint_image,
        "workingDir": "/",
        "command": command,
        "volumeMounts": [
            {"name": "tekton-internal-bin", "mountPath": "/tekton/bin"},
            {"name": "tekton-internal-steps", "mountPath": "/tekton/steps"},
        ],
        "resources": {},
    })
}

/// Makes working directories that are relative or below /workspace.
fn working_dirs(steps: &[Value], installation: &Installation) -> Option<Value> {
    let dirs: std::collections::BTreeSet<_> = steps
        .iter()
        .map(|step| text(step, "workingDir"))
        .filter(|dir| !dir.is_empty())
        .map(clean)
        .filter(|dir| !dir.starts_with('/') || dir.starts_with("/workspace/"))
        .collect();
    if dirs.is_empty() {
        return None;
    }
    Some(json!({
        "name": "working-dir-initializer",
        "image": installation.workingdirinit_image,
        "command": ["/ko-app/workingdirinit"],
        "args": dirs,
        "workingDir": "/workspace",
        "volumeMounts": steps::IMPLICIT_MOUNTS.map(steps::implicit_mount),
        "resources": {},
    }))
}

/// A path without `.`, `..` and doubled slashes (Go's `filepath.Clean`).
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

/// Whether the first step may start at once, without waiting for sidecars to be ready.
fn ready_at_birth(flags: Flags, sidecars: &[Value]) -> bool {
    !flags.await_sidecars || (sidecars.is_empty() && !flags.injected_sidecars)
}

fn sidecar(spec: &Value) -> Value {
    let mut container = spec.clone();
    let map = object_mut(&mut container);
    let resources = map.remove("computeResources").unwrap_or_else(|| json!({}));
    map.remove("workspaces");
    map.insert("resources".into(), resources);
    map.insert("name".into(), restrict(&format!("sidecar-{}", text(spec, "name"))).into());
    drop_empty(map);
    container
}

fn drop_empty(map: &mut Map<String, Value>) {
    map.retain(|key, value| key == "resources" || !matches!(value, Value::Null) && !is_empty_list(value));
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn unique_names(volumes: &[Value]) -> Result<(), Refused> {
    let mut seen = std::collections::BTreeSet::new();
    for volume in volumes {
        if !seen.insert(text(volume, "name")) {
            let message = format!("multiple volumes with same name {:?}", text(volume, "name"));
            return Err(Refused::Build(message));
        }
    }
    Ok(())
}

/// Adds `mount` to a container unless something is mounted at that path.
fn mount_unless_taken(container: &mut Value, mount: Value) {
    let path = clean(text(&mount, "mountPath"));
    if !list(container, "volumeMounts").iter().any(|m| clean(text(m, "mountPath")) == path) {
        list_mut(container, "volumeMounts").push(mount);
    }
}

/// Whether a container says what to run.
fn says_what_to_run(step: &Value) -> bool {
    !is_empty(step, "command")
}
