//! `cella why`, `cella replay` and `cella tenant`, as commands against a running server.

use std::path::Path;
use std::process::Command;

use cli::client::Client;
use http::Method;
use integration::commands::Tools;
use integration::server::{Options, Server};
use serde_json::{Value, json};

const RUNS: &str = "/apis/tekton.dev/v1/namespaces/default/pipelineruns";

fn pipelinerun(name: &str, command: &str) -> Value {
    let steps = json!([{"name": "s", "image": "busybox", "command": ["sh", "-c", command]}]);
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": name, "annotations": {"cella.dev/regions": "europe-west1"}},
        "spec": {"pipelineSpec": {"tasks": [{"name": "t", "retries": 1, "taskSpec": {"steps": steps}}]}},
    })
}

/// What the command says on standard output; standard error when it fails.
fn cella(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// These lines are there, in this order.
fn assert_in_order(told: &str, lines: &[&str]) {
    let mut rest = told;
    for line in lines {
        let Some(at) = rest.find(line) else { panic!("no {line:?} where it should be in:\n{told}") };
        rest = &rest[at + line.len()..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_how_it_came_to_what_it_is_and_its_decision_can_be_repeated() {
    let _turn = crate::alone_async().await;
    let tools = Tools::ready().unwrap();
    let (host, _jobs) = base::real::host();
    let mut server = Server::start(&Options::new(tools.cella.clone(), tools.images.clone())).unwrap();
    let client = Client::connect(server.access("acme"), &host).await.unwrap();
    for (name, command) in [("good", "echo hello"), ("bad", "exit 3")] {
        client.json(Method::POST, RUNS, Some(&pipelinerun(name, command))).await.unwrap();
    }
    let ended = |run: &Value| run["status"]["completionTime"].is_string();
    let mut runs = Vec::new();
    for _ in 0..600 {
        let list = client.json(Method::GET, RUNS, None).await.unwrap();
        runs = list["items"].as_array().unwrap().clone();
        if runs.iter().all(ended) {
            break;
        }
        host.clock.sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(runs.iter().all(ended), "{runs:?}");
    let kubeconfig = server.kubeconfig("acme").display().to_string();
    let ask = |arguments: &[&str]| {
        cella(&tools.cella, &[arguments, &["--kubeconfig", kubeconfig.as_str()]].concat())
    };

    let told = ask(&["why", "good"]).unwrap();
    let line = ["accepted", "placed on cell europe-west1", "wanted on cell europe-west1"];
    assert_in_order(&told, &line);
    assert_in_order(
        &told,
        &[
            "claimed its attempt",
            "passed the start gate",
            "started the first step",
            "gave its last report",
            "succeeded: Succeeded",
        ],
    );
    // The user's own retry is told as such: two tries, and nothing of the infrastructure.
    let told = ask(&["why", "bad"]).unwrap();
    assert_in_order(
        &told,
        &["passed the start gate", "(try 1, attempt 0)", "passed the start gate", "failed: Failed"],
    );
    assert!(!told.contains("infrastructure"), "{told}");
    let stored: Value = serde_json::from_str(&ask(&["why", "bad", "--json"]).unwrap()).unwrap();
    assert_eq!(stored["runs"].as_array().unwrap().len(), 2, "the PipelineRun and its TaskRun");
    let refused = ask(&["why", "nobody"]).unwrap_err();
    assert!(refused.contains("nobody") && refused.contains("not found"), "{refused}");

    // Decided again, offline, a run that has ended is left as it is.
    let file = server.data().join("snapshot.json");
    let file = file.to_str().unwrap();
    let decided: Value = serde_json::from_str(&ask(&["replay", "bad", "--save", file]).unwrap()).unwrap();
    let again = cella(&tools.cella, &["replay", "--from", file]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), decided);
    // And one that had not ended would end as it did: the decision is the engine's, not what was stored.
    let text = std::fs::read_to_string(file).unwrap();
    let mut snapshot: Value = serde_json::from_str(&text).unwrap();
    let stored = snapshot["run"]["status"]["conditions"][0].clone();
    snapshot["run"]["status"].as_object_mut().unwrap().remove("completionTime");
    snapshot["run"]["status"]["conditions"][0] =
        json!({"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": ""});
    let open = server.data().join("open.json");
    std::fs::write(&open, snapshot.to_string()).unwrap();
    let again = cella(&tools.cella, &["replay", "--from", open.to_str().unwrap()]).unwrap();
    assert!(again.contains(stored["message"].as_str().unwrap()), "{again}");

    // What an operator lets the tenant have holds at once.
    let data = server.data().display().to_string();
    let said = cella(&tools.cella, &["tenant", "set", "acme", "--runs-max", "0", "--data", &data]).unwrap();
    assert!(said.contains("at most 0 (0 counted now)"), "{said}");
    let refused = client.json(Method::POST, RUNS, Some(&pipelinerun("more", "true"))).await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: cella-runs"), "{refused}");
    let said = cella(
        &tools.cella,
        &["tenant", "set", "acme", "--runs-max", "none", "--rerun-after-loss", "true", "--data", &data],
    );
    assert!(said.unwrap().contains("no limit"), "the limit is taken away");
    let said = cella(&tools.cella, &["tenant", "show", "acme", "--data", &data]).unwrap();
    assert!(said.contains("run again after a lost machine: yes"), "{said}");
    let made = client.json(Method::POST, RUNS, Some(&pipelinerun("more", "true"))).await.unwrap();
    assert_eq!(made["metadata"]["annotations"]["cella.dev/rerun-after-loss"], "true");
    server.stop().unwrap();
}
