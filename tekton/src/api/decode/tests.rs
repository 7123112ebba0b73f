use serde_json::json;

use super::*;

fn said(object: Value) -> String {
    check(&object).map_or_else(|e| e.to_string(), |()| String::new())
}

fn pipeline(timeout: &str) -> String {
    said(json!({"apiVersion": "tekton.dev/v1", "kind": "Pipeline",
                "spec": {"tasks": [{"taskSpec": {"steps": [{"timeout": timeout}]}}]}}))
}

const HEAD: &str = "cannot decode incoming new object: ";

#[test]
fn durations_are_read_as_go_reads_them() {
    assert_eq!(pipeline("1h30m"), "");
    assert_eq!(pipeline("soon"), format!(r#"{HEAD}time: invalid duration "soon""#));
    assert_eq!(pipeline("5"), format!(r#"{HEAD}time: missing unit in duration "5""#));
    assert_eq!(pipeline("2d"), format!(r#"{HEAD}time: unknown unit "d" in duration "2d""#));
}

fn task(spec: Value) -> String {
    said(json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "spec": spec}))
}

#[test]
fn a_fields_place_and_type_are_told_as_go_tells_them() {
    let told = |what: &str| format!("{HEAD}json: cannot unmarshal {what}");
    assert_eq!(
        task(json!({"steps": {"name": "a"}})),
        told("object into Go struct field Task.spec.steps of type []v1.Step")
    );
    assert_eq!(
        task(json!({"steps": [{"image": 5}]})),
        told("number into Go struct field Task.spec.steps.0.image of type string")
    );
    assert_eq!(task(json!({"steps": ["x"]})), told("string into Task.spec.steps.0 of type v1.Step"));
    assert_eq!(
        task(json!({"steps": [{"command": "x"}]})),
        told("string into Go struct field Task.spec.steps.0.command of type []string")
    );
    assert_eq!(
        task(json!({"params": "x"})),
        told("string into Go struct field Task.spec.params of type v1.ParamSpecs")
    );
}

#[test]
fn fields_that_nobody_has_are_told_wherever_the_schema_is_open() {
    let unknown = |field: &str| format!("{HEAD}json: unknown field \"{field}\"");
    assert_eq!(task(json!({"volumes": [{"name": "v", "emptydir": {}}]})), "");
    assert_eq!(task(json!({"volumes": [{"name": "v", "floppy": {}}]})), unknown("floppy"));
    let run = |spec: Value| {
        said(
            json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "spec": {"pipelineSpec": {"tasks": [{"taskSpec": spec}]}}}),
        )
    };
    assert_eq!(run(json!({"steps": [{"resources": {}}]})), unknown("resources"));
    assert_eq!(
        run(json!({"apiVersion": "example.dev/v1", "kind": "Wait", "spec": {"any": [1, {"thing": true}]}})),
        ""
    );
    assert_eq!(run(json!({"metadata": {"labels": {"a": "b"}}, "steps": []})), "");
}

#[test]
fn parameters_may_have_any_value() {
    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "spec": {"params": [
        {"name": "a", "value": 1}, {"name": "b", "value": [true]}, {"name": "c", "value": {"k": null}}]}});
    assert_eq!(said(run), "");
}
