//! What goes well.

use std::collections::BTreeMap;

use agent::Outcome;
use protocol::message::{StartAnswer, Stop};
use protocol::order::{File, Volume};
use serde_json::json;

use crate::cell::{Cell, order, pod, sh};
use crate::host::{config, eventually, machine};

#[tokio::test]
async fn a_pod_runs_and_is_reported_to_its_end() {
    let script = "echo hello; echo oops >&2; printf open; printf result > /dev/termination-log";
    let (cell, outcome) =
        pod("life", order(json!({"containers": [sh("step-a", script)]}), BTreeMap::new())).await;
    assert_eq!(outcome, Outcome::Reported, "{}", cell.status());
    let mut lines: Vec<_> = cell.text("step-a").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["hello", "oops", "open"]);
    let state = cell.state("step-a");
    assert_eq!(state["terminated"]["exitCode"], 0, "{state}");
    assert_eq!(state["terminated"]["reason"], "Completed");
    assert_eq!(state["terminated"]["message"], "result");
    assert_eq!(cell.status()["phase"], "Succeeded");
    let image = cell.status()["containerStatuses"][0]["imageID"].as_str().unwrap().to_owned();
    assert!(image.starts_with("docker.io/library/busybox@sha256:"), "{image}");
    let told = cell.told.lock().unwrap();
    assert!(told.reports.last().unwrap().last && told.reports.len() <= 2, "{}", told.reports.len());
    for timing in ["booted", "pulled", "created", "gate", "first_step", "done"] {
        assert!(told.reports.last().unwrap().timings.contains_key(timing), "{timing}");
    }
}

#[tokio::test]
async fn volumes_users_and_surroundings_are_as_the_pod_says() {
    let script = "set -e; cat /files/a/b; cat /annotations/ready; readlink /links/step; \
        touch /area/made && stat -c %a /area; stat -c %a /files/a/b; id -u; id -g; id -G; \
        hostname; pwd; echo $HOME $FROM_IMAGE $LITERAL $SECRET; test ! -e /hidden; \
        cat /proc/self/status | grep SigIgn; grep -c lo: /proc/net/dev; ls /sub; df /mem | tail -1 | grep -c tmpfs; \
        test -w /dev/shm; grep -q pod /etc/hosts; test -d /etc/planted";
    let mut step = sh("step-a", script);
    step["env"] = json!([{"name": "LITERAL", "value": "x"}]);
    step["args"] = json!([]);
    step["workingDir"] = json!("/area/deep/er");
    step["securityContext"] = json!({"runAsUser": 1000});
    step["volumeMounts"] = json!([
        {"name": "files", "mountPath": "/files"},
        {"name": "annotations", "mountPath": "/annotations"},
        {"name": "links", "mountPath": "/links"},
        {"name": "work", "mountPath": "/area"},
        {"name": "work", "mountPath": "/sub", "subPath": "x/y"},
        {"name": "mem", "mountPath": "/mem"},
        {"name": "work", "mountPath": "/trap/planted"},
    ]);
    let file = File { path: "a/b".into(), content: "Y29udGVudAo=".into(), mode: 0o444 };
    let volumes = BTreeMap::from([
        ("files".to_owned(), Volume::Files { files: vec![file], secret: true }),
        ("annotations".into(), Volume::Downward { items: BTreeMap::from([("ready".into(), "r".into())]) }),
        ("links".into(), Volume::Links { links: BTreeMap::from([("step".into(), "/over/there".into())]) }),
        ("work".into(), Volume::Empty { memory: false, limit: None }),
        ("mem".into(), Volume::Empty { memory: true, limit: Some(1 << 20) }),
    ]);
    let spec = json!({"containers": [step], "securityContext": {"fsGroup": 77}});
    let mut order = order(spec, volumes);
    order.pod.metadata.annotations = Some(BTreeMap::from([("r".into(), "READY\n".into())]));
    order.secret_env = BTreeMap::from([("step-a".into(), BTreeMap::from([("SECRET".into(), "s3".into())]))]);
    order.working_dirs = vec!["/area/other".into()];
    let (cell, _) = pod("volumes", order).await;
    let text = cell.text("step-a");
    let lines: Vec<&str> = text.lines().collect();
    let wanted = [
        "content",
        "READY",
        "/over/there",
        "2777",
        "444",
        "1000",
        "1001",
        "1001 10 77",
        "pod",
        "/area/deep/er",
        "/home/app yes x s3",
        "SigIgn:\t0000000000000000",
        "1",
        "1",
    ];
    assert_eq!(lines, wanted, "{}", cell.status());
    assert_eq!(cell.state("step-a")["terminated"]["exitCode"], 0);
    assert!(!std::path::Path::new("/etc/planted").exists());
}

#[tokio::test]
async fn annotations_arrive_while_the_pod_runs_and_a_stop_ends_it() {
    let (host, _jobs) = base::real::host();
    let mut step = sh(
        "step-a",
        "while ! test -s /annotations/ready; do sleep 0.01; done; cat /annotations/ready; sleep 100",
    );
    step["volumeMounts"] = json!([{"name": "annotations", "mountPath": "/annotations"}]);
    let items = BTreeMap::from([("ready".to_owned(), "r".to_owned())]);
    let volumes = BTreeMap::from([("annotations".to_owned(), Volume::Downward { items })]);
    let cell = Cell::new(&host, order(json!({"containers": [step]}), volumes));
    let name = machine("annotate");
    let (running, config) = (cell.clone(), config(&name, &format!("local:{name}")));
    let (say, outcome) = tokio::sync::oneshot::channel();
    host.spawn("agent", async move { drop(say.send(running.run(config).await)) });
    eventually("it runs", || cell.state("step-a")["running"].is_object().then_some(())).await;
    cell.desired.send_modify(|d| drop(d.annotations.insert("r".into(), "READY\n".into())));
    eventually("the annotation is seen", || (cell.text("step-a") == "READY\n").then_some(())).await;
    // busybox's sh as PID 1 does not heed TERM: KILL comes after the grace.
    cell.desired.send_modify(|d| d.stop = Some(Stop { reason: "cancelled".into(), grace_ms: 50 }));
    assert_eq!(outcome.await.unwrap(), Outcome::Reported);
    assert_eq!(cell.state("step-a")["terminated"]["exitCode"], 137);
    assert_eq!(crate::host::traces(&name), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_starts_behind_a_closed_gate() {
    let (host, _jobs) = base::real::host();
    let cell = Cell::new(&host, order(json!({"containers": [sh("step-a", "echo never")]}), BTreeMap::new()));
    *cell.gate.lock().unwrap() = StartAnswer::Revoked;
    let name = machine("gate");
    assert_eq!(cell.run(config(&name, &format!("local:{name}"))).await, Outcome::Revoked);
    let told = cell.told.lock().unwrap();
    assert_eq!((told.starts, told.reports.len(), told.logs.len()), (1, 0, 0));
}

#[tokio::test]
async fn sidecars_are_ready_before_the_steps_and_end_after_them() {
    let mut native =
        sh("proxy", "echo up; trap 'exit 0' TERM; touch /shared/up; while :; do sleep 0.01; done");
    native["restartPolicy"] = json!("Always");
    native["startupProbe"] = json!({"exec": {"command": ["test", "-e", "/shared/up"]}});
    let mut plain = sh("sidecar-web", "mkdir /www; echo hi > /www/index.html; httpd -f -p 8080 -h /www");
    plain["readinessProbe"] = json!({"httpGet": {"port": 8080, "path": "/index.html"}});
    let mut step = sh(
        "step-a",
        "test -e /shared/up && until wget -qO- http://127.0.0.1:8080/ 2>/dev/null; do sleep 0.05; done",
    );
    for container in [&mut native, &mut step] {
        container["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    }
    let volumes = BTreeMap::from([("shared".to_owned(), Volume::Empty { memory: false, limit: None })]);
    let spec = json!({"initContainers": [native], "containers": [step, plain]});
    let (host, _jobs) = base::real::host();
    let cell = Cell::new(&host, order(spec, volumes));
    let name = machine("sidecars");
    let (running, config) = (cell.clone(), config(&name, &format!("local:{name}")));
    let (say, outcome) = tokio::sync::oneshot::channel();
    host.spawn("agent", async move { drop(say.send(running.run(config).await)) });
    eventually("the step ends", || cell.state("step-a")["terminated"].is_object().then_some(())).await;
    assert_eq!(cell.state("step-a")["terminated"]["exitCode"], 0, "{}", cell.text("step-a"));
    assert_eq!(cell.text("step-a"), "hi\n");
    let status = cell.status();
    assert_eq!(status["phase"], "Running");
    let ready = || (cell.status()["containerStatuses"][1]["ready"] == true).then_some(());
    eventually("the sidecar is ready", ready).await;
    cell.desired.send_modify(|d| d.stop = Some(Stop { reason: "done".into(), grace_ms: 2000 }));
    assert_eq!(outcome.await.unwrap(), Outcome::Reported);
    assert_eq!(cell.state("proxy")["terminated"]["exitCode"], 0);
    assert_eq!(crate::host::traces(&name), Vec::<String>::new());
}

/// Median, in milliseconds.
fn median_ms(mut figures: Vec<i64>) -> f64 {
    figures.sort_unstable();
    figures[figures.len() / 2] as f64 / 1000.0
}

#[tokio::test]
async fn the_first_byte_comes_soon_after_the_order_and_at_once_after_the_gate() {
    let (host, _jobs) = base::real::host();
    let (mut from_order, mut from_gate) = (Vec::new(), Vec::new());
    for round in 0..12 {
        let mut order = order(json!({"containers": [sh("step-a", "echo first")]}), BTreeMap::new());
        order.network = protocol::order::Network::Nat;
        let cell = Cell::new(&host, order);
        let name = machine(&format!("soon-{round}"));
        assert_eq!(cell.run(config(&name, &format!("local:{name}"))).await, Outcome::Reported);
        let told = cell.told.lock().unwrap();
        let first = told.first_byte_us.unwrap();
        from_order.push(first - told.ordered_us.unwrap());
        from_gate.push(first - told.gate_us.unwrap());
    }
    let (from_order, from_gate) = (median_ms(from_order), median_ms(from_gate));
    println!("first byte: {from_order} ms after the order, {from_gate} ms after the gate");
    // Far above what an idle machine needs: creating containers takes most of it, and must be over by then.
    assert!(from_gate < from_order / 2.0, "{from_gate} ms after the gate, {from_order} ms after the order");
}

#[tokio::test]
async fn pods_have_a_way_out_and_reach_nothing_of_this_host() {
    let (host, _jobs) = base::real::host();
    // Something to reach on every address of this host.
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    host.spawn("listener", async move { while listener.accept().await.is_ok() {} });
    let addresses = std::process::Command::new("hostname").arg("-I").output().unwrap();
    let addresses = String::from_utf8(addresses.stdout).unwrap();
    let own: Vec<&str> = addresses.split_whitespace().filter(|a| a.contains('.')).collect();
    // Not those of other tests' pods: each costs a second.
    let own: Vec<&str> = own.into_iter().filter(|a| !a.starts_with("10.201.")).collect();
    let tries: String =
        own.iter().map(|a| format!("nc -w 1 {a} {port} </dev/null && echo reached {a}; ")).collect();
    let script = format!(
        "ip -4 route | grep -c ^default; gateway=$(ip -4 route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); \
         nc -w 1 $gateway {port} </dev/null && echo reached the gateway; \
         nc -w 1 127.0.0.1 {port} </dev/null && echo reached loopback; {tries} \
         nc -w 1 169.254.169.254 80 </dev/null && echo reached metadata; ip -6 addr show eth0 | grep -c inet6; exit 0"
    );
    let mut order = order(
        json!({"containers": [sh("step-a", &format!("{{ {script}; }} 2>/dev/null"))]}),
        BTreeMap::new(),
    );
    order.network = protocol::order::Network::Nat;
    let (cell, _) = pod("network", order).await;
    assert_eq!(cell.text("step-a"), "1\n0\n");
    assert!(cell.status()["podIP"].as_str().unwrap().starts_with("10.201."));
}

#[tokio::test]
async fn twenty_steps_end_soon_after_one_another() {
    let (host, _jobs) = base::real::host();
    let steps: Vec<_> = (0..20).map(|n| json!({"name": format!("step-{n}"), "command": ["true"]})).collect();
    let cell = Cell::new(&host, order(json!({"containers": steps}), BTreeMap::new()));
    let name = machine("twenty");
    assert_eq!(cell.run(config(&name, &format!("local:{name}"))).await, Outcome::Reported);
    assert_eq!(cell.status()["phase"], "Succeeded");
    let told = cell.told.lock().unwrap();
    let timings = &told.reports.last().unwrap().timings;
    let ordered = told.ordered_us.unwrap();
    println!(
        "twenty steps: created after {} ms, done after {} ms, {} reports",
        (timings["created"] - ordered) / 1000,
        (timings["done"] - ordered) / 1000,
        told.reports.len()
    );
    assert!(told.reports.len() <= 22);
}
