use serde_json::{Value, json};

use super::{Include, TableStyle, list_meta, partial_list};
use crate::kind::resource;
use crate::time::Micros;

fn style(group: &str, version: &str, plural: &str, include: Include) -> TableStyle {
    let (kind, version) = resource(group, version, plural).expect("served");
    let now = Micros::parse("2024-01-01T00:10:00Z").expect("a time");
    TableStyle { kind, version, meta_version: "meta.k8s.io/v1", include, now }
}

fn cells(plural: &str, object: &Value) -> Value {
    style("", "v1", plural, Include::None).row(object)["cells"].clone()
}

#[test]
fn a_task_run_as_a_table() {
    let object = json!({"metadata": {"name": "a", "resourceVersion": "5"}, "status": {
        "startTime": "2024-01-01T00:05:00Z",
        "conditions": [{"type": "Other"}, {"type": "Succeeded", "status": "Unknown", "reason": "Running"}]}});
    let style = style("tekton.dev", "v1", "taskruns", Include::Metadata);
    let table = style.single(&object, true);
    assert_eq!(table["metadata"], json!({"resourceVersion": "5"}));
    assert_eq!(
        table["columnDefinitions"][0],
        json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
               "description": "Name must be unique within a namespace."})
    );
    assert_eq!(table["rows"][0]["cells"], json!(["a", "Unknown", "Running", "5m", null]));
    assert_eq!(
        table["rows"][0]["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
    );
    assert_eq!(style.single(&object, false)["columnDefinitions"], Value::Null);
    let bare = style.row(&json!({"metadata": {}}));
    assert_eq!(bare["cells"], json!(["", null, null, null, null]));
}

#[test]
fn what_is_beside_the_cells() {
    assert_eq!(Include::parse("None").ok(), Some(Include::None));
    let status = Include::parse("bogus").unwrap_err();
    assert_eq!(
        status.message,
        "Unable to convert to Table as requested: includeObject: Invalid value: \"bogus\": must be 'Metadata', 'Object', 'None', or empty"
    );
    let object = json!({"metadata": {"name": "a"}});
    assert_eq!(style("", "v1", "configmaps", Include::Object).row(&object)["object"], object);
    assert_eq!(style("", "v1", "configmaps", Include::None).row(&object)["object"], Value::Null);
}

#[test]
fn core_kinds() {
    let created = json!({"name": "x", "creationTimestamp": "2024-01-01T00:00:00Z"});
    for (plural, rest, expected) in [
        ("configmaps", json!({"data": {"a": "1"}, "binaryData": {"b": "2"}}), json!(["x", 2, "10m"])),
        ("secrets", json!({"type": "Opaque", "data": {"a": ""}}), json!(["x", "Opaque", 1, "10m"])),
        ("serviceaccounts", json!({}), json!(["x", 0, "10m"])),
        ("namespaces", json!({"status": {"phase": "Active"}}), json!(["x", "Active", "10m"])),
    ] {
        let mut object = rest;
        object["metadata"] = created.clone();
        assert_eq!(cells(plural, &object), expected, "{plural}");
    }
    let event = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Started", "message": " hi\n",
        "involvedObject": {"kind": "Pod", "name": "p"}, "lastTimestamp": "2024-01-01T00:09:30Z"});
    let row = cells("events", &event);
    assert_eq!(
        row.as_array().expect("cells")[..4],
        [json!("30s"), json!("Normal"), json!("Started"), json!("pod/p")]
    );
    assert_eq!(row[6], "hi");
}

#[test]
fn pods_say_what_they_do() {
    let pod = |status: Value| {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}],
               "initContainers": [{"name": "i"}]}, "status": status})
    };
    let show = |status: Value| {
        let row = cells("pods", &pod(status));
        (row[1].as_str().expect("ready").to_owned(), row[2].as_str().expect("status").to_owned())
    };
    let is = |ready: &str, status: &str| (ready.to_owned(), status.to_owned());
    assert_eq!(show(json!({"phase": "Pending"})), is("0/2", "Pending"));
    let init =
        |state: Value| json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": state}]});
    assert_eq!(show(init(json!({"running": {}}))), is("0/2", "Init:0/1"));
    assert_eq!(show(init(json!({"waiting": {"reason": "ErrImagePull"}}))), is("0/2", "Init:ErrImagePull"));
    assert_eq!(show(init(json!({"terminated": {"exitCode": 2}}))), is("0/2", "Init:ExitCode:2"));
    let both = |a: Value, b: Value, phase: &str| json!({"phase": phase, "containerStatuses": [a, b]});
    let running = json!({"ready": true, "state": {"running": {}}});
    let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let failed = json!({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    assert_eq!(show(both(running.clone(), running.clone(), "Running")), is("2/2", "Running"));
    assert_eq!(show(both(running, done.clone(), "Running")), is("1/2", "NotReady"));
    assert_eq!(show(both(done.clone(), done.clone(), "Succeeded")), is("0/2", "Completed"));
    assert_eq!(show(both(failed, done, "Failed")), is("0/2", "Error"));
}

#[test]
fn lists_of_metadata() {
    let meta = list_meta("7", "", Some(3));
    assert_eq!(meta, json!({"resourceVersion": "7"}));
    assert_eq!(partial_list(meta, [], "meta.k8s.io/v1")["items"], Value::Null);
    assert_eq!(
        list_meta("7", "t", Some(3)),
        json!({"resourceVersion": "7", "continue": "t", "remainingItemCount": 3})
    );
}
