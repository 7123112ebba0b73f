use serde_json::{Value, json};

use super::{Form, api, apis, group, maturity, resources};

#[test]
fn content_types_are_negotiated_exactly() {
    let both = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    for (accept, form) in [
        (both, Form::V2),
        (
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
            Form::V2Beta1,
        ),
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer", Form::V2),
        ("application/json", Form::Plain),
        ("*/*", Form::Plain),
    ] {
        assert_eq!(Form::negotiate(Some(accept)).ok(), Some(form), "{accept}");
    }
    let unknown = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList";
    assert_eq!(Form::negotiate(Some(unknown)).unwrap_err().code, 406);
}

fn find<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let found = list.as_array().expect("a list").iter().find(|e| e.pointer(key).is_some_and(|v| v == name));
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn task_runs_in_every_form() {
    let verbs = json!(["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]);
    let kind = json!({"group": "tekton.dev", "version": "v1", "kind": "TaskRun"});
    let document = apis(Form::V2);
    let tekton = find(&document["items"], "/metadata/name", "tekton.dev");
    assert_eq!(tekton["versions"][0]["version"], "v1");
    assert_eq!(
        *find(&tekton["versions"][0]["resources"], "/resource", "taskruns"),
        json!({"resource": "taskruns", "responseKind": kind, "scope": "Namespaced", "singularResource": "taskrun",
            "verbs": verbs, "shortNames": ["tr", "trs"], "categories": ["tekton", "tekton-pipelines"],
            "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]}]})
    );
    let list = resources("tekton.dev", "v1").expect("served");
    assert_eq!(
        *find(&list["resources"], "/name", "taskruns"),
        json!({"name": "taskruns", "singularName": "taskrun", "namespaced": true, "kind": "TaskRun", "verbs": verbs,
               "shortNames": ["tr", "trs"], "categories": ["tekton", "tekton-pipelines"]})
    );
    assert_eq!(apis(Form::V2Beta1)["apiVersion"], "apidiscovery.k8s.io/v2beta1");
}

#[test]
fn core_and_groups() {
    assert_eq!(api(Form::Plain)["versions"], json!(["v1"]));
    let core = api(Form::V2);
    let pods = find(&core["items"][0]["versions"][0]["resources"], "/resource", "pods");
    assert_eq!(pods["responseKind"]["group"], "");
    let accounts = resources("", "v1").expect("served");
    assert_eq!(find(&accounts["resources"], "/name", "serviceaccounts/token")["kind"], "TokenRequest");
    let tekton = group("tekton.dev").expect("served");
    assert_eq!(tekton["preferredVersion"], json!({"groupVersion": "tekton.dev/v1", "version": "v1"}));
    assert!(group("nope.example.dev").is_none() && resources("tekton.dev", "v9").is_none());
}

#[test]
fn stable_versions_come_first() {
    let mut names = ["v1alpha1", "v1", "v2beta1", "v2", "v1beta1"];
    names.sort_by_key(|n| std::cmp::Reverse(maturity(n)));
    assert_eq!(names, ["v2", "v1", "v2beta1", "v1beta1", "v1alpha1"]);
}
