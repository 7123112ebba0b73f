//! Containers beside the steps: the task's sidecars, and the one that reports results through its log.

use serde_json::{Map, Value, json};

use super::steps::{mount_common, run_mount};
use super::{Flags, Inputs, extras};
use crate::engine::doc::{list, list_mut, object_mut, set, text};
use crate::engine::names::restrict;
use crate::engine::taskspec::step_name;

/// Name of the sidecar that reports results.
const REPORTER: &str = "tekton-log-results";

/// The sidecar that reports results, when they go that way and there are any.
pub fn reporter(inputs: &Inputs, steps: &[Value]) -> Option<Value> {
    let flags = &inputs.flags;
    if !flags.sidecar_logs || list(inputs.spec, "results").is_empty() && !steps.iter().any(tells_artifacts) {
        return None;
    }
    let results: Vec<_> = list(inputs.spec, "results").iter().map(|r| text(r, "name")).collect();
    let mut producers = Vec::new();
    let mut of_steps = Map::new();
    for (index, step) in list(inputs.spec, "steps").iter().enumerate() {
        let name = step_name(step, index);
        let own: Vec<_> = list(step, "results").iter().map(|r| text(r, "name")).collect();
        if !own.is_empty() {
            of_steps.insert(name.clone(), json!(own));
        }
        if names(step, &own_paths(&name)) {
            producers.push(name);
        }
    }
    let of_steps = Value::Object(of_steps).to_string();
    let mut command = vec!["/ko-app/sidecarlogresults", "-results-dir", "/tekton/results", "-result-names"];
    let (results, producers) = (results.join(","), producers.join(","));
    command.extend([&results, "-step-names", &producers, "-step-results", &of_steps]);
    if flags.native_sidecars {
        command.extend(["-kubernetes-sidecar-mode", "true"]);
    }
    let mut sidecar = json!({
        "name": REPORTER,
        "image": inputs.installation.sidecarlogresults_image,
        "command": command,
        "env": [{"name": "SIDECAR_LOG_POLLING_INTERVAL", "value": flags.polling_interval}],
    });
    let windows = inputs.run["spec"]["podTemplate"]["nodeSelector"]["kubernetes.io/os"] == "windows";
    set(&mut sidecar, "securityContext", extras::security(flags, windows));
    Some(sidecar)
}

fn own_paths(step: &str) -> [String; 2] {
    ["$(step.artifacts.path)".into(), format!("/tekton/steps/{step}/artifacts/provenance.json")]
}

/// Whether a step writes artifacts, of its own or of the task.
fn tells_artifacts(step: &Value) -> bool {
    let of_task = ["$(artifacts.path)".to_owned(), "/tekton/artifacts/provenance.json".to_owned()];
    names(step, &of_task) || names(step, &own_paths(&format!("step-{}", text(step, "name"))))
}

/// Whether a step's script, arguments, command or variables contain one of `paths`.
fn names(step: &Value, paths: &[String]) -> bool {
    let values = list(step, "env").iter().map(|env| text(env, "value"));
    let words = ["args", "command"].into_iter().flat_map(|field| list(step, field)).filter_map(Value::as_str);
    let mut all = [text(step, "script")].into_iter().chain(values).chain(words);
    all.any(|text| paths.iter().any(|path| text.contains(path.as_str())))
}

/// The containers of `sidecars`.
pub fn containers(
    sidecars: &[Value],
    steps: usize,
    creds: &[Value],
    reports: bool,
    flags: &Flags,
) -> Vec<Value> {
    let last = sidecars.len();
    let all = sidecars.iter().enumerate().map(|(index, spec)| {
        let mut container = container(spec);
        if reports && index + 1 == last {
            let mounts = list_mut(&mut container, "volumeMounts");
            mounts.extend((0..steps).map(|step| run_mount(step, true)));
            mount_common(&mut container, creds);
        }
        if flags.native_sidecars {
            container["restartPolicy"] = json!("Always");
        }
        container
    });
    all.collect()
}

fn container(spec: &Value) -> Value {
    let mut container = spec.clone();
    let map = object_mut(&mut container);
    let resources = map.remove("computeResources").unwrap_or_else(|| json!({}));
    map.remove("workspaces");
    map.insert("resources".into(), resources);
    map.insert("name".into(), restrict(&format!("sidecar-{}", text(spec, "name"))).into());
    map.retain(|key, value| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        key == "resources" || !empty
    });
    container
}
