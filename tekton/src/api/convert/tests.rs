use serde_json::json;

use super::*;

#[test]
fn what_both_versions_have_is_kept() {
    let original = json!({
        "apiVersion": "tekton.dev/v1beta1", "kind": "PipelineRun", "metadata": {"name": "r"},
        "spec": {
            "managedBy": "example.com/other",
            "serviceAccountName": "builder",
            "pipelineSpec": {"tasks": [{"name": "a", "pipelineRef": {"name": "inner"}}]},
        },
    });
    let mut converted = original.clone();
    to("PipelineRun", "v1", &mut converted).unwrap();
    assert_eq!(converted["spec"].get("managedBy"), None);
    keep("PipelineRun", &original, &mut converted);
    assert_eq!(converted["spec"]["managedBy"], "example.com/other");
    assert_eq!(converted["spec"]["taskRunTemplate"]["serviceAccountName"], "builder");
    assert_eq!(converted["spec"]["pipelineSpec"]["tasks"][0]["pipelineRef"]["name"], "inner");
    assert_eq!(converted["apiVersion"], "tekton.dev/v1");
}

#[test]
fn an_annotation_that_is_no_json_is_told() {
    let mut task = json!({
        "apiVersion": "tekton.dev/v1", "metadata": {"name": "t", "annotations": {"tekton.dev/v1beta1Resources": "{"}},
        "spec": {"steps": []},
    });
    let error = to("Task", "v1beta1", &mut task).unwrap_err();
    assert!(
        error.to_string().starts_with("error deserializing key tekton.dev/v1beta1Resources from metadata: ")
    );
}

#[test]
fn steps_that_have_changed_since_their_fields_were_put_away_are_told() {
    let put_away =
        json!({"t": {"deprecatedSteps": [{"name": "", "resources": {}, "tty": true}]}}).to_string();
    let mut task = json!({
        "apiVersion": "tekton.dev/v1",
        "metadata": {"name": "t", "annotations": {"tekton.dev/v1beta1.task-deprecations": put_away}},
        "spec": {"steps": [{"image": "i"}, {"image": "j"}]},
    });
    assert_eq!(to("Task", "v1beta1", &mut task), Err(ConvertError::Steps));
}

#[test]
fn parameters_of_requests_change_their_shape() {
    let mut request = json!({
        "apiVersion": "resolution.tekton.dev/v1alpha1", "spec": {"params": {"b": "2", "a": "1"}},
    });
    to("ResolutionRequest", "v1beta1", &mut request).unwrap();
    assert_eq!(request["spec"]["params"], json!([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]));
    request["spec"]["params"][0]["value"] = json!(["x"]);
    assert_eq!(
        to("ResolutionRequest", "v1alpha1", &mut request).unwrap_err().to_string(),
        "cannot convert v1beta1 to v1alpha, non-string type parameter(s) found: a"
    );
}

#[test]
fn texts_in_annotations_are_safe_for_html_as_gos_are() {
    assert_eq!(
        annotations::encode(&json!([{"name": "a<b>&c"}]), ""),
        r#"[{"name":"a\u003cb\u003e\u0026c"}]"#
    );
}
