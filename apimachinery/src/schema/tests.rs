use serde_json::{Value, json};

use super::{FieldValidation, Required, Schema, conform, conform_patched, validate};
use crate::kind::{Kind, all, by_kind};
use crate::meta::Part;

fn task() -> &'static Kind {
    by_kind("tekton.dev", "Task").expect("registered")
}

fn run(object: &Value) -> Result<(), crate::status::Status> {
    validate(
        by_kind("tekton.dev", "TaskRun").expect("registered"),
        "v1",
        object,
        Part::Main,
        Required::Strict,
    )
}

#[test]
fn every_version_of_every_stored_kind_has_a_schema() {
    for kind in all() {
        for version in kind.versions {
            assert!(Schema::of(kind, version.name).is_some(), "{} {}", kind.id(), version.name);
        }
    }
}

#[test]
fn unknown_fields_are_named_and_dropped() {
    let sent = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "a", "labls": {}},
        "spec": {"steps": [{"name": "s", "scrpt": "x"}], "bogus": 1}, "extra": true});
    let mut object = sent.clone();
    let duplicates = ["duplicate field \"spec.x\"".to_owned()];
    let warnings =
        conform(task(), "v1", &mut object, &duplicates, FieldValidation::Warn).expect("acceptable");
    assert_eq!(
        warnings,
        [
            "duplicate field \"spec.x\"",
            "unknown field \"metadata.labls\"",
            "unknown field \"extra\"",
            "unknown field \"spec.bogus\"",
            "unknown field \"spec.steps[0].scrpt\"",
        ]
    );
    assert_eq!(object["spec"], json!({"steps": [{"name": "s"}]}));
    assert_eq!(object.get("extra"), None);
    let refused = conform(task(), "v1", &mut sent.clone(), &[], FieldValidation::Strict).unwrap_err();
    assert_eq!(
        refused.message,
        "Task in version \"v1\" cannot be handled as a Task: strict decoding error: unknown field \"metadata.labls\", \
         unknown field \"extra\", unknown field \"spec.bogus\", unknown field \"spec.steps[0].scrpt\""
    );
    assert!(conform(task(), "v1", &mut sent.clone(), &[], FieldValidation::Ignore).expect("fine").is_empty());
    assert_eq!(
        conform_patched(task(), "v1", &mut sent.clone(), FieldValidation::Strict).unwrap_err().code,
        422
    );
}

#[test]
fn preserved_subtrees_keep_everything() {
    let value = json!({"anything": {"goes": [null, 1]}});
    let mut object =
        json!({"metadata": {"name": "a"}, "spec": {"params": [{"name": "p", "default": value}]}});
    let warnings = conform(task(), "v1", &mut object, &[], FieldValidation::Strict).expect("acceptable");
    assert!(warnings.is_empty());
    assert_eq!(object["spec"]["params"][0]["default"], value);
}

#[test]
fn nulls_go_and_defaults_come() {
    let mut object = json!({"metadata": {"name": "a"}, "spec": {"description": null, "params": null,
        "steps": [{"name": "s", "script": null, "env": null}],
        "sidecars": [{"name": "c", "ports": [{"containerPort": 80}]}]}});
    conform(task(), "v1", &mut object, &[], FieldValidation::Strict).expect("acceptable");
    assert_eq!(
        object["spec"],
        json!({"steps": [{"name": "s"}],
               "sidecars": [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]})
    );
}

#[test]
fn faults_are_told_in_the_references_words() {
    for (spec, message) in [
        (
            json!({"steps": "x"}),
            "spec.steps: Invalid value: \"string\": spec.steps in body must be of type array: \"string\"",
        ),
        (
            json!({"description": 5}),
            "spec.description: Invalid value: \"integer\": spec.description in body must be of type string: \"integer\"",
        ),
        (
            json!({"steps": [null]}),
            "spec.steps[0]: Invalid value: \"null\": spec.steps[0] in body must be of type object: \"null\"",
        ),
        (json!("text"), "spec: Invalid value: \"string\": spec in body must be of type object: \"string\""),
        (
            json!({"steps": [{"image": "i", "timeout": 5}]}),
            "[spec.steps[0].timeout: Invalid value: \"integer\": spec.steps[0].timeout in body must be of type string: \"integer\", spec.steps[0].name: Required value]",
        ),
    ] {
        let object = json!({"metadata": {"name": "a"}, "spec": spec});
        let status = validate(task(), "v1", &object, Part::Main, Required::Strict).unwrap_err();
        assert_eq!(status.message, format!("Task.tekton.dev \"a\" is invalid: {message}"));
    }
}

#[test]
fn status_is_validated_on_its_own() {
    let kind = by_kind("tekton.dev", "TaskRun").expect("registered");
    let object = json!({"metadata": {"name": "a"}, "spec": "wrong", "status": {"conditions": "x"}});
    let status = validate(kind, "v1", &object, Part::Status, Required::Strict).unwrap_err();
    assert_eq!(
        status.message,
        "TaskRun.tekton.dev \"a\" is invalid: [status.conditions: Invalid value: \"string\": conditions in body must be \
         of type array: \"string\", status.podName: Required value]"
    );
}

#[test]
fn a_required_text_may_be_missing_when_taken_loosely() {
    let object = json!({"metadata": {"name": "a"}, "spec": {"steps": [{"image": "i"}]}});
    assert!(validate(task(), "v1", &object, Part::Main, Required::Strict).is_err());
    assert!(validate(task(), "v1", &object, Part::Main, Required::Loose).is_ok());
}

#[test]
fn formats_and_quantities() {
    let with = |member: &str, value: Value| json!({"metadata": {"name": "a"}, "spec": {member: value}});
    assert!(run(&with("computeResources", json!({"limits": {"cpu": 1, "memory": "1Gi"}}))).is_ok());
    let status = run(&with("computeResources", json!({"limits": {"cpu": "lots"}}))).unwrap_err();
    assert!(
        status.message.contains("spec.computeResources.limits.cpu in body should match '^(\\+|-)?"),
        "{}",
        status.message
    );
    assert!(run(&with("computeResources", json!({"limits": {"cpu": true}}))).is_err());
    assert!(run(&with("retries", json!(2.0))).is_ok());
    assert!(run(&with("retries", json!(2.5))).is_err());
    let claims = json!({"claims": [{"name": "x"}, {"name": "x", "request": "r"}]});
    let status = run(&with("computeResources", claims)).unwrap_err();
    assert!(
        status.message.ends_with("spec.computeResources.claims[1]: Duplicate value: {\"name\":\"x\"}"),
        "{}",
        status.message
    );
    let late = json!({"metadata": {"name": "a"}, "status": {"podName": "", "startTime": "yesterday"}});
    assert!(run(&late).unwrap_err().message.contains("must be of type date-time: \"yesterday\""));
}

#[test]
fn core_kinds_refuse_wrong_types_at_once() {
    let secret = by_kind("", "Secret").expect("registered");
    let mut object = json!({"metadata": {"name": "a"}, "data": {"k": 5}});
    let status = conform(secret, "v1", &mut object, &[], FieldValidation::Warn).unwrap_err();
    assert_eq!(status.code, 400);
    assert!(
        status.message.starts_with("Secret in version \"v1\" cannot be handled as a Secret: "),
        "{}",
        status.message
    );
    let mut object = json!({"metadata": {"name": "a"}, "data": {"k": "dg=="}, "typo": 1});
    let warnings = conform(secret, "v1", &mut object, &[], FieldValidation::Warn).expect("acceptable");
    assert_eq!(warnings, ["unknown field \"typo\""]);
}
