use std::path::Path;

use serde_json::Value;

use super::{V2Form, document, index, operation_group, schema_name, v2_json, v2_protobuf};

/// A file of the recorded answers of a reference server.
#[allow(clippy::disallowed_methods, reason = "tests find recorded answers through one variable")]
fn golden(name: &str) -> Value {
    let shared = std::env::var("CELLA_SHARED").unwrap_or_else(|_| "../shared".to_owned());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = workspace.join(shared).join("golden/api/openapi-v3").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("golden files are JSON")
}

fn body(path: &str) -> Value {
    serde_json::from_slice(&document(path).expect("served").body).expect("documents are JSON")
}

#[test]
fn the_document_of_tekton_is_the_references() {
    let (mut ours, mut theirs) = (body("apis/tekton.dev/v1"), golden("tekton.dev__v1.nodesc.json"));
    // The groups of DeleteOptions are those that a server has.
    for document in [&mut ours, &mut theirs] {
        let options = "/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
        let options = document.pointer_mut(options).expect("has options");
        options["x-kubernetes-group-version-kind"].take();
    }
    for (path, item) in theirs["paths"].as_object().expect("paths") {
        assert_eq!(ours["paths"][path], *item, "{path}");
    }
    for (name, schema) in theirs["components"]["schemas"].as_object().expect("schemas") {
        assert_eq!(ours["components"]["schemas"][name], *schema, "{name}");
    }
    assert_eq!(ours, theirs);
}

#[test]
fn the_index_leads_to_the_documents() {
    let index = index("/clusters/acme");
    let url = index["paths"]["apis/tekton.dev/v1"]["serverRelativeURL"].as_str().expect("a URL");
    let hash = &document("apis/tekton.dev/v1").expect("served").hash;
    assert_eq!(url, format!("/clusters/acme/openapi/v3/apis/tekton.dev/v1?hash={hash}"));
    assert!(index["paths"]["api/v1"].is_object());
    assert!(document("apis/nope/v1").is_none());
}

#[test]
fn core_kinds_can_be_patched_strategically() {
    let core = body("api/v1");
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedConfigMap");
    let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["properties"]["spec"]["properties"]["containers"]["items"]["properties"]["image"]["type"],
        "string"
    );
    assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
    let reviews = body("apis/authorization.k8s.io/v1");
    let review = &reviews["paths"]["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"];
    assert!(review["post"].is_object() && review["get"].is_null());
}

#[test]
fn names() {
    assert_eq!(schema_name("resolution.tekton.dev", "v1beta1", "X", true), "dev.tekton.resolution.v1beta1.X");
    assert_eq!(schema_name("", "v1", "Pod", false), "io.k8s.api.core.v1.Pod");
    assert_eq!(operation_group("resolution.tekton.dev", "v1beta1"), "ResolutionTektonDevV1beta1");
}

#[test]
fn the_old_forms() {
    let old: Value = serde_json::from_slice(&v2_json()).expect("JSON");
    assert_eq!(old["swagger"], "2.0");
    let post = &old["paths"]["/apis/tekton.dev/v1/namespaces/{namespace}/taskruns"]["post"];
    assert_eq!(post["x-kubernetes-group-version-kind"]["kind"], "TaskRun");
    assert_eq!(old["definitions"]["dev.tekton.v1.TaskRun"]["type"], "object");
    assert!(!old.to_string().contains("#/components/"));
    assert!(v2_protobuf().starts_with(b"\x0a\x032.0"));
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf,application/json";
    assert_eq!(V2Form::negotiate(Some(protobuf)), Some(V2Form::Protobuf));
    assert_eq!(V2Form::negotiate(Some("*/*")), Some(V2Form::Json));
    assert_eq!(V2Form::negotiate(Some("text/html")), None);
}
