use super::*;

/// Kind, namespace, name, part.
type Named = (String, Option<String>, Option<String>, Option<String>);

fn objects_of(path: &str) -> Option<Named> {
    match parse(path) {
        Route::Objects(o) => Some((o.kind.id(), o.namespace, o.name, o.subresource)),
        _ => None,
    }
}

#[test]
fn paths_name_kinds_namespaces_names_and_parts() {
    let some = |text: &str| Some(text.to_owned());
    let taskruns = "taskruns.tekton.dev".to_owned();
    let base = "/apis/tekton.dev/v1";
    assert_eq!(objects_of(&format!("{base}/taskruns")), Some((taskruns.clone(), None, None, None)));
    assert_eq!(
        objects_of(&format!("{base}/namespaces/a/taskruns/")),
        Some((taskruns.clone(), some("a"), None, None))
    );
    assert_eq!(
        objects_of(&format!("{base}/namespaces/a/taskruns/b/status")),
        Some((taskruns, some("a"), some("b"), some("status")))
    );
    assert_eq!(objects_of("/api/v1/namespaces/a"), Some(("namespaces".into(), None, some("a"), None)));
    assert_eq!(
        objects_of("/api/v1/namespaces/a/pods/b/log"),
        Some(("pods".into(), some("a"), some("b"), some("log")))
    );
}

#[test]
fn what_is_not_in_the_table_is_nothing() {
    for path in [
        "/",
        "/nonsense",
        "/apis/tekton.dev/v1/nonsense",
        "/apis/tekton.dev/v1/taskruns/b",
        "/api/v1/namespaces/a/namespaces/b",
        "/apis/tekton.dev/v1/namespaces/%zz/taskruns",
        "/apis/tekton.dev/v1/namespaces/a%00/taskruns",
        "/apis/tekton.dev/v1/watch",
        "/apis//v1/taskruns",
    ] {
        assert!(matches!(parse(path), Route::Nowhere), "{path}");
    }
    for path in [
        "/apis/tekton.dev/v1/namespaces/a/taskruns/b/nonsense",
        "/apis/tekton.dev/v1/namespaces/a/taskruns//b",
        "/api/v1/namespaces/a/pods/b/log/more",
    ] {
        assert!(matches!(parse(path), Route::NoPart(..)), "{path}");
    }
}

#[test]
fn old_watch_paths_are_known() {
    for (path, name) in [("taskruns", None), ("namespaces/a/taskruns/b", Some("b"))] {
        let Route::Objects(objects) = parse(&format!("/apis/tekton.dev/v1/watch/{path}")) else {
            panic!("{path} leads nowhere");
        };
        assert!(objects.watch_path && objects.name.as_deref() == name, "{path}");
    }
}

#[test]
fn a_tenant_may_stand_before_the_path() {
    assert_eq!(tenant_prefix("/clusters/acme/api/v1"), (Some("acme"), "/api/v1"));
    assert_eq!(tenant_prefix("/clusters/acme"), (Some("acme"), "/"));
    assert_eq!(tenant_prefix("/api"), (None, "/api"));
}
