//! What settings and annotations add to a Pod: security contexts, environment, SPIRE, affinity.

use serde_json::{Value, json};

use super::Flags;
use crate::engine::doc::{list, list_mut, object_mut, set, text};

/// Names the affinity assistant of a run's workspace.
pub const AFFINITY_ASSISTANT: &str = "pipeline.tekton.dev/affinity-assistant";

/// The security context of containers that are not the task's own, or null.
pub fn security(flags: &Flags, windows: bool) -> Value {
    if !flags.secure {
        return Value::Null;
    }
    if windows {
        return json!({"runAsNonRoot": true});
    }
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if flags.read_only_root {
        context["readOnlyRootFilesystem"] = json!(true);
    }
    context
}

/// `container` with the security context that the settings ask for.
pub fn secured(mut container: Value, flags: &Flags, windows: bool) -> Value {
    set(&mut container, "securityContext", security(flags, windows));
    container
}

/// Environment of the pod template, which wins over the step's; then what the run's mode adds, which wins over both.
pub fn add_env(containers: &mut [Value], template: &Value, run: &Value, flags: &Flags) {
    let allowed = |env: &&Value| !flags.forbidden_env.iter().any(|name| name == text(env, "name"));
    let mut added: Vec<Value> = list(template, "env").iter().filter(allowed).cloned().collect();
    let mode = text(&run["metadata"]["annotations"], "experimental.tekton.dev/execution-mode");
    if mode == "hermetic" && flags.alpha {
        added.push(json!({"name": "TEKTON_HERMETIC", "value": "1"}));
    }
    if added.is_empty() {
        return;
    }
    for container in containers {
        list_mut(container, "env").extend(added.iter().cloned());
    }
}

/// The socket through which steps prove who they are.
pub fn add_spire(volumes: &mut Vec<Value>, containers: &mut [Value], init: &mut [Value]) {
    const NAME: &str = "spiffe-workload-api";
    volumes.push(json!({"name": NAME, "csi": {"driver": "csi.spiffe.io", "readOnly": true}}));
    let mount = json!({"name": NAME, "mountPath": "/spiffe-workload-api", "readOnly": true});
    for container in containers.iter_mut().chain(init) {
        list_mut(container, "volumeMounts").push(mount.clone());
    }
}

/// Ties the Pod to the affinity assistant that the run names.
pub fn add_affinity(pod_spec: &mut Value, run: &Value) {
    let assistant = text(&run["metadata"]["annotations"], AFFINITY_ASSISTANT);
    if assistant.is_empty() {
        return;
    }
    let affinity = object_mut(pod_spec).entry("affinity").or_insert_with(|| json!({}));
    let pods = object_mut(affinity).entry("podAffinity").or_insert_with(|| json!({}));
    list_mut(pods, "requiredDuringSchedulingIgnoredDuringExecution").push(json!({
        "labelSelector": {"matchLabels": {
            "app.kubernetes.io/component": "affinity-assistant",
            "app.kubernetes.io/instance": assistant,
        }},
        "topologyKey": "kubernetes.io/hostname",
    }));
}
