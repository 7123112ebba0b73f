//! Properties of `decide` over generated TaskRuns and what becomes of their Pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::decide;
use crate::api::config::TenantConfig;
use crate::api::defaults;
use crate::engine::condition;
use crate::engine::decide::{Decision, Need, Observed, Outcome};
use crate::engine::dice::{Dice, installation};
use crate::engine::doc::{is_empty, list, name, text, uid};

const START_US: i64 = 1_893_456_000_000_000;
const MINUTE_US: i64 = 60_000_000;

fn run(dice: &mut Dice) -> Value {
    let step = |at: u64| json!({"name": format!("s{at}"), "image": "i", "command": ["c"]});
    let steps: Vec<_> = (0..1 + dice.below(3)).map(step).collect();
    let mut run = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "run", "namespace": "ns", "uid": "uid-run", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"timeout": "10m", "retries": dice.below(3), "taskSpec": {"steps": steps, "results": [{"name": "r"}]}},
    });
    if dice.one_in(4) {
        run["spec"]["taskSpec"]["sidecars"] = json!([{"name": "c", "image": "i"}]);
    }
    if dice.one_in(8) {
        run["spec"]["status"] = json!("TaskRunPending");
    }
    defaults::apply("TaskRun", &mut run, &TenantConfig::default());
    run
}

/// A run, its Pods, and the time.
struct Story {
    seen: Observed,
    config: TenantConfig,
    now_us: i64,
    pods: u64,
    /// The condition with which the run has ended.
    end: Option<Value>,
}

impl Story {
    fn new(dice: &mut Dice) -> Self {
        let mut config = TenantConfig::default();
        if dice.one_in(3) {
            config.feature_flags.insert("keep-pod-on-cancel".into(), "true".into());
        }
        if dice.one_in(3) {
            config.config_defaults.insert("default-cloud-events-sink".into(), "http://sink".into());
        }
        Self {
            seen: Observed { run: run(dice), ..Observed::default() },
            config,
            now_us: START_US,
            pods: 0,
            end: None,
        }
    }

    /// Decides, reading whatever is asked for: there is nothing but the run.
    fn decide(&mut self) -> Decision {
        loop {
            let again = || decide(&self.seen, &self.config, &installation(), self.now_us);
            let (first, second) = (again(), again());
            assert_eq!(format!("{first:?}"), format!("{second:?}"), "the same question has two answers");
            match first {
                Outcome::Decision(decision) => return *decision,
                Outcome::Need(needs) => {
                    for need in needs {
                        match need {
                            Need::Object(key) => drop(self.seen.objects.insert(key, None)),
                            Need::LimitRanges => self.seen.limit_ranges = Some(Vec::new()),
                            Need::Image(image) => panic!("no step needs {image} to be looked up"),
                            Need::VerificationPolicies | Need::Secret(_) => panic!("nothing is signed"),
                        }
                    }
                }
            }
        }
    }

    fn apply(&mut self, decision: &Decision) {
        for key in &decision.deletes {
            self.seen.owned.retain(|o| name(o) != key.name);
        }
        for pod in &decision.creates {
            let mut pod = pod.clone();
            let same = |o: &&Value| name(o) == name(&pod);
            assert!(!self.seen.owned.iter().any(|o| same(&o)), "{} is live, and made again", name(&pod));
            self.pods += 1;
            pod["metadata"]["uid"] = json!(format!("uid-{}", self.pods));
            pod["status"] = json!({});
            self.seen.owned.push(pod);
        }
        for patch in &decision.patches {
            let parsed = apimachinery::patch::JsonPatch::parse(&patch.body).expect("a patch of the engine's");
            let pod = self.seen.owned.iter_mut().find(|o| name(o) == patch.key.name).expect("it is patched");
            if pod["metadata"]["annotations"].is_null() {
                pod["metadata"]["annotations"] = json!({});
            }
            // Replacing needs something to replace, as in the store.
            for op in patch.body.as_array().into_iter().flatten() {
                let path = text(op, "path").trim_start_matches("/metadata/annotations/").replace("~1", "/");
                if pod["metadata"]["annotations"][&path].is_null() && text(op, "path").contains("annotations")
                {
                    pod["metadata"]["annotations"][&path] = json!("");
                }
            }
            parsed.apply(pod).expect("a patch that fits");
        }
        if let Some(status) = &decision.status {
            self.seen.run["status"] = status.clone();
        }
        if let Some(update) = &decision.metadata {
            self.seen.run["metadata"]["labels"] = json!(update.labels);
            self.seen.run["metadata"]["annotations"] = json!(update.annotations);
        }
    }

    /// Decides and writes until nothing more is wanted; who waits says for what, and an end stays what it is.
    fn settle(&mut self) {
        let mut at_once = true;
        for _ in 0..10 {
            let decision = self.decide();
            let nothing = wants_nothing(&decision);
            assert!(at_once || nothing, "after its own writes it wants {decision:?}");
            if nothing {
                let waits = decision.waits_for.is_some_and(|what| !what.is_empty());
                let done = condition::is_done(&self.seen.run["status"]);
                assert!(done || waits, "it waits for nothing it could name: {}", self.seen.run["status"]);
                self.absorbs(done);
                return;
            }
            self.apply(&decision);
            at_once = decision.also_after_us == Some(0);
        }
        panic!("it never settles");
    }

    fn absorbs(&mut self, done: bool) {
        let now = condition::succeeded(&self.seen.run["status"]).clone();
        match &self.end {
            Some(end) => assert_eq!(*end, now, "a run that has ended has another end"),
            None if done => self.end = Some(now),
            None => {}
        }
    }

    fn pod(&mut self) -> Option<&mut Value> {
        self.seen.owned.iter_mut().rev().find(|o| is_open(o))
    }

    /// Something happens to the run's Pod.
    fn happen(&mut self, dice: &mut Dice) {
        let (steps, has_sidecar) = (
            list(&self.seen.run["spec"]["taskSpec"], "steps").len(),
            !is_empty(&self.seen.run["spec"]["taskSpec"], "sidecars"),
        );
        let what = dice.below(10);
        let Some(pod) = self.pod() else { return };
        let pod_uid = uid(pod).to_owned();
        let container = |step: usize, state: Value| json!({"name": format!("step-s{step}"), "state": state, "ready": true});
        let ended = |code: u64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let all =
            |state: Value| -> Vec<Value> { (0..steps).map(|step| container(step, state.clone())).collect() };
        let mut status = match what {
            0 => {
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}]})
            }
            1..=3 => json!({"phase": "Running", "containerStatuses": all(json!({"running": {}}))}),
            4 | 5 => json!({"phase": "Succeeded", "containerStatuses": all(ended(0, "Completed"))}),
            6 => json!({"phase": "Failed", "containerStatuses": all(ended(1, "Error"))}),
            7 => json!({"phase": "Running", "containerStatuses": all(ended(137, "OOMKilled"))}),
            8 => {
                json!({"phase": "Pending", "containerStatuses": all(json!({"waiting": {"reason": "ImagePullBackOff", "message": "no"}}))})
            }
            _ => {
                json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})
            }
        };
        if has_sidecar && text(&status, "phase") == "Running" {
            let sidecar = json!({"name": "sidecar-c", "state": {"running": {}}, "ready": true});
            status["containerStatuses"].as_array_mut().expect("it has containers").push(sidecar);
        }
        pod["status"] = status;
        if dice.one_in(15) {
            self.seen.lost = BTreeMap::from([(pod_uid, ("Failed", "its machine was lost".to_owned()))]);
        } else if dice.one_in(10) {
            self.seen.owned.pop();
        }
    }
}

/// A Pod that has not ended.
fn is_open(pod: &Value) -> bool {
    !matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed")
}

fn wants_nothing(decision: &Decision) -> bool {
    decision.status.is_none()
        && decision.metadata.is_none()
        && decision.creates.is_empty()
        && decision.patches.is_empty()
        && decision.deletes.is_empty()
        && decision.cloud_events.is_empty()
}

#[test]
fn every_story_ends_once_and_nothing_is_wanted_twice() {
    let mut ends = BTreeSet::new();
    let mut retried = 0;
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        let mut story = Story::new(&mut dice);
        story.settle();
        for _ in 0..60 {
            if story.end.is_some() {
                break;
            }
            let spec_status = text(&story.seen.run["spec"], "status").to_owned();
            if spec_status == "TaskRunPending" || dice.one_in(25) {
                let word =
                    if spec_status == "TaskRunPending" && !dice.one_in(4) { "" } else { "TaskRunCancelled" };
                story.seen.run["spec"]["status"] = json!(word);
            } else if dice.one_in(12) {
                story.now_us += MINUTE_US * dice.below(12) as i64;
            } else {
                story.happen(&mut dice);
            }
            story.settle();
        }
        // Time ends what nothing else has.
        for _ in 0..4 {
            story.now_us += 11 * MINUTE_US;
            story.settle();
        }
        let status = story.seen.run["status"].clone();
        assert!(story.end.is_some(), "seed {seed}: it never ends: {status}");
        ends.insert(text(condition::succeeded(&status), "reason").to_owned());
        let tries = list(&status, "retriesStatus").len() as u64;
        assert!(
            tries <= story.seen.run["spec"]["retries"].as_u64().unwrap_or(0),
            "seed {seed}: tried too often"
        );
        retried += u64::from(tries > 0);
        // A run that has ended stays as it is, whatever becomes of its Pods and however late it is.
        for _ in 0..3 {
            story.happen(&mut dice);
            story.now_us += MINUTE_US;
            story.settle();
        }
    }
    for wanted in [
        "Failed",
        "PodEvicted",
        "StepFailed",
        "StepOOM",
        "Succeeded",
        "TaskRunCancelled",
        "TaskRunImagePullFailed",
        "TaskRunTimeout",
    ] {
        assert!(ends.contains(wanted), "no story ends with {wanted}: {ends:?}");
    }
    assert!(retried > 100, "only {retried} stories were tried again");
}
