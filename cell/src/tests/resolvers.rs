//! Every resolver, for real, against servers on sockets of this host.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use store::object::ObjectKey;

use super::outside::{self, action, pipeline, secret, task};
use super::rig::{Rig, TENANT, reason};
use crate::resolve::hub::Hubs;

fn request(name: &str, resolver: &str, params: &[(&str, &str)]) -> Value {
    json!({
        "apiVersion": "resolution.tekton.dev/v1beta1",
        "kind": "ResolutionRequest",
        "metadata": {"name": name, "labels": {"resolution.tekton.dev/type": resolver}},
        "spec": {"params": given(params)},
    })
}

fn given(params: &[(&str, &str)]) -> Value {
    params.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// Submits a request and waits for its answer.
async fn ask(rig: &Rig, name: &str, resolver: &str, params: &[(&str, &str)]) -> Value {
    let key = rig.submit(request(name, resolver, params)).await;
    rig.until_ended(&key).await["status"].clone()
}

fn data(status: &Value) -> String {
    assert_eq!(status["conditions"][0]["status"], "True", "{status:#}");
    String::from_utf8(STANDARD.decode(status["data"].as_str().unwrap()).unwrap()).unwrap()
}

fn why(status: &Value) -> &str {
    assert_eq!(status["conditions"][0]["status"], "False", "{status:#}");
    status["conditions"][0]["message"].as_str().unwrap()
}

fn run_of(name: &str, resolver: &str, params: &[(&str, &str)]) -> Value {
    json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name},
        "spec": {"taskRef": {"resolver": resolver, "params": given(params)}}})
}

#[tokio::test]
async fn files_of_web_servers() {
    let (host, _jobs) = base::real::host();
    let files =
        [("/t.yaml", task("t", "hi")), ("/private/t.yaml", task("p", "hi")), ("/big", "x".repeat(2 << 20))];
    let web = outside::web(&host, files.map(|(path, text)| (path.to_owned(), text)).into()).await;
    let rig = Rig::reaching(&web.at, Hubs::default()).await;
    let url = format!("http://{}/t.yaml", web.at);
    let status = ask(&rig, "plain", "http", &[("url", &url)]).await;
    assert_eq!(data(&status), task("t", "hi"));
    let sum = crate::resolve::ask::hex(
        ring::digest::digest(&ring::digest::SHA256, data(&status).as_bytes()).as_ref(),
    );
    assert_eq!(status["refSource"], json!({"uri": url, "digest": {"sha256": sum}}));
    assert_eq!(status["source"], status["refSource"]);
    assert!(status["conditions"][0]["reason"].is_null());

    let missing = format!("http://{}/none", web.at);
    let status = ask(&rig, "missing", "http", &[("url", &missing)]).await;
    assert_eq!(
        why(&status),
        format!("error getting \"Http\" \"default/missing\": requested URL '{missing}' is not found")
    );
    assert_eq!(status["conditions"][0]["reason"], "ResolutionFailed");
    let status = ask(&rig, "invalid", "http", &[]).await;
    assert_eq!(
        why(&status),
        "invalid resource request \"default/invalid\": missing required http resolver params: url"
    );
    let status =
        ask(&rig, "digest", "http", &[("url", &url), ("digest", &format!("sha256:{}", "0".repeat(64)))])
            .await;
    assert!(why(&status).contains("error validating digest: SHA mismatch, expected 000"), "{status}");
    let big = format!("http://{}/big", web.at);
    let status = ask(&rig, "big", "http", &[("url", &big)]).await;
    assert!(
        why(&status).ends_with("response body exceeds maximum allowed size of 1048576 bytes"),
        "{status}"
    );

    rig.submit(secret("login", &[("password", "p"), ("wrong", "x")])).await;
    let private = format!("http://{}/private/t.yaml", web.at);
    let login = [("url", private.as_str()), ("http-username", "u"), ("http-password-secret", "login")];
    assert_eq!(data(&ask(&rig, "private", "http", &login).await), task("p", "hi"));
    let wrong = [login[0], login[1], login[2], ("http-password-secret-key", "wrong")];
    assert!(why(&ask(&rig, "wrong", "http", &wrong).await).contains("is not found"));
    let none = [login[0], login[1], ("http-password-secret", "none")];
    let status = ask(&rig, "none", "http", &none).await;
    assert!(
        why(&status).ends_with("cannot get API token, secret none not found in namespace default"),
        "{status}"
    );
    rig.until_quiet().await;
}

#[tokio::test]
async fn what_is_not_public_is_refused_at_once_and_says_so() {
    let (host, _jobs) = base::real::host();
    let web = outside::web(&host, BTreeMap::from([("/t.yaml".to_owned(), task("t", "hi"))])).await;
    let rig = Rig::new();
    let at = web.at.as_str();
    let url = format!("http://{at}/t.yaml");
    let git = format!("http://{at}/r.git");
    let bundle = format!("{at}/bundle:latest");
    let (url, git, bundle) = (url.as_str(), git.as_str(), bundle.as_str());
    let asks = [
        ("a", "http", vec![("url", url)]),
        ("b", "git", vec![("url", git), ("pathInRepo", "x"), ("revision", "main")]),
        ("c", "bundles", vec![("bundle", bundle), ("name", "n")]),
        ("d", "hub", vec![("url", url), ("name", "n"), ("version", "1")]),
        ("e", "http", vec![("url", "http://169.254.169.254/computeMetadata/v1/instance/")]),
    ];
    for (name, resolver, params) in asks {
        let status = ask(&rig, name, resolver, &params).await;
        assert!(why(&status).contains("which resolvers may not connect to"), "{resolver}: {status}");
    }
    assert_eq!(web.asked.load(Ordering::Relaxed), 0, "nobody was asked");
}

#[tokio::test]
async fn files_of_git_repositories() {
    for filter in [true, false] {
        let (host, _jobs) = base::real::host();
        let root = tempfile::tempdir().unwrap();
        for name in ["public/r", "private/r"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let [first, second] = outside::repository(&root.path().join("public/r"));
        outside::repository(&root.path().join("private/r"));
        let server = outside::git_server(&host, root.path(), filter).await;
        let rig = Rig::reaching(&server.at, Hubs::default()).await;
        let url = format!("http://{}/public/r/.git", server.at);
        let mut count = 0;
        let mut get = async |revision: &str, path: &str| {
            count += 1;
            let params = [("url", url.as_str()), ("revision", revision), ("pathInRepo", path)];
            ask(&rig, &format!("r{count}"), "git", &params).await
        };
        for (revision, word, commit) in [
            ("main", "second", &second),
            ("refs/heads/main", "second", &second),
            ("HEAD", "second", &second),
            ("feature/x", "second", &second),
            ("v1", "first", &first),
            (first.as_str(), "first", &first),
        ] {
            let status = get(revision, "tasks/deep/say.yaml").await;
            assert_eq!(data(&status), task("said", word), "{revision}");
            let source = json!({"uri": format!("git+{url}"), "digest": {"sha1": commit}, "entryPoint": "tasks/deep/say.yaml"});
            assert_eq!(status["refSource"], source);
            assert_eq!(status["annotations"]["resolution.tekton.dev/revision"], **commit);
        }
        assert_eq!(data(&get("main", "/tasks/link.yaml").await), task("said", "second"));
        assert_eq!(data(&get("main", "folder/say.yaml").await), task("said", "second"));
        let error = |status: &Value| why(status).split("\": ").last().unwrap().to_owned();
        assert_eq!(error(&get("main", "nothing.yaml").await), "file does not exist");
        assert_eq!(error(&get("main", "pipeline.yaml/x").await), "file does not exist");
        assert_eq!(error(&get("main", "tasks").await), "read tasks: is a directory");
        assert!(error(&get("main", "tasks/out.yaml").await).contains("escape the repository directory"));
        let none = get("nope", "pipeline.yaml").await;
        assert!(
            why(&none).ends_with("git fetch error: fatal: couldn't find remote ref nope: exit status 128"),
            "{none}"
        );
        let unknown = get(&"0".repeat(39).chars().chain(['1']).collect::<String>(), "pipeline.yaml").await;
        assert!(why(&unknown).contains("git fetch error: "), "{unknown}");

        let other = format!("http://{}/nothing/r.git", server.at);
        let params = [("url", other.as_str()), ("revision", "main"), ("pathInRepo", "x")];
        let status = ask(&rig, "nothing", "git", &params).await;
        assert!(why(&status).contains(&format!("repository '{other}/' not found")), "{status}");
        let private = format!("http://{}/private/r/.git", server.at);
        let params = [
            ("url", private.as_str()),
            ("revision", "main"),
            ("pathInRepo", "pipeline.yaml"),
            ("gitToken", "login"),
        ];
        let status = ask(&rig, "locked", "git", &params[..3]).await;
        assert!(why(&status).ends_with("clone error: authentication required"), "{status}");
        rig.submit(secret("login", &[("token", "t\n")])).await;
        assert_eq!(data(&ask(&rig, "opened", "git", &params).await), pipeline("piped"));
    }
}

#[tokio::test]
async fn files_of_forges() {
    let (host, _jobs) = base::real::host();
    let forge = outside::forge(&host, task("t", "forged")).await;
    let rig = Rig::reaching(&forge.at, Hubs::default()).await;
    rig.submit(secret("login", &[("token", "t"), ("bad", "x")])).await;
    let server = format!("http://{}", forge.at);
    let params = [
        ("org", "o"),
        ("repo", "r"),
        ("pathInRepo", "a/task.yaml"),
        ("scmType", "gitea"),
        ("serverURL", server.as_str()),
        ("token", "login"),
    ];
    let status = ask(&rig, "forge", "git", &params).await;
    assert_eq!(data(&status), task("t", "forged"));
    let source = json!({"uri": "git+https://forge.example/o/r.git", "digest": {"sha1": "c".repeat(40)}, "entryPoint": "a/task.yaml"});
    assert_eq!(status["refSource"], source);
    assert_eq!(status["annotations"]["resolution.tekton.dev/org"], "o");
    let bad: Vec<(&str, &str)> = params.into_iter().chain([("tokenKey", "bad")]).collect();
    assert!(
        why(&ask(&rig, "bad", "git", &bad).await).ends_with("couldn't fetch resource content: Unauthorized")
    );
}

#[tokio::test]
async fn entries_of_hubs() {
    let (host, _jobs) = base::real::host();
    let hub = outside::hub(&host, [("task", task("say", "hub"))].into()).await;
    let url = format!("http://{}", hub.at);
    let hubs = Hubs { artifact: Some(url.clone()), tekton: Some(url.clone()) };
    let rig = Rig::reaching(&hub.at, hubs).await;
    for (name, version) in [("exact", "0.2"), ("range", ">= 0.1, < 1")] {
        let status = ask(&rig, name, "hub", &[("name", "say"), ("version", version)]).await;
        assert_eq!(data(&status), task("say", "hub"));
        let uri = format!("{url}/api/v1/packages/tekton-task/tekton-catalog-tasks/say/0.2.0");
        assert_eq!(status["refSource"]["uri"], uri);
    }
    let tekton = [("name", "say"), ("version", "0.3.0"), ("type", "tekton")];
    assert_eq!(data(&ask(&rig, "tekton", "hub", &tekton).await), task("say", "hub"));
    let status = ask(&rig, "high", "hub", &[("name", "say"), ("version", "> 3")]).await;
    assert_eq!(why(&status), "error getting \"Hub\" \"default/high\": no version found for constraint > 3");
    let status = ask(&rig, "none", "hub", &[("name", "none"), ("version", "latest")]).await;
    let entry = format!("{url}/api/v1/packages/tekton-task/tekton-catalog-tasks/none/latest");
    assert!(
        why(&status).ends_with(&format!(
            "fail to fetch Artifact Hub resource: requested resource '{entry}' not found on hub"
        )),
        "{status}"
    );
}

#[tokio::test]
async fn objects_in_bundles_and_what_cannot_change_is_kept() {
    let (host, _jobs) = base::real::host();
    let entries = [("task", "say", task("say", "bundled")), ("pipeline", "all", pipeline("all"))];
    let (registry, digest) = outside::registry(&host, &entries).await;
    let rig = Rig::reaching(&registry.at, Hubs::default()).await;
    let image = format!("{}/bundle", registry.at);
    let params = [("bundle", image.as_str()), ("name", "say")];
    let status = ask(&rig, "locked", "bundles", &params).await;
    assert!(why(&status).contains("cannot retrieve the oci image: GET "), "{status}");
    let config = json!({"auths": {&registry.at: {"username": "u", "password": "p"}}}).to_string();
    rig.submit(secret("pull", &[(".dockerconfigjson", &config)])).await;
    let with = |more: &[(&'static str, &str)]| -> Vec<(String, String)> {
        let all = params.iter().chain([&("secret", "pull")]).chain(more);
        let all: BTreeMap<String, String> = all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.into_iter().collect()
    };
    let get = async |name: &str, params: Vec<(String, String)>| {
        let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        ask(&rig, name, "bundles", &params).await
    };
    let status = get("opened", with(&[])).await;
    assert_eq!(data(&status), task("say", "bundled"));
    let source = json!({"uri": image, "digest": {"sha256": &digest[7..]}, "entryPoint": "say"});
    assert_eq!(status["refSource"], source);
    assert_eq!(status["annotations"]["resolution.tekton.dev/dev.tekton.image.kind"], "task");
    let whole = get("pipeline", with(&[("name", "all"), ("kind", "Pipeline")])).await;
    assert_eq!(data(&whole), pipeline("all"));
    let none = get("none", with(&[("name", "none")])).await;
    assert!(why(&none).ends_with("could not find object in image with kind: task and name: none"), "{none}");

    let pinned = format!("{image}@{digest}");
    let first = get("first", with(&[("bundle", &pinned)])).await;
    assert_eq!(first["annotations"]["resolution.tekton.dev/cache-operation"], "store");
    let asked = registry.asked.load(Ordering::Relaxed);
    let second = get("second", with(&[("bundle", &pinned)])).await;
    assert_eq!(data(&second), data(&first));
    assert_eq!(second["annotations"]["resolution.tekton.dev/cache-operation"], "retrieve");
    assert_eq!(registry.asked.load(Ordering::Relaxed), asked, "nobody is asked twice");
    let never = get("never", with(&[("bundle", &pinned), ("cache", "never")])).await;
    assert!(never["annotations"]["resolution.tekton.dev/cached"].is_null());
    assert!(registry.asked.load(Ordering::Relaxed) > asked);
    let forged = get("forged", with(&[("bundle", &format!("{image}@sha256:{}", "0".repeat(64)))])).await;
    assert!(why(&forged).contains("cannot retrieve the oci image"), "{forged}");
}

#[tokio::test]
async fn objects_of_the_same_tenant() {
    let rig = Rig::new();
    let object: Value = serde_yaml_ng::from_str(&task("own", "own")).unwrap();
    let key = rig.submit(object).await;
    let uid = rig.get(&key).await.unwrap().0["metadata"]["uid"].as_str().unwrap().to_owned();
    let params = [("kind", "task"), ("name", "own"), ("namespace", "default")];
    let status = ask(&rig, "own", "cluster", &params).await;
    let found: Value = serde_yaml_ng::from_str(&data(&status)).unwrap();
    assert_eq!(found["spec"]["steps"][0]["script"], "echo own");
    let uri = format!("/apis/tekton.dev/v1/namespaces/default/task/own@{uid}");
    assert_eq!(status["refSource"]["uri"], uri);
    assert_eq!(status["annotations"]["resolution.tekton.dev/namespace"], "default");
    let status = ask(&rig, "none", "cluster", &[("name", "none"), ("namespace", "default")]).await;
    assert_eq!(
        why(&status),
        "error getting \"Cluster\" \"default/none\": tasks.tekton.dev \"none\" not found"
    );
}

#[tokio::test]
async fn settings_are_a_tenants_own() {
    let rig = Rig::new();
    let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "tekton-pipelines-resolvers"}, "data": data});
    rig.submit(map("resolvers-feature-flags", json!({"enable-http-resolver": "false"}))).await;
    rig.submit(map(
        "cluster-resolver-config",
        json!({"default-kind": "task", "blocked-namespaces": "default"}),
    ))
    .await;
    let status = ask(&rig, "off", "http", &[("url", "https://h.example/")]).await;
    assert_eq!(
        why(&status),
        "invalid resource request \"default/off\": cannot handle resolution request, enable-http-resolver feature flag not true"
    );
    let status = ask(&rig, "blocked", "cluster", &[("name", "n"), ("namespace", "default")]).await;
    assert!(why(&status).ends_with("access to specified namespace default is blocked"), "{status}");
}

#[tokio::test]
async fn time_runs_out_and_others_may_answer() {
    let (host, _jobs) = base::real::host();
    let web = outside::web(&host, BTreeMap::new()).await;
    let rig = Rig::reaching(&web.at, Hubs::default()).await;
    let defaults = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "config-defaults", "namespace": "tekton-pipelines"},
        "data": {"default-maximum-resolution-timeout": "1s"}});
    let defaults = rig.submit(defaults).await;
    let slow = format!("http://{}/slow", web.at);
    for (name, resolver) in [("slow", "http"), ("strange", "mine")] {
        let status = ask(&rig, name, resolver, &[("url", &slow)]).await;
        assert_eq!(why(&status), "resolution took longer than global timeout of 1s");
        assert_eq!(status["conditions"][0]["reason"], "ResolutionTimedOut");
    }
    rig.edit(&defaults, &defaults, |map| map["data"] = json!({})).await;
    // A resolver that is not ours writes its answer, and the loop says that it is one.
    let key = rig.submit(request("answered", "mine", &[])).await;
    rig.until(&key, |request| !request["status"]["conditions"].is_null()).await;
    rig.edit(&key, &key, |request| request["status"]["data"] = json!(STANDARD.encode("x"))).await;
    assert_eq!(data(&rig.until_ended(&key).await["status"]), "x");
    rig.until_quiet().await;
}

fn child(rig_key: &ObjectKey, kind: &str, name: &str) -> ObjectKey {
    ObjectKey { tenant: TENANT.into(), kind: kind.into(), name: name.into(), ..rig_key.clone() }
}

#[tokio::test]
async fn runs_use_tasks_pipelines_and_actions_from_elsewhere() {
    let (host, _jobs) = base::real::host();
    let remote = format!(
        "apiVersion: tekton.dev/v1\nkind: Pipeline\nmetadata:\n  name: far\nspec:\n  tasks:\n  - name: far\n    taskRef:\n      resolver: http\n      params:\n      - name: url\n        value: {}\n",
        "$(params.base)/t.yaml"
    );
    let remote = remote.replace("spec:\n", "spec:\n  params:\n  - name: base\n");
    let files = [("/t.yaml", task("t", "hi")), ("/p.yaml", remote), ("/a.yaml", action("a"))];
    let web = outside::web(&host, files.map(|(path, text)| (path.to_owned(), text)).into()).await;
    let rig = Rig::reaching(&web.at, Hubs::default()).await;
    let base = format!("http://{}", web.at);
    let run = rig.submit(run_of("tr", "http", &[("url", &format!("{base}/t.yaml"))])).await;
    let seen = rig.until_it_has_a_pod(&run).await;
    assert_eq!(seen["status"]["provenance"]["refSource"]["uri"], format!("{base}/t.yaml"));
    assert_eq!(seen["status"]["taskSpec"]["steps"][0]["script"], "echo hi");

    let step = json!({"name": "s", "ref": {"resolver": "http", "params": given(&[("url", &format!("{base}/a.yaml"))])}});
    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "acts"},
        "spec": {"taskSpec": {"steps": [step]}}});
    let run = rig.submit(run).await;
    let seen = rig.until_it_has_a_pod(&run).await;
    assert_eq!(seen["status"]["taskSpec"]["steps"][0]["script"], "echo acted");

    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "pr"},
        "spec": {"params": [{"name": "base", "value": base}],
            "pipelineRef": {"resolver": "http", "params": given(&[("url", &format!("{base}/p.yaml"))])}}});
    let run = rig.submit(run).await;
    let child = child(&run, "taskruns.tekton.dev", "pr-far");
    let seen = rig.until_it_has_a_pod(&child).await;
    assert_eq!(seen["status"]["taskSpec"]["steps"][0]["script"], "echo hi");

    let run = rig.submit(run_of("bad", "http", &[("url", &format!("{base}/none"))])).await;
    let failed = rig.until_ended(&run).await;
    assert_eq!(reason(&failed), "TaskRunResolutionFailed");
}

#[tokio::test]
async fn every_resolver_serves_runs_with_tasks_pipelines_and_actions() {
    let (host, _jobs) = base::real::host();
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("r")).unwrap();
    outside::repository(&root.path().join("r"));
    let git = outside::git_server(&host, root.path(), true).await;
    let texts =
        [("task", task("say", "second")), ("pipeline", pipeline("all")), ("stepaction", action("acts"))];
    let web = outside::web(&host, texts.clone().map(|(kind, text)| (format!("/{kind}"), text)).into()).await;
    let hub = outside::hub(&host, texts.clone().into()).await;
    let entries = texts.clone().map(|(kind, text)| (kind, "say", text));
    let (registry, _) = outside::registry(&host, &entries).await;
    let hubs = Hubs { artifact: Some(format!("http://{}", hub.at)), tekton: None };
    let rig = Rig::reaching("127.0.0.1", hubs).await;
    let config = json!({"auths": {&registry.at: {"username": "u", "password": "p"}}}).to_string();
    rig.submit(secret("pull", &[(".dockerconfigjson", &config)])).await;
    for (kind, text) in &texts {
        let mut object: Value = serde_yaml_ng::from_str(text).unwrap();
        object["metadata"]["name"] = json!(format!("own-{kind}"));
        rig.submit(object).await;
    }
    let files =
        [("task", "tasks/deep/say.yaml"), ("pipeline", "pipeline.yaml"), ("stepaction", "tasks/action.yaml")];
    let owned = |all: &[(&str, String)]| -> Value {
        all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    for (kind, file) in files {
        let catalog = "c".to_owned();
        for (resolver, params) in [
            ("http", owned(&[("url", format!("http://{}/{kind}", web.at))])),
            (
                "git",
                owned(&[
                    ("url", format!("http://{}/r/.git", git.at)),
                    ("revision", "main".into()),
                    ("pathInRepo", file.into()),
                ]),
            ),
            (
                "hub",
                owned(&[
                    ("kind", kind.into()),
                    ("name", "say".into()),
                    ("version", "0.2".into()),
                    ("catalog", catalog.clone()),
                ]),
            ),
            (
                "bundles",
                owned(&[
                    ("bundle", format!("{}/bundle", registry.at)),
                    ("name", "say".into()),
                    ("kind", kind.into()),
                    ("secret", "pull".into()),
                ]),
            ),
            (
                "cluster",
                owned(&[
                    ("kind", kind.into()),
                    ("name", format!("own-{kind}")),
                    ("namespace", "default".into()),
                ]),
            ),
        ] {
            let reference = json!({"resolver": resolver, "params": params});
            let name = format!("{kind}-{resolver}");
            let (object, script) = match kind {
                "pipeline" => {
                    (json!({"kind": "PipelineRun", "spec": {"pipelineRef": reference}}), "echo piped")
                }
                "task" => (json!({"kind": "TaskRun", "spec": {"taskRef": reference}}), "echo second"),
                _ => {
                    let steps = json!([{"name": "s", "ref": reference}]);
                    (json!({"kind": "TaskRun", "spec": {"taskSpec": {"steps": steps}}}), "echo acted")
                }
            };
            let mut object = object;
            object["apiVersion"] = json!("tekton.dev/v1");
            object["metadata"] = json!({"name": name});
            let mut run = rig.submit(object).await;
            if kind == "pipeline" {
                run = child(&run, "taskruns.tekton.dev", &format!("{name}-only"));
            }
            let seen = rig.until_it_has_a_pod(&run).await;
            assert_eq!(seen["status"]["taskSpec"]["steps"][0]["script"], script, "{name}");
        }
    }
}

#[tokio::test]
async fn only_signed_tasks_run_where_a_policy_asks_for_it() {
    let (host, _jobs) = base::real::host();
    let signed: Value =
        serde_json::from_str(include_str!("../../../tekton/src/engine/trust/vectors/signed.json")).unwrap();
    let mut forged = signed["object"].clone();
    forged["spec"]["steps"][0]["script"] = json!("echo evil");
    let files = [
        ("/good.yaml", signed["object"].to_string()),
        ("/old.yaml", signed["older"].to_string()),
        ("/evil.yaml", forged.to_string()),
    ];
    let web = outside::web(&host, files.map(|(path, text)| (path.to_owned(), text)).into()).await;
    let rig = Rig::reaching(&web.at, Hubs::default()).await;
    rig.submit(secret("key", &[("cosign.pub", signed["key"].as_str().unwrap())])).await;
    let policy = json!({"apiVersion": "tekton.dev/v1alpha1", "kind": "VerificationPolicy", "metadata": {"name": "p"},
        "spec": {"resources": [{"pattern": format!("http://{}/.*", web.at)}],
            "authorities": [{"name": "a", "key": {"secretRef": {"name": "key", "namespace": "default"}}}]}});
    rig.submit(policy).await;
    let verified = |run: &Value| {
        let conditions = run["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|c| c["type"] == "TrustedResourcesVerified").cloned().unwrap_or_default()
    };
    // What was signed is the object as it is there, of whatever version.
    for file in ["good", "old"] {
        let url = format!("http://{}/{file}.yaml", web.at);
        let run = rig.submit(run_of(file, "http", &[("url", &url)])).await;
        let seen = rig.until_it_has_a_pod(&run).await;
        assert_eq!(verified(&seen)["status"], "True", "{seen:#}");
    }
    let run = rig.submit(run_of("evil", "http", &[("url", &format!("http://{}/evil.yaml", web.at))])).await;
    let failed = rig.until_ended(&run).await;
    assert_eq!(reason(&failed), "ResourceVerificationFailed");
    let why = "resource verification failed: resource signed in namespace  fails verification";
    assert_eq!((&verified(&failed)["status"], &verified(&failed)["message"]), (&json!("False"), &json!(why)));
    assert!(failed["status"]["podName"].as_str().unwrap_or("").is_empty());
}
