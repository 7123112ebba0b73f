use serde_json::json;

use super::*;

#[test]
fn the_revision_is_spliced_in_without_parsing() {
    let object =
        json!({"kind": "Task", "metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"x": [1, "{"]}});
    let body = encode(&object);
    let served: Value = serde_json::from_slice(&to_json(&body, Revision(42)).unwrap()).unwrap();
    assert_eq!(served, to_value(&body, Revision(42)).unwrap());
    assert_eq!(
        served,
        json!({"kind": "Task", "metadata": {"name": "a", "resourceVersion": "42"}, "spec": {"x": [1, "{"]}})
    );
}

#[test]
fn an_object_without_metadata_survives() {
    let body = encode(&json!({"kind": "X"}));
    assert_eq!(
        to_value(&body, Revision(1)).unwrap(),
        serde_json::from_slice::<Value>(&to_json(&body, Revision(1)).unwrap()).unwrap()
    );
}

#[test]
fn a_damaged_body_is_said_to_be_damaged() {
    assert!(to_json(b"", Revision(1)).is_err());
    assert!(to_json(b"\x07{}", Revision(1)).is_err());
    assert!(to_value(b"\x01nonsense", Revision(1)).is_err());
}
