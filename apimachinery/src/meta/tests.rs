use serde_json::{Value, json};

use super::{
    Birth, Deletion, Part, Propagation, check_type, check_version, is_finished, mark_for_deletion, normalise,
    prepare_create, prepare_update, unchanged, warnings,
};
use crate::kind::{Kind, by_kind};
use crate::time::Micros;

const NOW: Micros = Micros(1_700_000_000_000_000);

fn task() -> &'static Kind {
    by_kind("tekton.dev", "Task").expect("registered")
}

fn create(mut object: Value) -> Result<Value, crate::status::Status> {
    normalise(task(), "v1", &mut object)?;
    let birth = Birth { namespace: "ns", uid: "u-1", now: NOW, random: [0; 5] };
    prepare_create(task(), &mut object, &birth)?;
    Ok(object)
}

fn update(old: &Value, mut new: Value, part: Part) -> Result<Value, crate::status::Status> {
    normalise(task(), "v1", &mut new)?;
    prepare_update(task(), &mut new, old, part)?;
    Ok(new)
}

#[test]
fn what_the_server_owns_is_overwritten_on_create() {
    let sent = json!({"metadata": {"name": "a", "uid": "x", "generation": 42, "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30, "selfLink": "/x",
        "resourceVersion": "0", "labels": {"l": null}, "finalizers": [], "bogus": 1}, "status": {"x": 1}, "spec": {}});
    assert_eq!(
        create(sent).expect("valid"),
        json!({"metadata": {"name": "a", "namespace": "ns", "uid": "u-1", "generation": 1,
            "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"l": ""}}, "spec": {}})
    );
}

#[test]
fn names_are_generated_only_when_there_is_none() {
    assert_eq!(
        super::name(&create(json!({"metadata": {"generateName": "gen-"}})).expect("valid")),
        "gen-bbbbb"
    );
    assert_eq!(
        super::name(&create(json!({"metadata": {"generateName": "g-", "name": "n"}})).expect("valid")),
        "n"
    );
    let status = create(json!({})).unwrap_err();
    assert_eq!(
        status.message,
        "Task.tekton.dev \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
}

#[test]
fn refusals_on_create() {
    for (metadata, code, message) in [
        (
            json!({"name": "a", "namespace": "other"}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({"name": "a", "resourceVersion": "5"}),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            json!({"name": 5}),
            400,
            "Task in version \"v1\" cannot be handled as a Task: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string",
        ),
        (
            json!([]),
            400,
            "Task in version \"v1\" cannot be handled as a Task: json: cannot unmarshal array into Go value of type v1.ObjectMeta",
        ),
        (
            json!({"name": "o", "ownerReferences": [{"name": "x"}]}),
            422,
            "Task.tekton.dev \"o\" is invalid: [metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty, metadata.ownerReferences.kind: Invalid value: \"\": must not be empty, metadata.ownerReferences.uid: Invalid value: \"\": must not be empty]",
        ),
        (
            json!({"name": "o", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "o", "uid": "u"}]}),
            422,
            "Task.tekton.dev \"o\" is invalid: metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"o\",\"uid\":\"u\"}: /v1, Kind=Event is disallowed from being an owner",
        ),
    ] {
        let status = create(json!({"metadata": metadata})).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

#[test]
fn two_controllers_are_shown_in_the_references_order() {
    let owner =
        |uid: &str| json!({"apiVersion": "v1", "kind": "K", "name": "o", "uid": uid, "controller": true});
    let status =
        create(json!({"metadata": {"name": "o", "ownerReferences": [owner("1"), owner("2")]}})).unwrap_err();
    assert_eq!(
        status.message,
        "Task.tekton.dev \"o\" is invalid: metadata.ownerReferences: Invalid value: \
         [{\"apiVersion\":\"v1\",\"kind\":\"K\",\"name\":\"o\",\"uid\":\"1\",\"controller\":true},\
         {\"apiVersion\":\"v1\",\"kind\":\"K\",\"name\":\"o\",\"uid\":\"2\",\"controller\":true}]: \
         Only one reference can have Controller set to true. Found \"true\" in references for K/o and K/o"
    );
}

fn stored() -> Value {
    let mut object =
        create(json!({"metadata": {"name": "a", "labels": {"l": "1"}}, "spec": {"x": 1}})).expect("valid");
    super::set(&mut object, "resourceVersion", "7");
    object["status"] = json!({"s": 1});
    object
}

#[test]
fn an_update_counts_changes_of_the_specification_only() {
    let old = stored();
    let same = update(
        &old,
        json!({"metadata": {"name": "a", "labels": {"l": "1"}}, "spec": {"x": 1}, "status": {"s": 9}}),
        Part::Main,
    )
    .expect("valid");
    assert!(unchanged(&same, &old));
    let labelled =
        update(&old, json!({"metadata": {"name": "a"}, "spec": {"x": 1}}), Part::Main).expect("valid");
    assert_eq!((super::generation(&labelled), unchanged(&labelled, &old)), (1, false));
    let changed =
        update(&old, json!({"metadata": {"name": "a"}, "spec": {"x": 2}}), Part::Main).expect("valid");
    assert_eq!((super::generation(&changed), &changed["status"]), (2, &json!({"s": 1})));
}

#[test]
fn a_status_update_touches_nothing_else() {
    let old = stored();
    let new = update(
        &old,
        json!({"metadata": {"name": "a", "labels": {"z": "9"}}, "spec": {"x": 5}, "status": {"s": 2}}),
        Part::Status,
    )
    .expect("valid");
    let mut expected = old.clone();
    expected["status"] = json!({"s": 2});
    assert_eq!(new, expected);
}

#[test]
fn what_cannot_change() {
    let old = stored();
    let status = update(&old, json!({"metadata": {"name": "a", "uid": "other"}}), Part::Main).unwrap_err();
    assert_eq!(
        status.message,
        "Task.tekton.dev \"a\" is invalid: metadata.uid: Invalid value: \"other\": field is immutable"
    );
    assert_eq!(status.details.expect("has details").causes.len(), 2);
    let status =
        update(&old, json!({"metadata": {"name": "a", "labels": {"bad key": "x"}}}), Part::Main).unwrap_err();
    assert_eq!(status.details.expect("has details").causes.len(), 3);
}

#[test]
fn versions_must_match() {
    let old = stored();
    let with = |version: &str| json!({"metadata": {"name": "a", "resourceVersion": version}});
    assert!(check_version(task(), &with("7"), &old, true).is_ok());
    assert!(check_version(task(), &with(""), &old, false).is_ok());
    assert_eq!(check_version(task(), &with("6"), &old, true).unwrap_err().code, 409);
    assert_eq!(check_version(task(), &with("junk"), &old, true).unwrap_err().code, 400);
    assert_eq!(
        check_version(task(), &with(""), &old, true).unwrap_err().message,
        "tasks.tekton.dev \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[test]
fn deletion_waits_for_finalizers() {
    let mut free = stored();
    assert_eq!(mark_for_deletion(task(), &mut free, None, NOW), Deletion::Remove);
    let mut held = stored();
    super::set(&mut held, "finalizers", json!(["x.dev/f"]));
    assert_eq!(mark_for_deletion(task(), &mut held, Some(Propagation::Foreground), NOW), Deletion::Marked);
    assert_eq!(held["metadata"]["finalizers"], json!(["x.dev/f", "foregroundDeletion"]));
    assert_eq!(super::generation(&held), 2);
    assert_eq!(mark_for_deletion(task(), &mut held, Some(Propagation::Foreground), NOW), Deletion::Unchanged);
    assert_eq!(mark_for_deletion(task(), &mut held, None, NOW), Deletion::Unchanged);
    let status = update(&held, json!({"metadata": {"name": "a", "finalizers": ["new.dev/f"]}}), Part::Main)
        .unwrap_err();
    assert!(status.message.contains("found new finalizers []string{\"new.dev/f\"}"), "{}", status.message);
    let done =
        update(&held, json!({"metadata": {"name": "a"}, "spec": {"x": 1}}), Part::Main).expect("valid");
    assert!(is_finished(&done) && !is_finished(&held));
}

#[test]
fn bare_finalizers_are_warned_about_once() {
    let object = json!({"metadata": {"finalizers": ["bare", "good.dev/f", "orphan"]}});
    assert_eq!(
        warnings(&object, None),
        [
            "metadata.finalizers: \"bare\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
        ]
    );
    assert!(warnings(&object, Some(&object)).is_empty());
}

#[test]
fn the_kind_must_be_the_paths() {
    let check = |object: Value| check_type(task(), "v1", &object).map_err(|s| (s.code, s.message));
    assert!(check(json!({"apiVersion": "tekton.dev/v1", "kind": "Task"})).is_ok());
    let (code, message) = check(json!({"apiVersion": "v1", "kind": "Task"})).unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (400, "the API version in the data (v1) does not match the expected API version (tekton.dev/v1)")
    );
    let (code, message) =
        check(json!({"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "b"}}))
            .unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (422, "Pipeline.tekton.dev \"b\" is invalid: kind: Invalid value: \"Pipeline\": must be Task")
    );
    assert_eq!(check(json!({"apiVersion": "tekton.dev/v1"})).unwrap_err().0, 400);
    assert_eq!(check(json!([])).unwrap_err().0, 400);
}
