//! Objects and a script of events -> what the PipelineRun controller does after each.

use std::path::Path;

use serde_json::{Value, json};

use super::pod::{START_US, World, config, installation};
use super::taskrun_status::merge;
use super::{Outcomes, compare, files};
use crate::engine::condition;
use crate::engine::decide::{Decision, Observed, Outcome, PatchKind};
use crate::engine::doc::{list, name, object_mut, text};
use crate::engine::pipelinerun;
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
    last_spec: Value,
}

impl<'a> Replay<'a> {
    fn new(case: &'a Value) -> Result<Self, String> {
        let mut world = World::of(case);
        let at = world
            .objects
            .iter()
            .position(|o| text(o, "kind") == "PipelineRun")
            .ok_or("the case has no PipelineRun")?;
        let run = world.objects.remove(at);
        Ok(Self { case, world, run, now_us: START_US, last_spec: Value::Null })
    }

    fn play(mut self) -> Result<(), String> {
        let expected = list(self.case, "expected").to_vec();
        for (index, event) in list(self.case, "events").iter().enumerate() {
            self.apply(event)?;
            let mut wanted = expected.get(index).cloned().ok_or("an event has no expectation")?;
            if event["merge"] == true {
                continue;
            }
            for gone in ["event", "child"] {
                object_mut(&mut wanted).remove(gone);
            }
            let seen = self.settle()?;
            once(&mut wanted);
            if let Some(found) = compare::difference(&compare::normal(&wanted), &compare::normal(&seen)) {
                return Err(format!("event {index} ({}): {found}", text(event, "op")));
            }
        }
        Ok(())
    }

    fn child_mut(&mut self, event: &Value) -> Result<&mut Value, String> {
        let task = text(event, "pipelineTask");
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        let references = list(&self.run["status"], "childReferences").iter();
        let wanted = references
            .filter(|r| text(r, "pipelineTaskName") == task)
            .nth(index)
            .map(|r| text(r, "name").to_owned());
        let wanted = wanted.ok_or_else(|| format!("task {task} has no child {index}"))?;
        self.world
            .objects
            .iter_mut()
            .find(|o| name(o) == wanted)
            .ok_or_else(|| format!("child {wanted} is gone"))
    }

    fn apply(&mut self, event: &Value) -> Result<(), String> {
        match text(event, "op") {
            "start" | "reconcile" => {}
            "childStatus" => self.child_mut(event)?["status"] = event["status"].clone(),
            "deleteChild" => {
                let gone = name(self.child_mut(event)?).to_owned();
                self.world.objects.retain(|o| name(o) != gone);
            }
            "resolve" => {
                let index = event["index"].as_u64().unwrap_or(0) as usize;
                let requests =
                    self.world.objects.iter_mut().filter(|o| text(o, "kind") == "ResolutionRequest");
                let mut open: Vec<_> = requests.filter(|o| !condition::is_done(&o["status"])).collect();
                open.sort_by(|a, b| name(a).cmp(name(b)));
                open.into_iter().nth(index).ok_or("there is no such request")?["status"] =
                    event["status"].clone();
            }
            "patch" => merge(&mut self.run, &event["patch"]),
            "advance" => self.now_us += duration(text(event, "duration")).ok_or("no duration")?,
            other => return Err(format!("event {other} is not replayed yet")),
        }
        Ok(())
    }

    fn decide(&self) -> Result<Decision, String> {
        let mut seen = Observed { run: self.run.clone(), ..Observed::default() };
        let uid = text(&self.run["metadata"], "uid");
        let owned =
            |o: &&Value| list(&o["metadata"], "ownerReferences").iter().any(|r| text(r, "uid") == uid);
        seen.owned = self.world.objects.iter().filter(owned).cloned().collect();
        for _ in 0..1000 {
            match pipelinerun::decide(&seen, &config(self.case), &installation(self.case), self.now_us) {
                Outcome::Decision(decision) => return Ok(*decision),
                Outcome::Need(needs) => {
                    for need in needs {
                        self.world.answer(need, &mut seen);
                    }
                }
            }
        }
        Err("it asks for ever".into())
    }

    fn settle(&mut self) -> Result<Value, String> {
        let (mut events, mut actions, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..20 {
            let decision = self.decide()?;
            events.extend(decision.events.iter().map(|e| format!("{} {} {}", e.kind, e.reason, e.message)));
            errors.extend(decision.errors.iter().map(|error| match decision.errors_pass {
                true => json!({"message": error}),
                false => json!({"message": error, "permanent": true}),
            }));
            let changed = decision.status.is_some()
                || decision.metadata.is_some()
                || !decision.creates.is_empty()
                || !decision.patches.is_empty()
                || !decision.deletes.is_empty();
            self.write(&decision, &mut actions);
            if changed {
                continue;
            }
            actions.sort_by_key(|a: &Value| {
                let object = if a["name"].is_null() {
                    name(&a["object"]).to_owned()
                } else {
                    text(a, "name").to_owned()
                };
                (text(a, "resource").to_owned(), text(a, "verb").to_owned(), object)
            });
            let mut status = self.run["status"].clone();
            if let Some(provenance) = object_mut(&mut status).get_mut("provenance") {
                object_mut(provenance).remove("featureFlags");
            }
            if !status["pipelineSpec"].is_null() && status["pipelineSpec"] == self.last_spec {
                status["pipelineSpec"] = json!("(unchanged)");
            } else {
                self.last_spec = status["pipelineSpec"].clone();
            }
            let mut seen = json!({"status": status, "events": events, "actions": actions});
            errors.dedup();
            if !errors.is_empty() {
                seen["errors"] = Value::from(errors);
            }
            if let Some(after) = decision.requeue_after_us {
                seen["requeueAfter"] = json!(go_duration(after));
            }
            return Ok(seen);
        }
        Err("it never settles".into())
    }

    fn write(&mut self, decision: &Decision, actions: &mut Vec<Value>) {
        for object in &decision.creates {
            let resource = format!("{}s", text(object, "kind").to_lowercase());
            let mut shown = object.clone();
            // The reference says the type only of objects that it handles without a client of their own.
            if !matches!(text(object, "kind"), "StatefulSet" | "ResolutionRequest") {
                for gone in ["apiVersion", "kind"] {
                    object_mut(&mut shown).remove(gone);
                }
            }
            actions.push(json!({"verb": "create", "resource": resource, "object": shown}));
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("uid-{}", name(&object)));
            self.world.objects.push(object);
        }
        for patch in &decision.patches {
            let resource = format!("{}s", patch.key.kind.to_lowercase());
            let kind = if patch.kind == PatchKind::Json {
                "application/json-patch+json"
            } else {
                "application/merge-patch+json"
            };
            actions.push(json!({"verb": "patch", "resource": resource, "name": patch.key.name, "patch": patch.body, "patchType": kind}));
            if let Some(child) = self.world.objects.iter_mut().find(|o| name(o) == patch.key.name) {
                for op in patch.body.as_array().into_iter().flatten() {
                    if let Some(field) = text(op, "path").strip_prefix("/spec/") {
                        child["spec"][field] = op["value"].clone();
                    }
                }
            }
        }
        for key in &decision.deletes {
            let resource = format!("{}s", key.kind.to_lowercase());
            actions.push(json!({"verb": "delete", "resource": resource, "name": key.name}));
            self.world.objects.retain(|o| !(text(o, "kind") == key.kind && name(o) == key.name));
        }
        if let Some(status) = &decision.status {
            self.run["status"] = status.clone();
        }
        if let Some(update) = &decision.metadata {
            let annotations =
                if update.annotations.is_empty() { Value::Null } else { json!(update.annotations) };
            actions
                .push(json!({"verb": "updateMetadata", "resource": "pipelineruns", "name": name(&self.run),
                "labels": update.labels, "annotations": annotations}));
            self.run["metadata"]["labels"] = json!(update.labels);
            self.run["metadata"]["annotations"] = json!(update.annotations);
        }
    }
}

/// A patch that is repeated says nothing new: the reference asks a child again on every look, the engine once.
fn once(step: &mut Value) {
    let Some(actions) = step["actions"].as_array_mut() else { return };
    let mut seen: Vec<Value> = Vec::new();
    actions.retain(|action| {
        let repeated = action["verb"] == "patch" && seen.contains(action);
        seen.push(action.clone());
        !repeated
    });
}
