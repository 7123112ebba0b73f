use serde_json::{Value, json};

use super::{Admission, Effect, Request};
use crate::kind::by_kind;
use crate::meta::Part;
use crate::options::Params;
use crate::schema::Required;
use crate::status::Status;
use crate::time::Micros;

const NOBODY: Admission<'_> =
    Admission { change: &|_, _| Ok(()), check: &|_, _| Ok(Vec::new()), required: Required::Loose };

fn request<'a>(kind: (&str, &str), name: &'a str, params: &'a Params, body: &'a [u8]) -> Request<'a> {
    Request {
        kind: by_kind(kind.0, kind.1).expect("registered"),
        version: "v1",
        namespace: if kind.1 == "Namespace" { "" } else { "ns" },
        name,
        part: Part::Main,
        params,
        content_type: None,
        user_agent: "test/1",
        body,
        uid: "u",
        random: [0; 5],
        now: Micros(1_700_000_000_000_000),
    }
}

#[test]
fn admission_changes_first_and_checks_last() {
    let params = Params::default();
    let body = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "a"}, "spec": {}})
        .to_string();
    let admission = Admission {
        change: &|object: &mut Value, _| {
            object["spec"]["description"] = "set".into();
            Ok(())
        },
        check: &|object: &Value, _| match object["metadata"]["uid"].as_str() {
            Some("u") if object["spec"]["description"] == "set" => Ok(vec!["checked".to_owned()]),
            _ => Err(Status::bad_request("too early")),
        },
        required: Required::Loose,
    };
    let prepared =
        request(("tekton.dev", "Task"), "", &params, body.as_bytes()).create(&admission).expect("valid");
    assert_eq!((prepared.effect, prepared.warnings), (Effect::Create, vec!["checked".to_owned()]));
    assert_eq!(prepared.object["metadata"]["managedFields"][0]["manager"], "test");
}

#[test]
fn core_kinds_are_completed_and_may_be_replaced_without_a_version() {
    let params = Params::default();
    let body =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "1"}})
            .to_string();
    let created =
        request(("", "Secret"), "", &params, body.as_bytes()).create(&NOBODY).expect("valid").object;
    assert_eq!((&created["data"], &created["type"]), (&json!({"a": "MQ=="}), &json!("Opaque")));
    let same = request(("", "Secret"), "s", &params, body.as_bytes())
        .update(Some(&created), &NOBODY)
        .expect("valid");
    assert_eq!(same.effect, Effect::Nothing);
    let patch = br#"{"data":{"a":null,"b":"Mg=="}}"#;
    let mut patched = request(("", "Secret"), "s", &params, patch);
    patched.content_type = Some("application/strategic-merge-patch+json");
    let patched = patched.patch(Some(&created), &NOBODY).expect("valid");
    assert_eq!((patched.effect, &patched.object["data"]), (Effect::Replace, &json!({"b": "Mg=="})));
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}).to_string();
    let namespace =
        request(("", "Namespace"), "", &params, body.as_bytes()).create(&NOBODY).expect("valid").object;
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let params = Params::default();
    let body = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "a"}}).to_string();
    let request = request(("tekton.dev", "Task"), "a", &params, body.as_bytes());
    assert_eq!(request.update(None, &NOBODY).unwrap_err().code, 404);
    let merge = Request { content_type: Some("application/merge-patch+json"), ..request };
    assert_eq!(merge.patch(None, &NOBODY).unwrap_err().code, 404);
    let strategic = Request { content_type: Some("application/strategic-merge-patch+json"), ..request };
    assert_eq!(strategic.patch(None, &NOBODY).unwrap_err().code, 415);
    let named = Params::parse("fieldManager=m");
    let apply = Request { content_type: Some("application/apply-patch+yaml"), params: &named, ..request };
    assert_eq!(apply.patch(None, &NOBODY).expect("creates").effect, Effect::Create);
}
