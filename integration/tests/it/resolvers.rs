//! References to elsewhere, in real runs: a web server of this host stands in for the world.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::host::Host;
use integration::commands::Tools;
use integration::leaks;
use integration::server::{Options, Server};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

const TASK: &str = "{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: far}, spec: {results: [{name: said}], steps: [{name: s, image: busybox, script: 'printf far > $(results.said.path)'}]}}";
const ACTION: &str = "{apiVersion: tekton.dev/v1beta1, kind: StepAction, metadata: {name: act}, spec: {image: busybox, script: 'echo acted'}}";

fn pipeline(base: &str) -> String {
    format!(
        "{{apiVersion: tekton.dev/v1, kind: Pipeline, metadata: {{name: whole}}, spec: {{results: [{{name: said, value: $(tasks.one.results.said)}}], tasks: [{{name: one, taskRef: {{resolver: http, params: [{{name: url, value: '{base}/task.yaml'}}]}}}}]}}}}"
    )
}

type Files = std::sync::Arc<std::sync::Mutex<BTreeMap<String, String>>>;

async fn file(State(files): State<Files>, request: Request) -> Response {
    let found = files.lock().unwrap().get(request.uri().path()).cloned();
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

/// A web server; gives its address.
async fn web(host: &Host) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let base = format!("http://{at}");
    let files = [
        ("/task.yaml", TASK.to_owned()),
        ("/action.yaml", ACTION.to_owned()),
        ("/pipeline.yaml", pipeline(&base)),
    ];
    let files =
        std::sync::Arc::new(std::sync::Mutex::new(files.map(|(path, text)| (path.to_owned(), text)).into()));
    let router = axum::Router::new().fallback(file).with_state(files);
    let (clock, jobs) = (host.clock.clone(), host.jobs.clone());
    host.spawn("web", async move { base::serve::plain(listener, router, clock, jobs).await.unwrap() });
    at
}

fn api(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind))
}

async fn create(api: &Api<DynamicObject>, object: Value) {
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Waits until a run has ended.
async fn ended(host: &Host, api: &Api<DynamicObject>, name: &str) -> Value {
    let look = async {
        loop {
            let run = api.get(name).await.unwrap();
            let conditions = run.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|c| c["type"] == "Succeeded" && c["status"] != "Unknown") {
                return run.data["status"].clone();
            }
            host.clock.sleep(Duration::from_millis(50)).await;
        }
    };
    host.within(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("{name} does not end"))
}

fn http(url: &str) -> Value {
    json!({"resolver": "http", "params": [{"name": "url", "value": url}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_use_what_is_elsewhere_and_not_what_is_nobodys_to_reach() {
    let _turn = crate::alone_async().await;
    let tools = Tools::ready().unwrap();
    let before = leaks::Traces::now();
    let (host, _jobs) = base::real::host();
    let (allowed, other) = (web(&host).await, web(&host).await);
    let mut options = Options::new(tools.cella.clone(), tools.images.clone());
    options.arguments.extend(["--egress-allow".into(), allowed.clone()]);
    let mut server = Server::start(&options).unwrap();
    let file = Kubeconfig::read_from(server.kubeconfig("acme")).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let (taskruns, pipelineruns) =
        (api(&client, "tekton.dev", "v1", "TaskRun"), api(&client, "tekton.dev", "v1", "PipelineRun"));
    let base = format!("http://{allowed}");

    let run = |name: &str, spec: Value| json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name}, "spec": spec});
    create(&taskruns, run("task", json!({"taskRef": http(&format!("{base}/task.yaml"))}))).await;
    let step = json!({"name": "s", "ref": http(&format!("{base}/action.yaml"))});
    create(&taskruns, run("action", json!({"taskSpec": {"steps": [step]}}))).await;
    create(&taskruns, run("foreign", json!({"taskRef": http(&format!("http://{other}/task.yaml"))}))).await;
    let whole = json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "whole"},
        "spec": {"pipelineRef": http(&format!("{base}/pipeline.yaml"))}});
    create(&pipelineruns, whole).await;

    let task = ended(&host, &taskruns, "task").await;
    assert_eq!(task["results"][0]["value"], "far", "{task:#}");
    assert_eq!(task["provenance"]["refSource"]["uri"], format!("{base}/task.yaml"));
    let action = ended(&host, &taskruns, "action").await;
    assert_eq!(action["conditions"][0]["status"], "True", "{action:#}");
    let whole = ended(&host, &pipelineruns, "whole").await;
    assert_eq!(whole["results"][0]["value"], "far", "{whole:#}");
    let foreign = ended(&host, &taskruns, "foreign").await;
    assert_eq!(foreign["conditions"][0]["reason"], "TaskRunResolutionFailed");
    let why = foreign["conditions"][0]["message"].as_str().unwrap();
    assert!(why.contains("a loopback address (127.0.0.1), which resolvers may not connect to"), "{why}");

    // Whoever wants only the text asks for it.
    let requests = api(&client, "resolution.tekton.dev", "v1beta1", "ResolutionRequest");
    let request = json!({"apiVersion": "resolution.tekton.dev/v1beta1", "kind": "ResolutionRequest",
        "metadata": {"name": "mine", "labels": {"resolution.tekton.dev/type": "http"}},
        "spec": {"params": [{"name": "url", "value": format!("{base}/task.yaml")}]}});
    create(&requests, request).await;
    let mine = ended(&host, &requests, "mine").await;
    assert_eq!(mine["conditions"][0]["status"], "True", "{mine:#}");
    assert!(!mine["data"].as_str().unwrap().is_empty());
    server.stop().unwrap();
    drop(server);
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}
