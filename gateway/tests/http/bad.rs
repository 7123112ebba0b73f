//! Bad input: never a panic, always a Status that says what is wrong, and nothing is lost.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tenancy::access::Role;

use super::{RUNS, Rig, taskrun};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const MERGE: &str = "application/merge-patch+json";

fn named(name: &str) -> String {
    taskrun(name).to_string()
}

fn edited(edit: impl FnOnce(&mut Value)) -> String {
    let mut run = taskrun("bad");
    edit(&mut run);
    run.to_string()
}

/// What, method, path, type of content, body, codes.
type Case<'a> = (&'a str, &'a Method, &'a str, &'a str, Vec<u8>, &'a [u16]);

#[tokio::test]
async fn what_is_malformed_is_refused_in_words() {
    let rig = Rig::new().await;
    let token = rig.token("acme", Role::Admin);
    rig.create(&token, RUNS, &taskrun("there")).await;
    let before = rig.get(&token, &format!("{RUNS}/there")).await.1;
    let strict = format!("{RUNS}?fieldValidation=Strict");
    let dry = format!("{RUNS}?dryRun=Some");
    let there = format!("{RUNS}/there");
    let (post, patch, put) = (Method::POST, Method::PATCH, Method::PUT);
    let cases: Vec<Case<'_>> = vec![
        ("no body", &post, RUNS, JSON, vec![], &[400]),
        ("half a document", &post, RUNS, JSON, b"{\"a\":".to_vec(), &[400]),
        ("a list", &post, RUNS, JSON, b"[]".to_vec(), &[400]),
        ("a number", &post, RUNS, JSON, b"7".to_vec(), &[400]),
        ("no UTF-8", &post, RUNS, JSON, b"{\"kind\":\"\xff\xfe\"}".to_vec(), &[400]),
        ("deeply nested", &post, RUNS, JSON, "[".repeat(100_000).into_bytes(), &[400]),
        ("deeply nested YAML", &post, RUNS, YAML, "[".repeat(100_000).into_bytes(), &[400]),
        ("malformed YAML", &post, RUNS, YAML, b"a: [b\n c: }".to_vec(), &[400]),
        ("YAML with a bomb of aliases", &post, RUNS, YAML, bomb(), &[400, 413]),
        ("another kind", &post, RUNS, JSON, edited(|r| r["kind"] = "Task".into()).into(), &[422]),
        (
            "another version",
            &post,
            RUNS,
            JSON,
            edited(|r| r["apiVersion"] = "tekton.dev/v9".into()).into(),
            &[400],
        ),
        (
            "another namespace",
            &post,
            RUNS,
            JSON,
            edited(|r| r["metadata"]["namespace"] = "x".into()).into(),
            &[400],
        ),
        (
            "metadata of a wrong type",
            &post,
            RUNS,
            JSON,
            edited(|r| r["metadata"] = json!([])).into(),
            &[400, 422],
        ),
        (
            "labels of a wrong type",
            &post,
            RUNS,
            JSON,
            edited(|r| r["metadata"]["labels"] = json!({"a": 1})).into(),
            &[400, 422],
        ),
        ("a spec of a wrong type", &post, RUNS, JSON, edited(|r| r["spec"] = "x".into()).into(), &[400, 422]),
        (
            "an unknown field",
            &post,
            &strict,
            JSON,
            edited(|r| r["spec"]["nonsense"] = 1.into()).into(),
            &[400],
        ),
        (
            "a key twice",
            &post,
            &strict,
            JSON,
            named("bad").replace("\"kind\"", "\"kind\":\"TaskRun\",\"kind\"").into(),
            &[400],
        ),
        (
            "no name",
            &post,
            RUNS,
            JSON,
            edited(|r| drop(r["metadata"].as_object_mut().unwrap().remove("name"))).into(),
            &[422],
        ),
        ("a name with capitals", &post, RUNS, JSON, named("Bad").into(), &[422]),
        ("a name with a slash", &post, RUNS, JSON, named("a/b").into(), &[422]),
        ("a name that climbs", &post, RUNS, JSON, named("..").into(), &[422]),
        ("a very long name", &post, RUNS, JSON, named(&"a".repeat(300)).into(), &[422]),
        ("a name with a NUL", &post, RUNS, JSON, named("a\u{0}b").into(), &[422]),
        (
            "huge annotations",
            &post,
            RUNS,
            JSON,
            edited(|r| r["metadata"]["annotations"] = json!({"a": "b".repeat(300_000)})).into(),
            &[422],
        ),
        ("a body of 10 MiB", &post, RUNS, JSON, vec![b' '; 10 << 20], &[413]),
        ("a type of content that is none", &post, RUNS, "text/plain", named("bad").into(), &[415]),
        (
            "a namespace that is not there",
            &post,
            "/apis/tekton.dev/v1/namespaces/nowhere/taskruns",
            JSON,
            named("bad").into(),
            &[404],
        ),
        ("a wrong dryRun", &post, &dry, JSON, named("bad").into(), &[400, 422]),
        ("what is there already", &post, RUNS, JSON, named("there").into(), &[409]),
        ("a patch of no kind", &patch, &there, "application/zip", b"{}".to_vec(), &[415]),
        ("a malformed patch", &patch, &there, MERGE, b"{".to_vec(), &[400]),
        (
            "a JSON patch of nonsense",
            &patch,
            &there,
            "application/json-patch+json",
            b"[{\"op\":\"jump\"}]".to_vec(),
            &[400, 422],
        ),
        (
            "a JSON patch into nowhere",
            &patch,
            &there,
            "application/json-patch+json",
            b"[{\"op\":\"remove\",\"path\":\"/a/b\"}]".to_vec(),
            &[422],
        ),
        (
            "a patch that renames",
            &patch,
            &there,
            MERGE,
            b"{\"metadata\":{\"name\":\"x\"}}".to_vec(),
            &[400, 422],
        ),
        ("a replacement under another name", &put, &there, JSON, named("other").into(), &[400]),
        (
            "a replacement of a stale version",
            &put,
            &there,
            JSON,
            edited(|r| {
                r["metadata"]["name"] = "there".into();
                r["metadata"]["resourceVersion"] = "1".into();
            })
            .into(),
            &[409],
        ),
    ];
    let mut wrong: Vec<String> = Vec::new();
    for (what, method, path, kind, body, expected) in cases {
        let (status, answer) = rig.ask(&token, method.clone(), path, kind, body).await;
        if !expected.contains(&status.as_u16()) {
            wrong.push(format!("{what}: {status} {answer}"));
            continue;
        }
        assert_eq!(
            (&answer["kind"], &answer["status"]),
            (&json!("Status"), &json!("Failure")),
            "{what}: {answer}"
        );
        assert_eq!(answer["code"], status.as_u16(), "{what}");
        assert!(answer["message"].as_str().is_some_and(|m| m.len() > 5), "{what} says nothing: {answer}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let queries = [
        "limit=many",
        "resourceVersion=new",
        "continue=nonsense",
        "labelSelector=a%20in%20(",
        "fieldSelector=a%20b",
        "fieldSelector=spec.nonsense%3Dx",
        "watch=true&resourceVersion=x",
        "resourceVersionMatch=Exact",
        "watch=true&resourceVersionMatch=Exact&resourceVersion=1",
    ];
    for query in queries {
        let (status, answer) = rig.get(&token, &format!("{RUNS}?{query}")).await;
        assert!(status.is_client_error(), "{query}: {status}");
        assert_eq!(answer["kind"], "Status", "{query}: {answer}");
    }
    assert_eq!(rig.get(&token, &there).await.1, before, "nothing of this has changed what was there");
}

/// Nine levels of nine aliases: more than any memory.
fn bomb() -> Vec<u8> {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for n in 1..=9 {
        let of = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", vec![of; 9].join(","));
    }
    text.into_bytes()
}

/// Valid documents with bytes changed, dropped and doubled: accepted or refused, never a failure of ours.
#[tokio::test]
async fn no_mutation_of_a_document_makes_the_server_fail() {
    let rig = Rig::new().await;
    let token = rig.token("acme", Role::Admin);
    let mut rng = SmallRng::seed_from_u64(1);
    let yaml = "apiVersion: tekton.dev/v1\nkind: TaskRun\nmetadata: {name: m, labels: {a: b}}\nspec:\n  taskSpec:\n    steps:\n    - {name: a, image: busybox, script: 'true'}\n";
    for round in 0..3000 {
        let (kind, text) = if round % 2 == 0 { (JSON, named("m")) } else { (YAML, yaml.to_owned()) };
        let mut bytes = text.into_bytes();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len().max(2)).min(bytes.len().saturating_sub(1));
            if bytes.is_empty() {
                break;
            }
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, *b"{}[]:,\"'-& \n".get(rng.random_range(0..12)).unwrap()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let (status, answer) = rig.ask(&token, Method::POST, RUNS, kind, bytes).await;
        assert!(!status.is_server_error(), "{status} {answer} for {shown}");
        if status.is_client_error() {
            assert_eq!(answer["kind"], "Status", "{shown}");
        }
    }
    assert_eq!(rig.get(&token, RUNS).await.0, StatusCode::OK);
}

#[tokio::test]
async fn watchers_that_vanish_leave_nothing_behind() {
    let rig = Rig::new().await;
    let token = rig.token("acme", Role::Admin);
    let open = || rig.app.counts.watches.get();
    let mut watches = Vec::new();
    for _ in 0..40 {
        let request = Request::get(format!("{RUNS}?watch=true"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let response = rig.raw(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        watches.push(response.into_body());
    }
    assert_eq!(open(), 40);
    rig.create(&token, RUNS, &taskrun("seen")).await;
    watches.truncate(3);
    for _ in 0..100 {
        if open() == 3 {
            break;
        }
        rig.host.clock.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(open(), 3);
    let mut left = watches.remove(0);
    let frame = http_body_util::BodyExt::frame(&mut left).await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&frame).contains("\"seen\""), "who stays sees everything");
}
