use serde_json::{Value, json};

use super::{JsonPatch, apply_merge, apply_strategic};

fn json_patch(mut document: Value, patch: Value) -> Result<Value, u16> {
    let patch = JsonPatch::parse(&patch).map_err(|s| s.code)?;
    patch.apply(&mut document).map_err(|s| s.code)?;
    Ok(document)
}

#[test]
fn merge_patch() {
    let mut document = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
    apply_merge(&mut document, &json!({"a": {"b": null, "e": {"f": null, "g": 1}}, "d": [3]}))
        .expect("an object");
    assert_eq!(document, json!({"a": {"c": 2, "e": {"g": 1}}, "d": [3]}));
    for bad in [json!([]), json!("x"), json!(null), json!(5)] {
        assert_eq!(apply_merge(&mut document, &bad).unwrap_err().code, 400);
    }
}

#[test]
fn json_patch_does_what_it_should() {
    let doc = json!({"spec": {"params": [{"n": "x"}, {"n": "y"}], "d": "one"}});
    for (patch, spec) in [
        (
            json!([{"op": "replace", "path": "/spec/status", "value": "Cancelled"}]),
            json!({"params": [{"n": "x"}, {"n": "y"}], "d": "one", "status": "Cancelled"}),
        ),
        (
            json!([{"op": "add", "path": "/spec/params/-", "value": 1}]),
            json!({"params": [{"n": "x"}, {"n": "y"}, 1], "d": "one"}),
        ),
        (
            json!([{"op": "add", "path": "/spec/params/0", "value": 1}]),
            json!({"params": [1, {"n": "x"}, {"n": "y"}], "d": "one"}),
        ),
        (
            json!([{"op": "move", "path": "/spec/params/0", "from": "/spec/params/1"}]),
            json!({"params": [{"n": "y"}, {"n": "x"}], "d": "one"}),
        ),
        (
            json!([{"op": "copy", "path": "/spec/e", "from": "/spec/d"}]),
            json!({"params": [{"n": "x"}, {"n": "y"}], "d": "one", "e": "one"}),
        ),
        (
            json!([{"op": "copy", "path": "/spec/e", "from": "/spec/none"}]),
            json!({"params": [{"n": "x"}, {"n": "y"}], "d": "one", "e": null}),
        ),
        (
            json!([{"op": "test", "path": "/spec/none", "value": null}, {"op": "remove", "path": "/spec/params"}]),
            json!({"d": "one"}),
        ),
        (
            json!([{"op": "add", "path": "/spec/a~1b~0c", "value": 1}, {"op": "remove", "path": "/spec/params"}]),
            json!({"d": "one", "a/b~c": 1}),
        ),
        (json!(null), json!({"params": [{"n": "x"}, {"n": "y"}], "d": "one"})),
    ] {
        assert_eq!(json_patch(doc.clone(), patch.clone()).expect("applies")["spec"], spec, "{patch}");
    }
}

#[test]
fn json_patch_failures() {
    let doc = json!({"spec": {"params": [1], "d": "one"}});
    for (patch, code) in [
        (json!([{"op": "remove", "path": "/spec/none"}]), 422),
        (json!([{"op": "test", "path": "/spec/d", "value": "two"}]), 422),
        (json!([{"op": "test", "path": "/spec/params/99/name", "value": "x"}]), 422),
        (json!([{"op": "add", "path": "/spec/aa/bb", "value": 1}]), 422),
        (json!([{"op": "add", "path": "/spec/params/99", "value": 1}]), 422),
        (json!([{"op": "remove", "path": "/spec/params/99"}]), 422),
        (json!([{"op": "replace", "path": "/spec/params/99", "value": 1}]), 422),
        (json!([{"op": "add", "path": "/spec/params/x", "value": 1}]), 422),
        (json!([{"op": "move", "path": "/spec/q", "from": "/spec/none"}]), 422),
        (json!([{"path": "/spec"}]), 422),
        (json!([{"op": "frobnicate", "path": "/spec"}]), 422),
        (json!([{"op": "add"}]), 422),
        (json!({}), 400),
        (json!([1]), 400),
        (json!("x"), 400),
        (Value::Array(vec![json!({"op": "test", "path": ""}); 10_001]), 413),
    ] {
        assert_eq!(json_patch(doc.clone(), patch), Err(code));
    }
}

fn strategic(mut document: Value, patch: Value) -> Value {
    apply_strategic(&mut document, &patch).expect("applies");
    document
}

#[test]
fn strategic_merge_of_maps_and_keyed_lists() {
    assert_eq!(
        strategic(json!({"data": {"a": "1", "b": "2"}}), json!({"data": {"a": null, "c": "3"}})),
        json!({"data": {"b": "2", "c": "3"}})
    );
    assert_eq!(
        strategic(
            json!({"secrets": [{"name": "a", "x": 1}, {"name": "b"}]}),
            json!({"secrets": [{"name": "a", "y": 2}, {"name": "b", "$patch": "delete"}, {"name": "c"}]})
        ),
        json!({"secrets": [{"name": "a", "x": 1, "y": 2}, {"name": "c"}]})
    );
    assert_eq!(
        strategic(
            json!({"secrets": [{"name": "a"}]}),
            json!({"secrets": [{"name": "z"}, {"$patch": "replace"}]})
        ),
        json!({"secrets": [{"name": "z"}]})
    );
    let missing = apply_strategic(&mut json!({"secrets": [{"name": "a"}]}), &json!({"secrets": [{"x": 1}]}));
    assert!(missing.unwrap_err().message.contains("declared merge key: name"));
}

#[test]
fn strategic_directives() {
    assert_eq!(
        strategic(json!({"data": {"a": "1"}}), json!({"data": {"$patch": "replace", "b": "2"}})),
        json!({"data": {"b": "2"}})
    );
    assert_eq!(
        strategic(
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"$retainKeys": ["b", "c"], "c": "3"}})
        ),
        json!({"data": {"b": "2", "c": "3"}})
    );
    assert_eq!(
        strategic(
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"],
                                "$setElementOrder/finalizers": ["c", "b"]}})
        ),
        json!({"metadata": {"finalizers": ["c", "b"]}})
    );
    assert_eq!(
        strategic(json!({"spec": {"finalizers": ["a"]}}), json!({"spec": {"finalizers": ["b"]}})),
        json!({"spec": {"finalizers": ["b"]}})
    );
}
