//! A client of another make: the `kube` crate, with its typed errors, its watcher and its log stream.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::host::Host;
use futures_util::{AsyncBufReadExt, StreamExt};
use integration::commands::Tools;
use integration::leaks;
use integration::server::{Options, Server};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use kube::{Api, Client, Config, Error};
use serde_json::{Value, json};

async fn client(server: &Server, tenant: &str) -> Client {
    let file = Kubeconfig::read_from(server.kubeconfig(tenant)).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn taskruns(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("tekton.dev", "v1", "TaskRun");
    Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind))
}

fn taskrun(name: &str, script: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "labels": {"suite": "kube"}},
        "spec": {"taskSpec": {"steps": [{"name": "s", "image": "busybox", "script": script}]}},
    }))
    .unwrap()
}

fn succeeded(run: &DynamicObject) -> Option<&str> {
    let conditions = run.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == "Succeeded")?["status"].as_str()
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        other => panic!("no answer of the API: {other}"),
    }
}

async fn soon<T>(host: &Host, what: &str, work: impl Future<Output = T>) -> T {
    host.within(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("{what}: it takes too long"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kube_crate_runs_watches_and_reads_logs() {
    let _turn = crate::alone_async().await;
    let tools = Tools::ready().unwrap();
    let before = leaks::Traces::now();
    let (host, _jobs) = base::real::host();
    let mut server = Server::start(&Options::new(tools.cella.clone(), tools.images.clone())).unwrap();
    let client = client(&server, "acme").await;
    let runs = taskruns(&client);

    a_run_from_create_to_log(&host, &client, &runs).await;
    errors_are_typed(&client, &runs).await;
    lists_are_paged_and_selected(&client, &runs).await;
    objects_are_applied_and_patched(&client).await;
    a_claim_and_its_content_go_with_their_run(&host, &client, server.data()).await;

    let other = taskruns(&self::client(&server, "globex").await);
    assert_eq!(code(&other.get("one").await.unwrap_err()), 404, "another tenant");
    server.stop().unwrap();
    drop(server);
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}

async fn a_run_from_create_to_log(host: &Host, client: &Client, runs: &Api<DynamicObject>) {
    let watching = watcher(runs.clone(), watcher::Config::default().fields("metadata.name=one"));
    let mut events = std::pin::pin!(watching);
    let made =
        runs.create(&PostParams::default(), &taskrun("one", "echo first; sleep 1; echo last")).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.resource_version.is_some());
    let (mut phases, mut versions): (Vec<String>, Vec<i64>) = (Vec::new(), Vec::new());
    soon(host, "the watcher", async {
        loop {
            let event = events.next().await.expect("a watcher never ends").expect("the watch is well");
            let (watcher::Event::Apply(run) | watcher::Event::InitApply(run)) = event else { continue };
            versions.push(run.metadata.resource_version.clone().unwrap().parse().unwrap());
            if let Some(phase) = succeeded(&run)
                && phases.last().is_none_or(|last| last != phase)
            {
                phases.push(phase.to_owned());
            }
            if phases.last().is_some_and(|phase| phase != "Unknown") {
                return;
            }
            if let Some(pod) = run.data["status"]["podName"].as_str().filter(|_| phases == ["Unknown"]) {
                follow(client, pod).await;
            }
        }
    })
    .await;
    assert_eq!(phases, ["Unknown", "True"]);
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "in order: {versions:?}");
    let run = runs.get("one").await.unwrap();
    assert_eq!(run.data["status"]["steps"][0]["terminated"]["exitCode"], 0);
    runs.delete("one", &DeleteParams::foreground()).await.unwrap();
    soon(host, "the deletion with its Pod", async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        while runs.get_opt("one").await.unwrap().is_some() || pods.get_opt("one-pod").await.unwrap().is_some()
        {
            host.clock.sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// A claim made from a template carries files from one task's machine to the next, and is deleted with its PipelineRun:
/// the object, and the folder with what was in it.
async fn a_claim_and_its_content_go_with_their_run(host: &Host, client: &Client, data: &Path) {
    let kind = GroupVersionKind::gvk("tekton.dev", "v1", "PipelineRun");
    let runs: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "default");
    let task = |name: &str, after: &[&str], script: &str| {
        json!({"name": name, "runAfter": after, "workspaces": [{"name": "disk", "workspace": "disk"}],
            "taskSpec": {"workspaces": [{"name": "disk"}],
                "steps": [{"name": "s", "image": "busybox", "script": script}]}})
    };
    let write = task("write", &[], "echo kept-on-a-claim > $(workspaces.disk.path)/file");
    let read = task("read", &["write"], "grep -q kept-on-a-claim $(workspaces.disk.path)/file");
    let template =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    let run = json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "with-claim"},
        "spec": {"pipelineSpec": {"workspaces": [{"name": "disk"}], "tasks": [write, read]},
            "workspaces": [{"name": "disk", "volumeClaimTemplate": template}]},
    });
    runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await.unwrap();
    soon(host, "the run with a claim", async {
        loop {
            let run = runs.get("with-claim").await.unwrap();
            match succeeded(&run) {
                Some("True") => return,
                Some("False") => panic!("{}", run.data["status"]),
                _ => host.clock.sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    let made = claims.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(made.len(), 1, "{made:?}");
    let folder = volume(data, made[0].metadata.uid.as_deref().unwrap());
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "kept-on-a-claim\n");
    runs.delete("with-claim", &DeleteParams::background()).await.unwrap();
    soon(host, "the deletion of the claim", async {
        while !claims.list(&ListParams::default()).await.unwrap().items.is_empty() || folder.exists() {
            host.clock.sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// The folder of a claim: each cell keeps its own in its part of the data folder.
fn volume(data: &Path, uid: &str) -> PathBuf {
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.ends_with(Path::new("volumes").join(uid)) {
            return folder;
        }
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
        folders.extend(inside.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()));
    }
    panic!("the claim {uid} has no folder")
}

async fn follow(client: &Client, pod: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let parameters = LogParams { follow: true, container: Some("step-s".into()), ..LogParams::default() };
    let stream = loop {
        match pods.log_stream(pod, &parameters).await {
            Ok(stream) => break stream,
            // As a kubelet says of a container that has not started.
            Err(error) => assert_eq!(code(&error), 400, "{error}"),
        }
    };
    let lines: Vec<String> = stream.lines().map(Result::unwrap).collect().await;
    assert_eq!(lines, ["first", "last"]);
}

async fn errors_are_typed(client: &Client, runs: &Api<DynamicObject>) {
    assert_eq!(code(&runs.get("nowhere").await.unwrap_err()), 404);
    let pending = |name: &str| {
        let mut run = taskrun(name, "true");
        run.data["spec"]["status"] = "TaskRunCancelled".into();
        run
    };
    let made = runs.create(&PostParams::default(), &pending("two")).await.unwrap();
    assert_eq!(code(&runs.create(&PostParams::default(), &pending("two")).await.unwrap_err()), 409);
    assert_eq!(code(&runs.create(&PostParams::default(), &pending("No_Name")).await.unwrap_err()), 422);
    let mut stale = made;
    stale.metadata.resource_version = Some("1".into());
    assert_eq!(code(&runs.replace("two", &PostParams::default(), &stale).await.unwrap_err()), 409);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    runs.create(&dry, &pending("dry")).await.unwrap();
    assert!(runs.get_opt("dry").await.unwrap().is_none(), "a dry run is stored");
    let version = client.apiserver_version().await.unwrap();
    assert_eq!(version.major, "1");
}

async fn lists_are_paged_and_selected(_client: &Client, runs: &Api<DynamicObject>) {
    for n in 0..7 {
        let mut run = taskrun(&format!("page-{n}"), "true");
        run.data["spec"]["status"] = "TaskRunPending".into();
        run.metadata.labels = Some([("page".to_owned(), (n % 2).to_string())].into());
        runs.create(&PostParams::default(), &run).await.unwrap();
    }
    let (mut names, mut token): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let mut parameters = ListParams::default().labels("page").limit(3);
        parameters.continue_token = token;
        let page = runs.list(&parameters).await.unwrap();
        assert!(page.items.len() <= 3);
        names.extend(page.items.into_iter().filter_map(|run| run.metadata.name));
        token = page.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..7).map(|n| format!("page-{n}")).collect::<Vec<_>>());
    let odd = runs.list(&ListParams::default().labels("page=1")).await.unwrap();
    assert_eq!(odd.items.len(), 3);
    runs.delete_collection(&DeleteParams::default(), &ListParams::default().labels("page")).await.unwrap();
}

async fn objects_are_applied_and_patched(client: &Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let object = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": value}});
    let apply = |value: &str| Patch::Apply(object(value));
    let mine = PatchParams::apply("mine");
    maps.patch("m", &mine, &apply("1")).await.unwrap();
    let other = PatchParams::apply("other");
    let conflict = maps.patch("m", &other, &apply("2")).await.unwrap_err();
    assert_eq!(code(&conflict), 409, "a field has one owner: {conflict}");
    maps.patch("m", &other.force(), &apply("2")).await.unwrap();
    let merged =
        maps.patch("m", &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "3"}}))).await.unwrap();
    let data: Value = json!(merged.data);
    assert_eq!(data, json!({"a": "2", "b": "3"}));
    maps.delete("m", &DeleteParams::default()).await.unwrap();
}
