use super::*;

#[test]
fn an_older_task_gets_the_names_of_today() {
    let fetched = "
apiVersion: tekton.dev/v1beta1
kind: Task
spec:
  stepTemplate: {resources: {limits: {cpu: 1}}}
  steps: [{image: i, resources: {requests: {cpu: 2}}}, {image: j}]
  resources: {inputs: []}
";
    let mut task = read(fetched, "Task").unwrap();
    modernise(&mut task);
    assert_eq!(task["apiVersion"], "tekton.dev/v1");
    assert_eq!(task["spec"]["stepTemplate"], json!({"computeResources": {"limits": {"cpu": 1}}}));
    let steps = json!([{"image": "i", "computeResources": {"requests": {"cpu": 2}}}, {"image": "j"}]);
    assert_eq!(task["spec"]["steps"], steps);
    // What the newer version has no place for is put away, as conversion puts it.
    assert_eq!(task["spec"].get("resources"), None);
    assert!(task["metadata"]["annotations"]["tekton.dev/v1beta1Resources"].is_string());
}

#[test]
fn what_is_something_else_is_told() {
    assert_eq!(read("kind: Pipeline", "Task"), Err("resource is not a task".into()));
    assert_eq!(read("kind: Task", "StepAction"), Err("resource is not a StepAction".into()));
    let fault = read("a: [b", "Task").unwrap_err();
    assert!(fault.starts_with("invalid runtime object: yaml: "), "{fault}");
}
