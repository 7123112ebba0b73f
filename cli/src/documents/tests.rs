use super::*;

#[test]
fn several_documents_are_several_objects() {
    let text =
        "---\n# nothing\n---\napiVersion: v1\nkind: Secret\n---\napiVersion: tekton.dev/v1\nkind: TaskRun\n";
    let objects = parse(text).unwrap();
    assert_eq!(objects.len(), 2);
    assert!(is_run(&objects[1]));
    assert_eq!(collection(&objects[0], "ns").unwrap(), "/api/v1/namespaces/ns/secrets");
    assert_eq!(collection(&objects[1], "ns").unwrap(), "/apis/tekton.dev/v1/namespaces/ns/taskruns");
}

#[test]
fn what_is_no_object_is_named_by_its_number() {
    let error = parse("apiVersion: v1\nkind: Secret\n---\n[1]\n").unwrap_err().to_string();
    assert!(error.contains("document 2"), "{error}");
    assert!(parse("").is_err());
    assert!(parse("a: [").is_err());
    assert!(collection(&serde_json::json!({"apiVersion": "v1", "kind": "Nonsense"}), "x").is_err());
}
