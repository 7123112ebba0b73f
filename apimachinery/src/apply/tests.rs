use serde_json::{Value, json};

use super::set::FieldSet;
use super::{Writer, apply, track_create, track_update};
use crate::kind::{Kind, by_kind};
use crate::time::Micros;

fn task() -> &'static Kind {
    by_kind("tekton.dev", "Task").expect("registered")
}

fn writer(manager: &str, second: i64) -> Writer<'_> {
    Writer { manager, version: "v1", subresource: "", now: Micros(second * 1_000_000) }
}

fn object(metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": metadata, "spec": spec})
}

fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn field_sets_go_there_and_back() {
    let text = json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"x\"": {}},
        "f:ownerReferences": {"k:{\"uid\":\"u\"}": {".": {}, "f:name": {}}}}, "f:spec": {}});
    let set = FieldSet::from_value(&text).expect("valid");
    assert_eq!(set.to_value(), text);
    assert_eq!(
        set.paths(),
        [
            ".spec",
            ".metadata.finalizers",
            ".metadata.finalizers[=\"x\"]",
            ".metadata.ownerReferences[uid=\"u\"]",
            ".metadata.ownerReferences[uid=\"u\"].name"
        ]
    );
    for bad in [json!(1), json!({"x": {}}), json!({"f:a": 1}), json!({"k:nope": {}}), json!({"i:x": {}})] {
        assert_eq!(FieldSet::from_value(&bad), None, "{bad}");
    }
}

#[test]
fn plain_writes_are_recorded() {
    let mut created = object(
        json!({"name": "a", "annotations": {"a": "1", "b": "2"}}),
        json!({"steps": [], "description": "x"}),
    );
    track_create(task(), &mut created, &writer("one", 1));
    assert_eq!(
        fields(&created, "one"),
        json!({"f:metadata": {"f:annotations": {".": {}, "f:a": {}, "f:b": {}}},
               "f:spec": {".": {}, "f:description": {}, "f:steps": {}}})
    );
    let mut changed = created.clone();
    changed["metadata"]["annotations"] = json!({"a": "9"});
    track_update(task(), &created, &mut changed, &writer("two", 2));
    assert_eq!(fields(&changed, "one")["f:metadata"], json!({"f:annotations": {}}));
    assert_eq!(fields(&changed, "two"), json!({"f:metadata": {"f:annotations": {"f:a": {}}}}));
    let mut same = changed.clone();
    track_update(task(), &changed, &mut same, &writer("three", 3));
    assert_eq!(same, changed);
}

#[test]
fn appliers_own_what_they_say_and_lose_what_they_drop() {
    let config = |spec: Value| object(json!({"name": "a"}), spec);
    let first = config(json!({"description": "x", "displayName": "y"}));
    let live = apply(task(), None, &first, &writer("m", 1), false).expect("new");
    assert_eq!(fields(&live, "m"), json!({"f:spec": {"f:description": {}, "f:displayName": {}}}));
    assert_eq!(apply(task(), Some(&live), &first, &writer("m", 9), false).expect("same"), live);
    let conflict =
        apply(task(), Some(&live), &config(json!({"description": "z"})), &writer("n", 2), false).unwrap_err();
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"m\": .spec.description");
    let forced = apply(task(), Some(&live), &config(json!({"description": "z"})), &writer("n", 2), true)
        .expect("forced");
    assert_eq!(fields(&forced, "m"), json!({"f:spec": {"f:displayName": {}}}));
    let dropped = apply(task(), Some(&forced), &config(json!({})), &writer("m", 3), false).expect("dropped");
    assert_eq!(dropped["spec"], json!({"description": "z"}));
}

#[test]
fn what_cannot_be_applied() {
    for (metadata, spec) in [
        (json!({"name": "a"}), json!({"bogus": 1})),
        (json!({"name": "a"}), json!({"steps": "text"})),
        (json!({"name": "a", "labels": {"l": 5}}), json!({})),
        (json!({"name": "a", "finalizers": ["x", "x"]}), json!({})),
        (json!({"name": "a", "managedFields": []}), json!({})),
    ] {
        let status = apply(task(), None, &object(metadata, spec), &writer("m", 1), true).unwrap_err();
        assert_eq!(status.code, 400, "{}", status.message);
    }
}

#[test]
fn too_many_updaters_become_one() {
    let mut live = object(json!({"name": "a", "labels": {}}), json!({}));
    track_create(task(), &mut live, &writer("creator", 1));
    for i in 0..20 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("l{i:02}")] = "1".into();
        track_update(task(), &live, &mut next, &writer(&format!("m{i}"), 2 + i));
        live = next;
    }
    let entries = live["metadata"]["managedFields"].as_array().expect("entries").len();
    assert_eq!(entries, 10);
    assert!(fields(&live, "ancient-changes")["f:metadata"]["f:labels"].get("f:l00").is_some());
}
