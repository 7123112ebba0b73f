//! Steps and sidecars.

use std::collections::BTreeSet;

use apimachinery::field_error::quote;
use apimachinery::names::dns1123_label;
use serde_json::Value;

use super::Settings;
use super::workspaces::clean;
use super::{references, refs, results, when};
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{duration, list, names, some, text, texts};

/// The sidecar that the controller itself adds.
const RESERVED_SIDECAR: &str = "tekton-log-results";

/// Faults of steps, told below `steps`.
pub(super) fn steps(steps: &[Value], config: &Settings<'_>) -> Faults {
    let mut seen = BTreeSet::new();
    let mut faults = Faults::none();
    for (index, step) in steps.iter().enumerate() {
        faults.add(one(step, config).index(index));
        let name = text(step, "name");
        if !name.is_empty() && !seen.insert(name) {
            faults.add(Faults::both(&["name"]).index(index));
        }
        if some(step, "results").is_some() {
            let declared = names(step, "results").map(str::to_owned).collect();
            let fault = references::known(text(step, "script"), "step.results", &declared);
            faults.add(fault.under("script").index(index));
            for (at, result) in list(step, "results").iter().enumerate() {
                faults.add(results::step_result(result).index(at).index(index).under("results"));
            }
        }
        faults.add(when::when(step, config).index(index));
    }
    faults.under("steps")
}

/// Faults of sidecars; the reference does not tell which one it is. In v1beta1 only their names are looked at.
pub(super) fn sidecars(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    for sidecar in list(spec, "sidecars") {
        if text(sidecar, "name") == RESERVED_SIDECAR {
            let message = format!("Invalid: cannot use reserved sidecar name {RESERVED_SIDECAR} ");
            faults.add(Faults::at(message, &[if config.older { "" } else { "name" }]));
        }
        if config.older {
            continue;
        }
        if text(sidecar, "image").is_empty() {
            faults.add(Faults::missing("image"));
        }
        faults.add(script_or_command(sidecar));
    }
    faults.under("sidecars")
}

/// A script is a command of its own.
pub(super) fn script_or_command(container: &Value) -> Faults {
    if !text(container, "script").is_empty() && !list(container, "command").is_empty() {
        return Faults::at("script cannot be used with command", &["script"]);
    }
    Faults::none()
}

fn one(step: &Value, config: &Settings<'_>) -> Faults {
    if !config.on("enable-artifacts") && uses_artifacts(step) {
        let message = "feature flag enable-artifacts should be set to true to use artifacts feature.";
        return Faults::at(message, &[""]);
    }
    if let Some(nanos) = duration(step, "timeout").filter(|d| *d < 0) {
        return Faults::invalid(apimachinery::time::go_duration(nanos), "negative timeout");
    }
    let mut faults = match some(step, "ref") {
        Some(reference) => {
            let mut faults = refs::reference(reference, config);
            faults.add(beside_ref(step));
            faults
        }
        None => without_ref(step),
    };
    let name = text(step, "name");
    if !name.is_empty() && !dns1123_label(name).is_empty() {
        faults.add(Faults::detailed(
            format!("invalid value {}", quote(name)),
            &["name"],
            "Task step name must be a valid DNS Label, For more info refer to https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#names",
        ));
    }
    faults.add(mounts(step));
    let on_error = text(step, "onError");
    if !matches!(on_error, "" | "continue" | "stopAndFail") && !on_error.starts_with("$(params") {
        faults.add(Faults::detailed(
            format!(r#"invalid value: "{on_error}""#),
            &["onError"],
            r#"Task step onError must be either "continue" or "stopAndFail""#,
        ));
    }
    if text(step, "script").trim().starts_with("#!win") {
        faults.add(config.gate("windows script support", Level::Alpha));
    }
    for (field, feature) in
        [("stdoutConfig", "step stdout stream support"), ("stderrConfig", "step stderr stream support")]
    {
        if some(step, field).is_some() {
            faults.add(config.gate(feature, Level::Alpha));
        }
    }
    faults.add(runtime_references(step));
    faults
}

/// What a step that refers to a StepAction must leave to it.
fn beside_ref(step: &Value) -> Faults {
    let fields = [
        ("image", "image"),
        ("command", "command"),
        ("args", "args"),
        ("script", "script"),
        ("workingDir", "working dir"),
        ("env", "env"),
        ("volumeMounts", "volumeMounts"),
        ("results", "results"),
    ];
    let mut faults = Faults::none();
    for (field, called) in fields {
        if !text(step, field).is_empty() || !list(step, field).is_empty() {
            faults.add(Faults::at(format!("{called} cannot be used with Ref"), &[field]));
        }
    }
    faults
}

fn without_ref(step: &Value) -> Faults {
    let mut faults = Faults::none();
    if !list(step, "params").is_empty() {
        faults.add(Faults::at("params cannot be used without Ref", &["params"]));
    }
    if text(step, "image").is_empty() {
        faults.add(Faults::missing("Image"));
    }
    faults.add(script_or_command(step));
    faults
}

fn mounts(step: &Value) -> Faults {
    let mut faults = Faults::none();
    for (index, mount) in list(step, "volumeMounts").iter().enumerate() {
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        let real = clean(path);
        let home = real == "/tekton/home" || real.starts_with("/tekton/home/");
        if (real == "/tekton" || real.starts_with("/tekton/")) && !home {
            let message = format!(
                "volumeMount cannot be mounted under /tekton/ (volumeMount {} mounted at {})",
                quote(name),
                quote(path)
            );
            faults.add(Faults::at(message, &["mountPath"]).field_index("volumeMounts", index));
        }
        if name.starts_with("tekton-internal-") {
            let message = format!(r#"volumeMount name {} cannot start with "tekton-internal-""#, quote(name));
            faults.add(Faults::at(message, &["name"]).field_index("volumeMounts", index));
        }
    }
    faults
}

/// Whether a text holds `$(HEAD.x.TAIL...)` for one of `tails`, closed on the same line.
fn refers(value: &str, head: &str, tails: &[&str]) -> bool {
    let start = format!("$({head}.");
    value.lines().any(|line| {
        line.match_indices(&start).any(|(at, _)| {
            let rest = &line[at + start.len()..];
            tails.iter().any(|tail| rest.find(tail).is_some_and(|t| rest[t + tail.len()..].contains(')')))
        })
    })
}

const ARTIFACTS: [&str; 2] = [".inputs", ".outputs"];

fn step_artifacts(value: &str) -> bool {
    refers(value, "steps", &ARTIFACTS) || value.contains("$(step.artifacts.path)")
}

/// Whether a text refers to a task's artifacts.
pub(super) fn task_artifacts(value: &str) -> bool {
    refers(value, "tasks", &ARTIFACTS)
}

fn uses_artifacts(step: &Value) -> bool {
    let variables = list(step, "env").iter().map(|e| text(e, "value"));
    let mut values = variables
        .chain(std::iter::once(text(step, "script")))
        .chain(texts(step, "command"))
        .chain(texts(step, "args"));
    values.any(|v| step_artifacts(v) || task_artifacts(v) || v.contains("$(artifacts.path)"))
}

/// What earlier steps produce is only known while the pod runs, hence only where the entrypoint replaces it.
fn runtime_references(step: &Value) -> Faults {
    let mut values: Vec<(&str, &str)> = ["name", "image", "imagePullPolicy", "workingDir", "script"]
        .into_iter()
        .map(|field| (field, text(step, field)))
        .collect();
    for source in list(step, "envFrom") {
        values.push(("envFrom.prefix", text(source, "prefix")));
        values.push(("envFrom.configMapRef", text(&source["configMapRef"], "name")));
        values.push(("envFrom.secretRef", text(&source["secretRef"], "name")));
    }
    for mount in list(step, "volumeMounts") {
        values.push(("volumeMounts.name", text(mount, "name")));
        values.push(("volumeMounts.mountPath", text(mount, "mountPath")));
        values.push(("volumeMounts.subPath", text(mount, "subPath")));
    }
    for device in list(step, "volumeDevices") {
        values.push(("volumeDevices.name", text(device, "name")));
        values.push(("volumeDevices.devicePath", text(device, "devicePath")));
    }
    let mut faults = Faults::none();
    for (path, value) in values {
        if refers(value, "steps", &[".results."]) {
            let message =
                "stepResult substitutions are only allowed in env, command and args. Found usage in";
            faults.add(Faults::at(message, &[path]));
        }
        if path != "script" && step_artifacts(value) {
            let message = "stepArtifact substitutions are only allowed in env, command, args and script. Found usage in";
            faults.add(Faults::at(message, &[path]));
        }
    }
    faults
}
