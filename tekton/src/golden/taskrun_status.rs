//! A TaskRun and a script of Pod states -> its status after each.

use std::path::Path;

use serde_json::{Value, json};

use super::pod::{START_US, World};
use super::{Outcomes, compare, files};
use crate::engine::decide::{Decision, PatchKind};
use crate::engine::doc::{list, name, object_mut, text};
use crate::engine::time::{duration, go_duration};

/// Runs every case below `dir`.
pub fn run(dir: &Path) -> Result<Outcomes, String> {
    Ok(files(dir)?
        .into_iter()
        .map(|(name, case)| (name, Replay::new(&case).and_then(Replay::play)))
        .collect())
}

struct Replay<'a> {
    case: &'a Value,
    world: World,
    run: Value,
    now_us: i64,
    refused: Option<(String, String)>,
}

impl<'a> Replay<'a> {
    fn new(case: &'a Value) -> Result<Self, String> {
        let mut world = World::of(case);
        let at = world
            .objects
            .iter()
            .position(|o| text(o, "kind") == "TaskRun")
            .ok_or("the case has no TaskRun")?;
        let run = world.objects.remove(at);
        Ok(Self { case, world, run, now_us: START_US, refused: None })
    }

    fn play(mut self) -> Result<(), String> {
        for (index, event) in list(self.case, "events").iter().enumerate() {
            self.apply(event)?;
            let expected = &list(&self.case["expected"].clone().into_list(), "all")[index].clone();
            // A pod's creation is counted as an attempt, whether it is refused or not.
            let seen = self.settle()?;
            if let Some(found) = compare::difference(&compare::normal(expected), &compare::normal(&seen)) {
                return Err(format!("event {index} ({}): {found}", text(event, "op")));
            }
        }
        Ok(())
    }

    fn pod_mut(&mut self) -> Result<&mut Value, String> {
        let pods = self.world.objects.iter_mut().filter(|o| text(o, "kind") == "Pod");
        pods.last().ok_or_else(|| "there is no Pod".to_owned())
    }

    fn apply(&mut self, event: &Value) -> Result<(), String> {
        match text(event, "op") {
            "start" | "reconcile" => {}
            "podStatus" => {
                let status = event["status"].clone();
                self.pod_mut()?["status"] = status;
            }
            "podPatch" => {
                let patch = event["patch"].clone();
                merge(self.pod_mut()?, &patch);
            }
            "podDelete" => self.world.objects.retain(|o| text(o, "kind") != "Pod"),
            "podCreateError" => {
                let (reason, message) =
                    text(event, "error").split_once('|').unwrap_or((text(event, "error"), ""));
                let message = match reason {
                    "Forbidden" => format!("pods \"pod\" is forbidden: {message}"),
                    "AlreadyExists" => "pods \"pod\" already exists".to_owned(),
                    _ => message.to_owned(),
                };
                self.refused = Some((reason.to_owned(), message));
            }
            "resolve" => {
                let index = event["index"].as_u64().unwrap_or(0) as usize;
                let mut requests: Vec<_> = self
                    .world
                    .objects
                    .iter_mut()
                    .filter(|o| text(o, "kind") == "ResolutionRequest")
                    .collect();
                requests.sort_by_key(|o| name(o).to_owned());
                let request = requests.into_iter().nth(index).ok_or("there is no such request")?;
                request["status"] = event["status"].clone();
            }
            "patch" => merge(&mut self.run, &event["patch"]),
            "advance" => self.now_us += duration(text(event, "duration")).ok_or("no duration")?,
            other => return Err(format!("event {other} is not replayed yet")),
        }
        Ok(())
    }

    /// Decides until nothing changes; what was written, as the recorded answers show it.
    fn settle(&mut self) -> Result<Value, String> {
        let (mut events, mut actions, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..20 {
            let mut decision = self.world.decide(&self.run, self.case, self.now_us, None)?;
            if self.refused.is_some() {
                let pods = decision.creates.iter().filter(|o| text(o, "kind") == "Pod");
                let tried: Vec<_> = pods
                    .map(|pod| json!({"verb": "create", "resource": "pods", "name": name(pod)}))
                    .collect();
                if !tried.is_empty() {
                    actions.extend(tried);
                    decision = self.world.decide(&self.run, self.case, self.now_us, self.refused.clone())?;
                }
            }
            events.extend(decision.events.iter().map(|e| format!("{} {} {}", e.kind, e.reason, e.message)));
            if !decision.errors.is_empty() {
                errors.push(json!({"message": decision.errors.join("\n")}));
            }
            let changed =
                decision.status.is_some() || !decision.creates.is_empty() || !decision.patches.is_empty();
            self.write(&decision, &mut actions);
            if !changed {
                actions.sort_by_key(|action| {
                    (
                        text(action, "resource").to_owned(),
                        text(action, "verb").to_owned(),
                        text(action, "name").to_owned(),
                    )
                });
                let mut status = self.run["status"].clone();
                strip(&mut status);
                let mut seen =
                    json!({"status": status, "events": events, "actions": actions, "errors": errors});
                if let Some(after) = decision.requeue_after_us {
                    seen["requeueAfter"] = json!(go_duration(after));
                }
                return Ok(seen);
            }
        }
        Err("it never settles".into())
    }

    fn write(&mut self, decision: &Decision, actions: &mut Vec<Value>) {
        for object in &decision.creates {
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("uid-{}", name(&object)));
            let resource = format!("{}s", text(&object, "kind").to_lowercase());
            actions.push(json!({"verb": "create", "resource": resource, "name": name(&object)}));
            self.world.objects.push(object);
        }
        for patch in &decision.patches {
            let kind = if patch.kind == PatchKind::Json {
                "application/json-patch+json"
            } else {
                "application/merge-patch+json"
            };
            actions.push(json!({"verb": "patch", "resource": "pods", "name": patch.key.name, "patch": patch.body, "patchType": kind}));
            if let Ok(pod) = self.pod_mut() {
                match patch.kind {
                    PatchKind::Json => {
                        let parsed = apimachinery::patch::JsonPatch::parse(&patch.body)
                            .expect("a patch of the engine's");
                        parsed.apply(pod).expect("a patch that fits");
                    }
                    PatchKind::Merge => merge(pod, &patch.body),
                }
            }
        }
        for key in &decision.deletes {
            actions.push(json!({"verb": "delete", "resource": "pods", "name": key.name}));
            self.world.objects.retain(|o| !(text(o, "kind") == key.kind && name(o) == key.name));
        }
        if let Some(status) = &decision.status {
            self.run["status"] = status.clone();
        }
        if let Some(update) = &decision.metadata {
            self.run["metadata"]["labels"] = json!(update.labels);
            self.run["metadata"]["annotations"] = json!(update.annotations);
        }
    }
}

/// Takes away what is not recorded: the spec, here and in earlier attempts.
fn strip(status: &mut Value) {
    object_mut(status).remove("taskSpec");
    if let Some(provenance) = status.get_mut("provenance") {
        object_mut(provenance).remove("featureFlags");
    }
    for earlier in status.get_mut("retriesStatus").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(earlier);
    }
}

/// Wraps a list so that it can be read by key.
trait IntoList {
    fn into_list(self) -> Value;
}

impl IntoList for Value {
    fn into_list(self) -> Value {
        let mut all = self;
        if let Value::Array(steps) = &mut all {
            for step in steps {
                for gone in ["event", "child"] {
                    object_mut(step).remove(gone);
                }
                for error in step.get_mut("errors").and_then(Value::as_array_mut).into_iter().flatten() {
                    // What is not tried again is told by the condition.
                    object_mut(error).remove("permanent");
                }
            }
        }
        json!({"all": all})
    }
}

/// JSON merge patch (RFC 7396).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    let map = object_mut(target);
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
