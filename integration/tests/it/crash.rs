use std::time::Duration;

use base::host::Host;
use cli::client::Client;
use http::Method;
use integration::commands::Tools;
use integration::commands::drill::stage::below;
use integration::leaks;
use integration::server::{Options, Server};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const RUNS: &str = "/apis/tekton.dev/v1/namespaces/default/taskruns";

fn run(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": name},
        "spec": {"taskSpec": {"steps": [{"name": "s", "image": "busybox", "script": script}]}},
    })
}

async fn all_done(client: &Client, host: &Host) -> Vec<Value> {
    for _ in 0..600 {
        let list = client.json(Method::GET, RUNS, None).await.unwrap();
        let items = list["items"].as_array().unwrap().clone();
        let ended =
            |r: &Value| matches!(r["status"]["conditions"][0]["status"].as_str(), Some("True" | "False"));
        if items.iter().all(ended) {
            return items;
        }
        host.clock.sleep(Duration::from_millis(100)).await;
    }
    panic!("not every run has ended");
}

/// Every accepted run ends once, whatever the server was doing when it was killed, and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_run() {
    let _turn = crate::alone_async().await;
    let tools = Tools::ready().unwrap();
    let before = leaks::Traces::now();
    let (host, _jobs) = base::real::host();
    let seed = host.id() as u64;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut server = Server::start(&Options::new(tools.cella.clone(), tools.images.clone())).unwrap();
    let mut accepted = 0;
    for round in 0..4 {
        let client = Client::connect(server.access("acme"), &host).await.unwrap();
        for n in 0..6 {
            let body = run(&format!("r-{round}-{n}"), "sleep 0.3; echo done");
            client.json(Method::POST, RUNS, Some(&body)).await.unwrap();
            accepted += 1;
        }
        host.clock.sleep(Duration::from_millis(rng.random_range(10..900))).await;
        server.kill().unwrap();
        server.launch().unwrap();
    }
    let client = Client::connect(server.access("acme"), &host).await.unwrap();
    let runs = all_done(&client, &host).await;
    assert_eq!(runs.len(), accepted);
    for run in &runs {
        let condition = &run["status"]["conditions"][0];
        let fine = condition["status"] == "True"
            || condition["message"].as_str().is_some_and(|m| m.contains("machine"));
        assert!(fine, "{}: {condition}", run["metadata"]["name"]);
    }
    server.stop().unwrap();
    drop(server);
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}

/// Agents and supervisors are killed at random while runs go. Each run ends once, its script has begun at most once
/// (it says so in a file outside the pod), and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn killed_agents_and_supervisors_repeat_nothing() {
    const RUNS_EACH: usize = 8;
    let _turn = crate::alone_async().await;
    let tools = Tools::ready().unwrap();
    let before = leaks::Traces::now();
    let (host, _jobs) = base::real::host();
    let seed = host.id() as u64;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut server = Server::start(&Options::new(tools.cella.clone(), tools.images.clone())).unwrap();
    let client = Client::connect(server.access("acme"), &host).await.unwrap();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "journal"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    client.json(Method::POST, claims, Some(&claim)).await.unwrap();
    let mut killed = 0;
    for round in 0..3 {
        for n in 0..RUNS_EACH {
            let name = format!("k-{round}-{n}");
            let mut body = run(&name, &format!("echo {name} >> /workspace/out/journal; sleep 0.5"));
            body["metadata"]["annotations"] = json!({"cella.dev/regions": "us-central1"});
            body["spec"]["taskSpec"]["workspaces"] = json!([{"name": "out"}]);
            body["spec"]["workspaces"] =
                json!([{"name": "out", "persistentVolumeClaim": {"claimName": "journal"}}]);
            client.json(Method::POST, RUNS, Some(&body)).await.unwrap();
        }
        for _ in 0..4 {
            host.clock.sleep(Duration::from_millis(rng.random_range(20..250))).await;
            let word = if rng.random() { "agent" } else { "supervisor" };
            let victims = below(server.pid().unwrap(), word);
            if victims.is_empty() {
                continue;
            }
            let victim = victims[rng.random_range(0..victims.len())];
            let done = std::process::Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap();
            killed += u32::from(done.success());
        }
    }
    let runs = all_done(&client, &host).await;
    assert_eq!(runs.len(), 3 * RUNS_EACH);
    assert!(killed > 3, "seed {seed}: only {killed} processes were killed");
    let journal = journal(server.data());
    for run in &runs {
        let name = run["metadata"]["name"].as_str().unwrap();
        let begun = journal.lines().filter(|line| *line == name).count();
        assert!(begun <= 1, "seed {seed}: {name} has begun {begun} times");
        let condition = &run["status"]["conditions"][0];
        assert!(
            condition["status"] == "False" || begun == 1,
            "seed {seed}: {name} succeeded without a start"
        );
    }
    server.stop().unwrap();
    drop(server);
    assert_eq!(leaks::left_since(&before), Vec::<String>::new(), "seed {seed}");
}

/// The file `journal` of the one claim.
fn journal(data: &std::path::Path) -> String {
    let mut folders = vec![data.join("volumes")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() == "journal" {
                return std::fs::read_to_string(entry.path()).unwrap();
            }
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    panic!("there is no journal")
}
