//! What is left to do once a run has ended: its sidecars stop.

use serde_json::{Value, json};

use super::Pass;
use crate::engine::condition;
use crate::engine::decide::{ChildPatch, Key, PatchKind};
use crate::engine::doc::{list, name, namespace, object_mut, text, uid};
use crate::engine::pod::Flags;

/// The sidecar that reports results ends by itself.
const REPORTER: &str = "sidecar-tekton-log-results";

impl Pass<'_> {
    /// Containers that are no steps and still run get an image that ends at once.
    pub(super) fn stop_sidecars(&mut self) {
        let pod_name = text(&self.status, "podName").to_owned();
        let reason = text(condition::succeeded(&self.status), "reason");
        if pod_name.is_empty() || matches!(reason, "TaskRunCancelled" | "TaskRunTimeout") {
            return;
        }
        // Native ones are ended by whoever runs the Pod.
        if Flags::of(self.config, self.installation).native_sidecars() {
            return;
        }
        let is_it = |o: &&Value| text(o, "kind") == "Pod" && name(o) == pod_name;
        let Some(pod) = self.seen.owned.iter().find(is_it) else {
            self.decision.errors.push(format!("pods {pod_name:?} not found"));
            return;
        };
        // What a lost machine ran cannot be told anything any more, nor will it say anything.
        if self.seen.lost.contains_key(uid(pod)) {
            return;
        }
        if text(&pod["status"], "phase") == "Running" {
            let ops = self.stops(pod);
            if !ops.is_empty() {
                let key = Key::new("Pod", namespace(pod), &pod_name);
                self.decision.patches.push(ChildPatch { key, kind: PatchKind::Json, body: json!(ops) });
            }
        }
        let runs = list(&self.status, "sidecars").iter().any(|state| state["terminated"].is_null());
        if runs {
            let states: Value = statuses(pod).map(last_state).collect();
            object_mut(&mut self.status).insert("sidecars".into(), states);
        }
    }

    fn stops(&self, pod: &Value) -> Vec<Value> {
        let reports =
            self.config.feature_flags.get("results-from").is_some_and(|from| from == "sidecar-logs");
        let nop = self.installation.nop_image.as_str();
        let mut ops = Vec::new();
        for seen in statuses(pod) {
            let container = text(seen, "name");
            if seen["state"]["running"].is_null() || reports && container == REPORTER {
                continue;
            }
            let all = list(&pod["spec"], "containers");
            let at = all.iter().position(|c| text(c, "name") == container && text(c, "image") != nop);
            if let Some(at) = at {
                ops.push(
                    json!({"op": "replace", "path": format!("/spec/containers/{at}/image"), "value": nop}),
                );
            }
        }
        ops
    }
}

/// States of the containers that are no steps.
fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["status"], "containerStatuses").iter().filter(|c| !text(c, "name").starts_with("step-"))
}

/// How a sidecar ended: before its image was exchanged, if it was.
fn last_state(seen: &Value) -> Value {
    let full = text(seen, "name");
    let short = full.strip_prefix("sidecar-").unwrap_or(full);
    let mut state = json!({"name": short, "container": full, "imageID": seen["imageID"]});
    let last = &seen["lastState"]["terminated"];
    if last.is_null() {
        for kind in ["waiting", "running", "terminated"] {
            if !seen["state"][kind].is_null() {
                state[kind] = seen["state"][kind].clone();
            }
        }
        return state;
    }
    let mut ended = last.clone();
    ended["reason"] = json!("Completed");
    ended["message"] = json!("Sidecar container successfully stopped by nop image");
    state["terminated"] = ended;
    state
}
