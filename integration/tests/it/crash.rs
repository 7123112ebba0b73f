use std::time::Duration;

use base::host::Host;
use cli::client::Client;
use http::Method;
use integration::commands::Tools;
use integration::leaks;
use integration::server::{Options, Server};
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
    let mut server = Server::start(&Options::new(tools.cella.clone(), tools.images.clone())).unwrap();
    let mut accepted = 0;
    for round in 0..4 {
        let client = Client::connect(server.access("acme"), &host).await.unwrap();
        for n in 0..6 {
            let body = run(&format!("r-{round}-{n}"), "sleep 0.3; echo done");
            client.json(Method::POST, RUNS, Some(&body)).await.unwrap();
            accepted += 1;
        }
        host.clock.sleep(Duration::from_millis(60 + 170 * round)).await;
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
