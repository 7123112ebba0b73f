//! Properties of `decide` over generated pipelines and stories.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::decide;
use crate::api::config::TenantConfig;
use crate::api::defaults;
use crate::engine::condition;
use crate::engine::decide::{Decision, Key, Observed, Outcome};
use crate::engine::dice::{Dice, installation};
use crate::engine::doc::{list, name, text};

const START_US: i64 = 1_893_456_000_000_000;
const MINUTE_US: i64 = 60_000_000;

fn entry(dice: &mut Dice, at: u64, finally: bool) -> Value {
    let mut task = json!({
        "name": format!("{}{at}", if finally { "f" } else { "t" }),
        "taskSpec": {
            "params": [{"name": "p", "default": ""}],
            "results": [{"name": "r"}],
            "steps": [{"name": "s", "image": "i", "command": ["c"]}],
        },
    });
    if at > 0 && !finally && dice.one_in(2) {
        task["runAfter"] = json!([format!("t{}", dice.below(at))]);
    }
    let earlier = dice.below(at.max(1));
    match dice.below(11) {
        0 if at > 0 || finally => {
            task["params"] = json!([{"name": "p", "value": format!("$(tasks.t{earlier}.results.r)")}]);
        }
        1 => task["matrix"] = json!({"params": [{"name": "p", "value": ["x", "y"]}]}),
        2 => task["when"] = json!([{"input": "a", "operator": "in", "values": ["b"]}]),
        3 if !finally => task["onError"] = json!("continue"),
        4 => task["taskSpec"] = json!({"apiVersion": "ex.dev/v1", "kind": "Wait", "spec": {}}),
        5 => {
            let inner = json!({"tasks": [{"name": "inner", "taskSpec": task["taskSpec"]}]});
            task.as_object_mut().expect("it is one").remove("taskSpec");
            task["pipelineSpec"] = inner;
        }
        6 => task["retries"] = json!(2),
        7 if at > 0 || finally => {
            let input = format!("$(tasks.t{earlier}.results.r)");
            task["when"] = json!([{"input": input, "operator": "in", "values": ["v"]}]);
        }
        8 if finally => {
            task["when"] =
                json!([{"input": "$(tasks.t0.status)", "operator": "in", "values": ["Succeeded"]}]);
        }
        9 => {
            task["matrix"] = json!({
                "params": [{"name": "p", "value": ["x", "y"]}],
                "include": [{"name": "more", "params": [{"name": "p", "value": "z"}]}],
            });
        }
        _ => {}
    }
    task
}

fn run(dice: &mut Dice) -> Value {
    let tasks: Vec<_> = (0..1 + dice.below(6)).map(|at| entry(dice, at, false)).collect();
    let finally: Vec<_> =
        (0..dice.below(3)).map(|_| 0).enumerate().map(|(i, _)| entry(dice, i as u64, true)).collect();
    let mut run = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "run", "namespace": "ns", "uid": "uid-run", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"pipelineSpec": {"tasks": tasks, "finally": finally}},
    });
    if dice.one_in(10) {
        run["spec"]["status"] = json!("PipelineRunPending");
    }
    if dice.one_in(4) {
        run["spec"]["timeouts"] = json!({"pipeline": "30m", "tasks": "10m"});
    }
    defaults::apply("PipelineRun", &mut run, &TenantConfig::default());
    run
}

/// A run, its children, and the time.
struct Story {
    seen: Observed,
    now_us: i64,
    made: Vec<String>,
}

impl Story {
    fn decide(&self) -> Decision {
        let installation = installation();
        let again = || decide(&self.seen, &TenantConfig::default(), &installation, self.now_us);
        let (first, second) = (again(), again());
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "the same question has two answers");
        match first {
            Outcome::Decision(decision) => *decision,
            Outcome::Need(needs) => panic!("all of it is embedded, and {needs:?} is asked for"),
        }
    }

    fn apply(&mut self, decision: &Decision) {
        for child in &decision.creates {
            assert!(!self.made.iter().any(|made| made == name(child)), "{} is made twice", name(child));
            self.made.push(name(child).to_owned());
            self.seen.owned.push(child.clone());
        }
        self.no_task_has_too_many_children();
        for patch in &decision.patches {
            let child =
                self.seen.owned.iter_mut().find(|c| name(c) == patch.key.name).expect("it is patched");
            for op in patch.body.as_array().into_iter().flatten() {
                child["spec"][text(op, "path").trim_start_matches("/spec/")] = op["value"].clone();
            }
        }
        if let Some(status) = &decision.status {
            self.seen.run["status"] = status.clone();
        }
        if let Some(update) = &decision.metadata {
            self.seen.run["metadata"]["labels"] = json!(update.labels);
            self.seen.run["metadata"]["annotations"] = json!(update.annotations);
        }
    }

    /// A task has one child, a matrix one for each of its combinations: no Try of a child is anybody else's.
    fn no_task_has_too_many_children(&self) {
        let spec = &self.seen.run["spec"]["pipelineSpec"];
        for task in list(spec, "tasks").iter().chain(list(spec, "finally")) {
            let children = self.seen.owned.iter();
            let children =
                children.filter(|c| c["metadata"]["labels"]["tekton.dev/pipelineTask"] == task["name"]);
            let most = super::matrix::fan_out(&task["matrix"]).len().max(1);
            assert!(children.count() <= most, "{} has more than {most} children", task["name"]);
        }
    }

    /// Decides and writes; then nothing more is wanted, and who waits says for what.
    fn settle(&mut self) {
        let was_done = condition::is_done(&self.seen.run["status"]);
        let decision = self.decide();
        assert!(!was_done || wants_nothing(&decision), "a run that has ended wants {decision:?}");
        self.apply(&decision);
        let mut at_once = decision.also_after_us == Some(0);
        let mut again = self.decide();
        while at_once {
            self.apply(&again);
            at_once = again.also_after_us == Some(0);
            again = self.decide();
        }
        assert!(wants_nothing(&again), "after its own writes it wants {again:?}");
        if !condition::is_done(&self.seen.run["status"]) {
            assert!(
                again.waits_for.is_some_and(|what| !what.trim_end().is_empty() && !what.ends_with(": ")),
                "it waits for nothing it could name"
            );
        }
    }

    fn open(&self) -> Vec<usize> {
        let children = self.seen.owned.iter().enumerate();
        children.filter(|(_, c)| !condition::is_done(&c["status"])).map(|(at, _)| at).collect()
    }

    fn end_child(&mut self, at: usize, dice: &mut Dice) {
        let child = &mut self.seen.owned[at];
        let cancelled = match text(&child["spec"], "status") {
            "" => None,
            "RunCancelled" => Some("CustomRunCancelled"),
            _ => Some("TaskRunCancelled"),
        };
        let (word, reason) = match cancelled {
            Some(reason) => ("False", reason),
            None if dice.one_in(5) => ("False", "StepFailed"),
            None => ("True", "Succeeded"),
        };
        let results =
            if dice.one_in(4) { json!([]) } else { json!([{"name": "r", "type": "string", "value": "v"}]) };
        child["status"] = json!({
            "conditions": [{"type": "Succeeded", "status": word, "reason": reason}],
            "results": results,
        });
    }
}

fn wants_nothing(decision: &Decision) -> bool {
    decision.status.is_none()
        && decision.metadata.is_none()
        && decision.creates.is_empty()
        && decision.patches.is_empty()
        && decision.deletes.is_empty()
}

#[test]
fn every_story_ends_and_nothing_is_wanted_twice() {
    let (mut ends, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..800 {
        let mut dice = Dice(seed);
        let seen = Observed { run: run(&mut dice), ..Observed::default() };
        let mut story = Story { seen, now_us: START_US, made: Vec::new() };
        story.settle();
        for _ in 0..100 {
            if condition::is_done(&story.seen.run["status"]) {
                break;
            }
            if text(&story.seen.run["spec"], "status") == "PipelineRunPending" {
                assert!(story.made.is_empty(), "seed {seed}: it has begun while it is pending");
                story.seen.run["spec"]["status"] = json!("");
            } else if dice.one_in(20) && text(&story.seen.run["spec"], "status").is_empty() {
                let words = ["Cancelled", "CancelledRunFinally", "StoppedRunFinally"];
                story.seen.run["spec"]["status"] = json!(words[dice.below(3) as usize]);
            } else if dice.one_in(10) {
                story.now_us += MINUTE_US * dice.below(20) as i64;
            } else {
                let open = story.open();
                assert!(
                    !open.is_empty(),
                    "seed {seed}: it waits, and nothing runs: {}",
                    story.seen.run["status"]
                );
                story.end_child(open[dice.below(open.len() as u64) as usize], &mut dice);
            }
            story.settle();
        }
        let status = &story.seen.run["status"];
        assert!(condition::is_done(status), "seed {seed}: it never ends: {status}");
        ends.insert(text(condition::succeeded(status), "reason").to_owned());
        kinds.extend(story.seen.owned.iter().map(|child| text(child, "kind").to_owned()));
        // A run that has ended stays as it is, whatever becomes of its children.
        for at in story.open() {
            story.end_child(at, &mut dice);
            story.settle();
        }
    }
    let all =
        ["Cancelled", "Completed", "Failed", "PipelineRunTimeout", "PipelineValidationFailed", "Succeeded"];
    assert_eq!(ends.iter().map(String::as_str).collect::<Vec<_>>(), all, "the stories are not of all kinds");
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), ["CustomRun", "PipelineRun", "TaskRun"]);
}

#[test]
fn a_matrix_makes_its_product_and_what_is_included() {
    let matrix = json!({
        "params": [{"name": "os", "value": ["linux", "mac"]}, {"name": "v", "value": ["1", "2"]}],
        "include": [
            {"params": [{"name": "os", "value": "mac"}, {"name": "flag", "value": "-m"}]},
            {"params": [{"name": "os", "value": "plan9"}]},
        ],
    });
    let shown: Vec<_> = super::matrix::fan_out(&matrix)
        .iter()
        .map(|params| params.iter().map(|p| text(p, "value").to_owned()).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(shown, ["linux 1", "-m mac 1", "linux 2", "-m mac 2", "plan9"]);
    assert_eq!(list(&matrix, "params").len(), 2);
}

#[test]
fn a_pipeline_does_not_run_itself() {
    let above = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "above", "namespace": "ns", "uid": "uid-above"},
        "spec": {"pipelineRef": {"name": "a"}},
    });
    let run = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": "run", "namespace": "ns", "uid": "uid-run",
            "ownerReferences": [{"kind": "PipelineRun", "name": "above", "uid": "uid-above"}],
        },
        "spec": {"pipelineRef": {"name": "b"}},
    });
    let b =
        json!({"metadata": {"name": "b"}, "spec": {"tasks": [{"name": "t", "pipelineRef": {"name": "a"}}]}});
    let mut seen = Observed { run, ..Observed::default() };
    seen.objects.insert(Key::new("Pipeline", "ns", "b"), Some(b));
    seen.objects.insert(Key::new("PipelineRun", "ns", "above"), Some(above));
    let decision = Story { seen, now_us: START_US, made: Vec::new() }.decide();
    assert!(decision.creates.is_empty(), "{:?}", decision.creates);
    let status = decision.status.expect("it has ended");
    let message = text(condition::succeeded(&status), "message");
    assert!(message.ends_with("pipelines run each other in a circle: a -> b -> a"), "{message}");
}

/// A run of a matrix with more combinations than one decision may write, and of so many tasks beside it.
#[test]
fn what_is_too_much_for_one_decision_is_done_in_several() {
    let values: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let spec = json!({"params": [{"name": "p", "default": ""}], "steps": [{"name": "s", "image": "i", "command": ["c"]}]});
    let mut tasks =
        vec![json!({"name": "m", "matrix": {"params": [{"name": "p", "value": values}]}, "taskSpec": spec})];
    tasks.extend((0..200).map(|i| json!({"name": format!("t{i}"), "taskSpec": spec})));
    let mut run = json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "run", "namespace": "ns", "uid": "uid-run", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"pipelineSpec": {"tasks": tasks}},
    });
    defaults::apply("PipelineRun", &mut run, &TenantConfig::default());
    let mut story =
        Story { seen: Observed { run, ..Observed::default() }, now_us: START_US, made: Vec::new() };
    let mut looks = 0;
    loop {
        let decision = story.decide();
        assert!(decision.creates.len() <= super::WRITES_MAX, "{} at once", decision.creates.len());
        story.apply(&decision);
        looks += 1;
        if decision.also_after_us != Some(0) {
            break;
        }
    }
    assert_eq!((story.made.len(), looks), (400, 3));
    let param = |child: &Value| text(&child["spec"]["params"][0], "value").to_owned();
    for child in story.seen.owned.iter().filter(|c| name(c).starts_with("run-m-")) {
        assert_eq!(
            name(child),
            format!("run-m-{}", param(child)),
            "each has the params of its own combination"
        );
    }
    // All of them are asked to stop, and only then the run has ended.
    story.seen.run["spec"]["status"] = json!("Cancelled");
    while !condition::is_done(&story.seen.run["status"]) {
        let decision = story.decide();
        assert!(decision.patches.len() <= super::WRITES_MAX);
        story.apply(&decision);
    }
    assert!(story.seen.owned.iter().all(|c| text(&c["spec"], "status") == "TaskRunCancelled"));
}

/// Whether the claim of a run that has ended is deleted, with these settings.
#[test]
fn claims_of_templates_go_with_the_end_where_that_is_asked_for() {
    for (coschedule, asked, goes) in [
        ("workspaces", true, true),
        ("workspaces", false, false),
        ("disabled", true, false),
        ("isolate-pipelinerun", false, true),
    ] {
        let mut run = json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
            "metadata": {"name": "run", "namespace": "ns", "uid": "uid-run", "creationTimestamp": "2030-01-01T00:00:00Z"},
            "spec": {
                "workspaces": [{"name": "w", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}],
                "pipelineSpec": {
                    "workspaces": [{"name": "w"}],
                    "tasks": [{"name": "t", "workspaces": [{"name": "w"}], "taskSpec": {
                        "workspaces": [{"name": "w"}], "steps": [{"name": "s", "image": "i", "command": ["c"]}],
                    }}],
                },
            },
        });
        if asked {
            run["metadata"]["annotations"] = json!({"tekton.dev/auto-cleanup-pvc": "true"});
        }
        let mut config = TenantConfig::default();
        config.feature_flags.insert("coschedule".into(), coschedule.into());
        defaults::apply("PipelineRun", &mut run, &config);
        let mut story =
            Story { seen: Observed { run, ..Observed::default() }, now_us: START_US, made: Vec::new() };
        let look = |story: &Story| match decide(&story.seen, &config, &installation(), START_US) {
            Outcome::Decision(decision) => *decision,
            Outcome::Need(needs) => panic!("{needs:?} is asked for"),
        };
        story.apply(&look(&story));
        let claim = |o: &&Value| text(o, "kind") == "PersistentVolumeClaim";
        if !story.seen.owned.iter().any(|o| claim(&o)) {
            // The set's own, as a controller of sets would make them.
            let set = story.seen.owned.iter().find(|o| text(o, "kind") == "StatefulSet").expect("a set");
            let template = text(&set["spec"]["volumeClaimTemplates"][0]["metadata"], "name");
            let made = json!({"kind": "PersistentVolumeClaim", "metadata": {"namespace": "ns", "name": format!("{template}-{}-0", name(set))}});
            story.seen.owned.push(made);
        }
        // Somebody else's claim stays in any case.
        story
            .seen
            .owned
            .push(json!({"kind": "PersistentVolumeClaim", "metadata": {"namespace": "ns", "name": "other"}}));
        story.seen.run["spec"]["status"] = json!("Cancelled");
        let end = look(&story);
        story.apply(&end);
        assert!(condition::is_done(&story.seen.run["status"]), "a cancelled run ends at once");
        let claims = |decision: &Decision| {
            decision.deletes.iter().filter(|k| k.kind == "PersistentVolumeClaim").cloned().collect::<Vec<_>>()
        };
        assert!(claims(&look(&story)).is_empty(), "{coschedule}: its task still runs");
        let child = story.seen.owned.iter_mut().find(|o| text(o, "kind") == "TaskRun").expect("a child");
        child["status"] =
            json!({"conditions": [{"type": "Succeeded", "status": "False", "reason": "TaskRunCancelled"}]});
        let gone = claims(&look(&story));
        assert_eq!(gone.len(), usize::from(goes), "{coschedule}, asked: {asked}: {gone:?}");
        assert!(gone.iter().all(|key| key.name != "other"));
    }
}
