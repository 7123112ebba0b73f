//! Kinds in all their versions, the rules of Tekton, the settings of a tenant.

use axum::body::Body;
use gateway::Admission;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tenancy::access::Role;

use super::Rig;

const OLD: &str = "/apis/tekton.dev/v1beta1/namespaces/default";
const NEW: &str = "/apis/tekton.dev/v1/namespaces/default";
const MERGE: &str = "application/merge-patch+json";
const SETTINGS: &str = "/api/v1/namespaces/tekton-pipelines/configmaps";

async fn rig() -> (Rig, String) {
    let rig = Rig::admitting(Admission::Tekton).await;
    let token = rig.token("acme", Role::Admin);
    (rig, token)
}

fn old_task(name: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1beta1", "kind": "Task", "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"steps": [{"name": "s", "image": "i", "tty": true, "timeout": "90s", "resources": {"requests": {"cpu": "1"}}}]},
    })
}

#[tokio::test]
async fn an_older_version_is_written_read_listed_and_patched_as_itself() {
    let (rig, token) = rig().await;
    let (code, made) = rig.create(&token, &format!("{OLD}/tasks"), &old_task("t")).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["apiVersion"], "tekton.dev/v1beta1");
    assert_eq!(made["spec"]["steps"][0]["resources"]["requests"]["cpu"], "1");
    assert_eq!(made["spec"]["steps"][0]["timeout"], "1m30s");
    let (_, new) = rig.get(&token, &format!("{NEW}/tasks/t")).await;
    assert_eq!(new["apiVersion"], "tekton.dev/v1");
    assert_eq!(new["spec"]["steps"][0]["computeResources"]["requests"]["cpu"], "1");
    assert_eq!(new["spec"]["steps"][0].get("tty"), None);
    let (_, old) = rig.get(&token, &format!("{OLD}/tasks/t")).await;
    assert_eq!(old, made, "what was answered is what is read");
    let (_, list) = rig.get(&token, &format!("{OLD}/tasks?labelSelector=a%3Db")).await;
    assert_eq!(list["apiVersion"], "tekton.dev/v1beta1");
    assert_eq!(list["items"], json!([old]));
    let path = format!("{OLD}/tasks/t");
    let patch = json!({"spec": {"description": "d"}}).to_string();
    let (code, patched) = rig.ask(&token, Method::PATCH, &path, MERGE, patch).await;
    assert_eq!(code, StatusCode::OK, "{patched}");
    assert_eq!(patched["spec"]["description"], "d");
    assert_eq!(patched["spec"]["steps"][0]["tty"], true, "a field that v1 has not comes back");
    let (code, gone) = rig.ask(&token, Method::DELETE, &path, "", Body::empty()).await;
    assert_eq!((code, &gone["status"]), (StatusCode::OK, &json!("Success")));
}

#[tokio::test]
async fn a_watch_shows_the_version_that_was_asked_for() {
    let (rig, token) = rig().await;
    rig.create(
        &token,
        &format!("{NEW}/tasks"),
        &json!({
            "apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"},
            "spec": {"steps": [{"image": "i", "computeResources": {"limits": {"cpu": "2"}}}]},
        }),
    )
    .await;
    let request = Request::get(format!("{OLD}/tasks?watch=true&timeoutSeconds=1"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let body = rig.raw(request).await.into_body().collect().await.unwrap().to_bytes();
    let first: Value = serde_json::from_slice(body.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["type"], "ADDED");
    assert_eq!(first["object"]["apiVersion"], "tekton.dev/v1beta1");
    assert_eq!(first["object"]["spec"]["steps"][0]["resources"]["limits"]["cpu"], "2");
}

#[tokio::test]
async fn a_pipeline_in_a_pipeline_survives_an_older_client() {
    let (rig, token) = rig().await;
    let flags = format!("{SETTINGS}/feature-flags");
    let alpha = json!({"data": {"enable-api-fields": "alpha"}}).to_string();
    assert_eq!(rig.ask(&token, Method::PATCH, &flags, MERGE, alpha).await.0, StatusCode::OK);
    let (code, made) = rig
        .create(
            &token,
            &format!("{NEW}/pipelines"),
            &json!({
                "apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"},
                "spec": {"tasks": [{"name": "a", "pipelineRef": {"name": "inner"}}]},
            }),
        )
        .await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let path = format!("{OLD}/pipelines/p");
    let patch = json!({"metadata": {"labels": {"seen": "yes"}}}).to_string();
    assert_eq!(rig.ask(&token, Method::PATCH, &path, MERGE, patch).await.0, StatusCode::OK);
    let (_, new) = rig.get(&token, &format!("{NEW}/pipelines/p")).await;
    assert_eq!(new["spec"]["tasks"][0]["pipelineRef"]["name"], "inner");
    assert_eq!(new["metadata"]["labels"]["seen"], "yes");
}

#[tokio::test]
async fn requests_and_policies_and_step_actions_are_served() {
    let (rig, token) = rig().await;
    // A request is placed like a run, and there is no cell here; its conversion has tests of its own.
    for version in ["v1alpha1", "v1beta1"] {
        let requests = format!("/apis/resolution.tekton.dev/{version}/namespaces/default/resolutionrequests");
        let (code, list) = rig.get(&token, &requests).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(list["apiVersion"], format!("resolution.tekton.dev/{version}"));
    }
    let policies = "/apis/tekton.dev/v1alpha1/namespaces/default/verificationpolicies";
    let policy = |pattern: &str| {
        json!({
            "apiVersion": "tekton.dev/v1alpha1", "kind": "VerificationPolicy", "metadata": {"name": "v"},
            "spec": {"resources": [{"pattern": pattern}], "authorities": [{"name": "k", "key": {"kms": "gcpkms://x"}}]},
        })
    };
    let (code, refused) = rig.create(&token, policies, &policy("(a")).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(refused["message"].as_str().unwrap().contains("missing closing )"), "{refused}");
    assert_eq!(rig.create(&token, policies, &policy("a")).await.0, StatusCode::CREATED);
    let actions = "/apis/tekton.dev/v1alpha1/namespaces/default/stepactions";
    let action = json!({"apiVersion": "tekton.dev/v1alpha1", "kind": "StepAction", "metadata": {"name": "s"}, "spec": {"image": "i"}});
    assert_eq!(rig.create(&token, actions, &action).await.0, StatusCode::CREATED);
    let (_, new) = rig.get(&token, &actions.replace("v1alpha1", "v1beta1")).await;
    assert_eq!(new["items"][0]["apiVersion"], "tekton.dev/v1beta1");
}

#[tokio::test]
async fn a_refusal_says_what_would_be_accepted_beside_the_references_words() {
    let (rig, token) = rig().await;
    let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {"steps": []}});
    let request = Request::post(format!("{NEW}/tasks"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(task.to_string()))
        .unwrap();
    let response = rig.raw(request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let warning = response.headers()["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("set spec.steps"), "{warning}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap();
    let message = status["message"].as_str().unwrap();
    assert!(
        message.ends_with("denied the request: validation failed: missing field(s): spec.steps"),
        "{message}"
    );
    assert_eq!(status["details"]["causes"][0]["reason"], "AcceptedValue");
}

#[tokio::test]
async fn settings_are_there_with_their_defaults_and_are_checked() {
    let (rig, token) = rig().await;
    let (_, all) = rig.get(&token, SETTINGS).await;
    let names: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|c| c["metadata"]["name"].as_str().unwrap()).collect();
    for name in [
        "feature-flags",
        "config-defaults",
        "config-events",
        "config-spire",
        "config-observability",
        "config-tracing",
        "config-registry-cert",
        "pipelines-info",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for item in all["items"].as_array().unwrap() {
        let data = item["data"].as_object().into_iter().flatten();
        let data = data.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
        tekton::api::config::check(item["metadata"]["name"].as_str().unwrap(), &data).unwrap();
    }
    let (_, resolvers) = rig.get(&token, &SETTINGS.replace("pipelines", "pipelines-resolvers")).await;
    assert!(
        resolvers["items"].as_array().unwrap().iter().any(|c| c["metadata"]["name"] == "git-resolver-config")
    );
    let flags = format!("{SETTINGS}/feature-flags");
    let bad = json!({"data": {"coschedule": "nope"}}).to_string();
    let (code, refused) = rig.ask(&token, Method::PATCH, &flags, MERGE, bad).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with("invalid value for feature flag \"coschedule\": \"nope\""), "{message}");
}

#[tokio::test]
async fn settings_that_a_tenant_lacks_are_made_and_others_left_alone() {
    let (rig, token) = rig().await;
    let path = |name: &str| format!("{SETTINGS}/{name}");
    let own = json!({"data": {"default-timeout-minutes": "7"}}).to_string();
    let (code, _) = rig.ask(&token, Method::PATCH, &path("config-defaults"), MERGE, own).await;
    assert_eq!(code, StatusCode::OK);
    for name in ["pipelines-info", "config-tracing"] {
        let (code, _) = rig.ask(&token, Method::DELETE, &path(name), "", Body::empty()).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(rig.get(&token, &path(name)).await.0, StatusCode::NOT_FOUND);
    }
    let id = tenancy::id::TenantId::parse("acme").unwrap();
    store::tenant::found(&rig.store, &rig.host, &id, Vec::new()).await.unwrap();
    let (_, info) = rig.get(&token, &path("pipelines-info")).await;
    assert_eq!(info["data"]["version"], store::tenant::TEKTON);
    assert_eq!(rig.get(&token, &path("config-tracing")).await.0, StatusCode::OK);
    let (_, defaults) = rig.get(&token, &path("config-defaults")).await;
    assert_eq!(defaults["data"]["default-timeout-minutes"], "7", "what is there stays");
    // Nothing lacks now: nothing is written.
    let (_, before) = rig.get(&token, SETTINGS).await;
    store::tenant::found(&rig.store, &rig.host, &id, Vec::new()).await.unwrap();
    assert_eq!(rig.get(&token, SETTINGS).await.1["items"], before["items"]);
}
