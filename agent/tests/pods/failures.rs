//! What goes wrong, and what a user is told then.

use std::collections::BTreeMap;

use agent::Outcome;
use protocol::message::Stop;
use protocol::order::{Held, Volume};
use serde_json::{Value, json};

use crate::cell::{Cell, order, pod, sh};
use crate::host::{config, eventually, machine};

async fn ended(test: &str, container: Value) -> Value {
    let (cell, outcome) = pod(test, order(json!({"containers": [container]}), BTreeMap::new())).await;
    assert_eq!(outcome, Outcome::Reported);
    assert_eq!(cell.status()["phase"], "Failed");
    cell.state("step-a")["terminated"].clone()
}

/// Runs a pod that cannot be prepared until it says why, and then stops it.
async fn stuck(test: &str, container: Value) -> Value {
    stuck_with(test, container, BTreeMap::new()).await
}

async fn stuck_with(test: &str, container: Value, volumes: BTreeMap<String, Volume>) -> Value {
    let (host, _jobs) = base::real::host();
    let cell = Cell::new(&host, order(json!({"containers": [container]}), volumes));
    let name = machine(test);
    let (running, config) = (cell.clone(), config(&name, &format!("local:{name}")));
    let (say, outcome) = tokio::sync::oneshot::channel();
    host.spawn("agent", async move { drop(say.send(running.run(config).await)) });
    let waiting = eventually("it says why", || {
        let waiting = cell.state("step-a")["waiting"].clone();
        (waiting["message"].is_string()).then_some(waiting)
    })
    .await;
    cell.desired.send_modify(|d| d.stop = Some(Stop { reason: "failed".into(), grace_ms: 0 }));
    assert_eq!(outcome.await.unwrap(), Outcome::Reported);
    assert_eq!(cell.told.lock().unwrap().starts, 0, "no gate for what cannot start");
    assert_eq!(crate::host::traces(&name), Vec::<String>::new());
    waiting
}

#[tokio::test]
async fn exit_codes_and_signals_are_reported() {
    let end = ended("exit", sh("step-a", "exit 3")).await;
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(3), &json!("Error")));
    let end = ended("kill", json!({"name": "step-a", "command": ["sh", "-c", "trap - TERM; kill -9 $$; sleep 5 & kill -9 -1; exit 9"]})).await;
    assert_eq!(end["exitCode"], 9, "{end}");
}

#[tokio::test]
async fn programs_that_cannot_run_say_why() {
    for (test, command, text) in [
        ("missing", "no-such-program", "executable file not found in $PATH"),
        ("missing-path", "/no/such/program", "no such file or directory"),
        ("interpreter", "/bin/bad", "its interpreter does not exist"),
        ("text", "/bin/text", "exec format error"),
        ("denied", "/etc/passwd", "permission denied"),
    ] {
        let end = ended(test, json!({"name": "step-a", "command": [command]})).await;
        assert_eq!((&end["exitCode"], &end["reason"]), (&json!(128), &json!("StartError")), "{test}");
        assert!(end["message"].as_str().unwrap().contains(text), "{test}: {end}");
    }
}

/// Nobody is left to say that the step is over, and the next one waits for just that.
#[tokio::test]
async fn a_step_that_could_not_say_how_it_ended_is_spoken_for() {
    let run = |name: &str| json!({"name": name, "mountPath": "/tekton/run/0"});
    let volumes = || BTreeMap::from([("run".to_owned(), Volume::Empty { memory: false, limit: None })]);
    let first = |script: &str| {
        json!({
            "name": "step-a", "command": ["sh", "-c", script, "sh"], "volumeMounts": [run("run")],
            "args": ["-post_file", "/tekton/run/0/out", "--", "-post_file", "/elsewhere/out"],
        })
    };
    let mut second = sh("step-b", "until ls /tekton/run/0 | grep out; do sleep 0.01; done");
    second["volumeMounts"] = json!([run("run")]);
    let outside = crate::host::shared().dir.join("outside");
    for (test, script, seen) in [
        ("killed", "kill -9 -1; exit 9".to_owned(), "out.err\n"),
        ("told", "touch /tekton/run/0/out; exit 1".to_owned(), "out\n"),
        // What the step has left there leads nowhere.
        ("link", format!("ln -s {} /tekton/run/0/out.err; exit 1", outside.display()), "out.err\n"),
    ] {
        let containers = json!({"containers": [first(&script), second]});
        let (cell, _) = pod(test, order(containers, volumes())).await;
        assert_eq!(cell.text("step-b"), seen, "{test}");
        assert!(!outside.exists());
    }
    let missing = json!({
        "name": "step-a", "command": ["/no/such"], "args": ["-post_file", "/tekton/run/0/out"],
        "volumeMounts": [run("run")],
    });
    let (cell, _) = pod("missing-first", order(json!({"containers": [missing, second]}), volumes())).await;
    assert_eq!(cell.text("step-b"), "out.err\n");
}

#[tokio::test]
async fn memory_limits_hold_and_are_told() {
    let mut hungry = sh("step-a", "head -c 200m /dev/zero | tail");
    hungry["resources"] = json!({"limits": {"memory": "32Mi"}});
    let (cell, _) = pod("oom", order(json!({"containers": [hungry]}), BTreeMap::new())).await;
    let end = cell.state("step-a")["terminated"].clone();
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(137), &json!("OOMKilled")), "{end}");
}

#[tokio::test]
async fn images_that_cannot_be_had_are_told_at_once() {
    let waiting =
        stuck("no-image", json!({"name": "step-a", "image": "nowhere.invalid/thing:1", "command": ["x"]}))
            .await;
    assert_eq!(waiting["reason"], "ImagePullBackOff");
    assert!(waiting["message"].as_str().unwrap().contains("not found in the image layout"), "{waiting}");
    let waiting =
        stuck("bad-image", json!({"name": "step-a", "image": "UPPER CASE", "command": ["x"]})).await;
    assert_eq!(waiting["reason"], "InvalidImageName");
    let never = json!({"name": "step-a", "image": "nowhere.invalid/thing:1", "imagePullPolicy": "Never"});
    assert_eq!(stuck("never-image", never).await["reason"], "ErrImageNeverPull");
}

#[tokio::test]
async fn users_that_cannot_be_are_refused_before_the_gate() {
    for (test, security, text) in [
        ("uid", json!({"runAsUser": 4_294_967_295_u64}), "is not between"),
        ("nonroot", json!({"runAsNonRoot": true}), "runAsNonRoot"),
    ] {
        let mut container = sh("step-a", "id");
        container["securityContext"] = security;
        let waiting = stuck(test, container).await;
        assert_eq!(waiting["reason"], "CreateContainerConfigError", "{test}");
        assert!(waiting["message"].as_str().unwrap().contains(text), "{test}: {waiting}");
    }
}

#[tokio::test]
async fn a_volume_that_was_handed_on_is_not_attached() {
    let folder = tempfile::tempdir().unwrap();
    let (path, fence) = (folder.path().join("data"), folder.path().join("fence"));
    std::fs::create_dir(&path).unwrap();
    let volumes = |generation: u64| {
        let held = Held { uid: "u".into(), generation, fence: fence.display().to_string() };
        let dir = Volume::Dir { path: path.display().to_string(), read_only: false, held: Some(held) };
        BTreeMap::from([("data".to_owned(), dir)])
    };
    let mut writes = sh("step-a", "touch /data/written");
    writes["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    std::fs::write(&fence, "3").unwrap();
    let waiting = stuck_with("old-generation", writes.clone(), volumes(2)).await;
    assert_eq!(waiting["reason"], "CreateContainerConfigError");
    assert!(waiting["message"].as_str().unwrap().contains("it has been handed on"), "{waiting}");
    assert!(!path.join("written").exists());
    let (cell, outcome) = pod("generation", order(json!({"containers": [writes]}), volumes(3))).await;
    assert_eq!((outcome, &cell.status()["phase"]), (Outcome::Reported, &json!("Succeeded")));
    assert!(path.join("written").exists());
    assert_eq!(cell.told.lock().unwrap().volumes, BTreeMap::from([("u".to_owned(), 3)]), "told at the gate");
}
