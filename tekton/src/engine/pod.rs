//! The canonical Pod of a TaskRun: exactly what Tekton's own builder makes.

mod creds;
mod extras;
mod flags;
mod images;
mod resources;
mod sidecars;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::decide::{ImageConfig, Installation, Key, Need};
use crate::engine::doc::{list, list_mut, name, namespace, set, strings, text, uid};
use crate::engine::names::child_name;
use crate::engine::scripts::{self, Breakpoints, Placing};
use crate::engine::taskspec;
use crate::engine::time::duration;

pub use extras::AFFINITY_ASSISTANT;
pub use flags::Flags;
pub use resources::check as check_resources;

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
    /// Settings that matter here.
    pub flags: Flags,
    /// Objects that were read, by key.
    pub objects: &'a BTreeMap<Key, Option<Value>>,
    /// LimitRanges of the namespace, if they were read.
    pub limit_ranges: Option<&'a [Value]>,
    /// Images that were looked up, by reference.
    pub images: &'a BTreeMap<String, ImageConfig>,
    /// The installation.
    pub installation: &'a Installation,
}

/// A Pod, and what there is to say about it.
pub struct Built {
    /// The Pod.
    pub pod: Value,
    /// Secrets that its account names and that do not exist.
    pub missing_secrets: Vec<String>,
}

/// Why there is no Pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// These must be read first.
    Need(BTreeSet<Need>),
    /// The run is wrong; the reference's text.
    Invalid(String),
    /// The Pod cannot be built; the reference's text.
    Build(String),
}

impl From<creds::Refused> for Refused {
    fn from(refused: creds::Refused) -> Self {
        match refused {
            creds::Refused::Need(needs) => Refused::Need(needs),
            creds::Refused::Build(message) => Refused::Build(message),
            creds::Refused::Invalid(message) => Refused::Invalid(message),
        }
    }
}

/// Builds the Pod.
///
/// # Errors
/// [`Refused`].
pub fn build(inputs: &Inputs) -> Result<Built, Refused> {
    let Inputs { run, spec, flags, .. } = inputs;
    let run_spec = &run["spec"];
    let template = &run_spec["podTemplate"];
    let creds = credentials(inputs)?;
    let mut steps = taskspec::steps_with_template(spec);
    taskspec::override_resources(&mut steps, list(run_spec, "stepSpecs"));
    resources::share_out(&mut steps, &run_spec["computeResources"]);
    let mut sidecars = list(spec, "sidecars").to_vec();
    let reporter = sidecars::reporter(inputs, &steps);
    let reports = reporter.is_some();
    sidecars.extend(reporter);
    taskspec::override_resources(&mut sidecars, list(run_spec, "sidecarSpecs"));

    let mut volumes: Vec<Value> = steps::IMPLICIT_MOUNTS.map(|(what, ..)| empty_volume(what)).into();
    volumes.extend(creds.volumes);
    let windows = template["nodeSelector"]["kubernetes.io/os"] == "windows";
    let breakpoints = if flags.alpha { Breakpoints::of(&run_spec["debug"]) } else { Breakpoints::default() };
    let mut init = vec![prepare(&steps, inputs, windows)];
    let placing = Placing {
        installation: inputs.installation,
        alpha: flags.alpha,
        breakpoints: &breakpoints,
        seed: uid(run),
    };
    if let Some(placer) = scripts::place(&mut steps, &mut sidecars, &placing) {
        init.push(extras::secured(placer.container, flags, placer.windows));
        volumes.push(empty_volume("scripts"));
    }
    if breakpoints.any() {
        let debug = [scripts::SCRIPTS_VOLUME, scripts::INFO_VOLUME];
        volumes.extend(debug.map(|name| json!({"name": name, "emptyDir": {}})));
    }
    if let Some(maker) = working_dirs(&steps, inputs.installation) {
        init.push(extras::secured(maker, flags, windows));
    }
    let ready = ready_at_birth(flags, &sidecars);
    let options = steps::Options { ready, reports, breakpoints: &breakpoints, creds: &creds.args };
    let mut containers = steps::containers(inputs, &steps, &options)?;
    volumes.push(empty_volume("bin"));
    if !ready || flags.keep_pod {
        volumes.push(downward(flags.keep_pod));
    }
    extras::add_env(&mut containers, template, run, flags);
    steps::mount_implicit(&mut containers, &mut volumes, flags, &creds.mounts);
    volumes.extend(list(spec, "volumes").iter().cloned());
    volumes.extend(list(template, "volumes").iter().cloned());
    unique_names(&volumes)?;
    if flags.spire {
        extras::add_spire(&mut volumes, &mut containers, &mut init);
    }
    let sidecars = sidecars::containers(&sidecars, containers.len(), &creds.mounts, reports, flags);
    let beside = if flags.native_sidecars { &mut init } else { &mut containers };
    beside.extend(sidecars);

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
    resources::defaults(&mut pod_spec, &flags.container_resources);
    let Some(ranges) = inputs.limit_ranges else { return Err(Refused::Need([Need::LimitRanges].into())) };
    resources::limit(list_mut(&mut pod_spec, "containers"), ranges);
    resources::spell(&mut pod_spec);
    extras::add_affinity(&mut pod_spec, run);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(inputs, ready),
        "spec": pod_spec,
    });
    Ok(Built { pod, missing_secrets: creds.missing })
}

/// The credentials; LimitRanges are asked for together with what they need, so that one look brings both.
fn credentials(inputs: &Inputs) -> Result<creds::Credentials, Refused> {
    if inputs.flags.no_creds_init {
        return Ok(creds::Credentials::default());
    }
    let account = text(&inputs.run["spec"], "serviceAccountName");
    creds::of(inputs.run, account, inputs.flags.known_hosts, inputs.objects).map_err(|refused| match refused
        .into()
    {
        Refused::Need(mut needs) => {
            if inputs.limit_ranges.is_none() {
                needs.insert(Need::LimitRanges);
            }
            Refused::Need(needs)
        }
        other => other,
    })
}

fn metadata(inputs: &Inputs, ready: bool) -> Value {
    let run = inputs.run;
    let mut annotations = strings(run, "annotations");
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations.retain(|key, _| !key.starts_with("chains.tekton.dev"));
    annotations.insert("pipeline.tekton.dev/release".into(), inputs.installation.release.clone());
    if ready {
        let (key, value) = super::taskrun::READY;
        annotations.insert(key.into(), value.into());
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

/// The security context of a container that is not the task's own, on nodes that `selector` asks for; null if the
/// settings ask for none.
pub fn security(flags: &Flags, selector: &Value) -> Value {
    extras::security(flags, selector["kubernetes.io/os"] == "windows")
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

fn prepare(steps: &[Value], inputs: &Inputs, windows: bool) -> Value {
    let mut command = vec!["/ko-app/entrypoint".to_owned(), "init".into(), "/ko-app/entrypoint".into()];
    command.push("/tekton/bin/entrypoint".into());
    command.extend(steps.iter().enumerate().map(|(index, step)| taskspec::step_name(step, index)));
    let container = json!({
        "name": "prepare",
        "image": inputs.installation.entrypoint_image,
        "workingDir": "/",
        "command": command,
        "volumeMounts": [
            {"name": "tekton-internal-bin", "mountPath": "/tekton/bin"},
            {"name": "tekton-internal-steps", "mountPath": "/tekton/steps"},
        ],
        "resources": {},
    });
    extras::secured(container, &inputs.flags, windows)
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
pub fn clean(path: &str) -> String {
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
fn ready_at_birth(flags: &Flags, sidecars: &[Value]) -> bool {
    !flags.await_sidecars || (sidecars.is_empty() && !flags.injected_sidecars)
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
