use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use cli::client::Client;
use http::Method;
use integration::commands::Tools;
use integration::leaks;
use integration::server::{Options, Server};
use serde_json::json;

const RUNS: &str = "/apis/tekton.dev/v1/namespaces/default/taskruns";

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// A collector on a socket gets one trace for a run: from the submit, over machine, pull and start gate, to the steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_trace_of_a_run_from_submit_to_step() {
    let _turn = crate::alone_async().await;
    let tools = Tools::ready().unwrap();
    let before = leaks::Traces::now();
    let (host, jobs) = base::real::host();
    let seen: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let sink = seen.clone();
    let router = Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| {
            sink.lock().unwrap().push(body);
            async { "" }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (clock, serving) = (host.clock.clone(), host.jobs.clone());
    host.spawn("collector", async move {
        drop(base::serve::plain(listener, router, clock, serving).await);
    });
    let mut options = Options::new(tools.cella.clone(), tools.images.clone());
    options.arguments = vec!["--otlp".into(), format!("http://{address}")];
    let mut server = Server::start(&options).unwrap();
    let client = Client::connect(server.access("acme"), &host).await.unwrap();
    let run = json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "traced"},
        "spec": {"taskSpec": {"steps": [{"name": "s", "image": "busybox", "command": ["true"]}]}},
    });
    let made = client.json(Method::POST, RUNS, Some(&run)).await.unwrap();
    let parent = made["metadata"]["annotations"]["cella.dev/traceparent"]
        .as_str()
        .expect("a run has a trace")
        .to_owned();
    let trace: Vec<u8> = parent.split('-').nth(1).unwrap().as_bytes().chunks(2).map(hex).collect();
    for _ in 0..200 {
        let run = client.json(Method::GET, &format!("{RUNS}/traced"), None).await.unwrap();
        if run["status"]["conditions"][0]["status"] == "True" {
            break;
        }
        host.clock.sleep(Duration::from_millis(50)).await;
    }
    // What is not yet sent is sent at the end.
    server.stop().unwrap();
    drop(server);
    let all = seen.lock().unwrap().clone();
    let ours: Vec<u8> = all.into_iter().filter(|body| contains(body, &trace)).flatten().collect();
    for part in [
        "run",
        "queued",
        "machine",
        "pull",
        "prepare",
        "first step",
        "steps",
        "run.name",
        "traced",
        "tenant.id",
    ] {
        assert!(contains(&ours, part.as_bytes()), "the trace of the run has no {part:?}");
    }
    jobs.shutdown(Duration::from_secs(5)).await;
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}

fn hex(digits: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
}
