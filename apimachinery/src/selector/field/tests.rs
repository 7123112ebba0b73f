use serde_json::json;

use super::FieldSelector;
use crate::kind::by_kind;

fn task(selector: &str) -> Result<FieldSelector, String> {
    FieldSelector::parse(by_kind("tekton.dev", "Task").expect("registered"), selector)
}

#[test]
fn names_and_namespaces() {
    let object = json!({"metadata": {"name": "a", "namespace": "ns"}});
    for (selector, hit) in [
        ("metadata.name=a", true),
        ("metadata.name==b", false),
        ("metadata.name!=b", true),
        ("metadata.name=", false),
        ("", true),
        (",metadata.name=a,", true),
        ("metadata.namespace=ns,metadata.name!=a", false),
    ] {
        assert_eq!(task(selector).expect(selector).matches(&object), hit, "{selector}");
    }
    assert_eq!(task("metadata.name=a").expect("valid").exact("metadata.name"), Some("a"));
    assert_eq!(task("metadata.name!=a").expect("valid").exact("metadata.name"), None);
}

#[test]
fn fields_of_pods_and_events() {
    let pod = by_kind("", "Pod").expect("registered");
    let object = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
    for (selector, hit) in [
        ("status.phase=Running", true),
        ("spec.nodeName=m", false),
        ("spec.restartPolicy=Always", true),
        ("status.phase!=Running", false),
    ] {
        assert_eq!(FieldSelector::parse(pod, selector).expect(selector).matches(&object), hit, "{selector}");
    }
    let event = by_kind("", "Event").expect("registered");
    let text = "involvedObject.kind=Pod,involvedObject.name=x";
    let object = json!({"involvedObject": {"kind": "Pod", "name": "x"}});
    assert!(FieldSelector::parse(event, text).expect(text).matches(&object));
}

#[test]
fn escapes() {
    let selector = task(r"metadata.name=a\,b\=c\\").expect("valid");
    assert!(selector.matches(&json!({"metadata": {"name": r"a,b=c\"}})));
    assert!(task(r"metadata.name=a\x").is_err());
    assert!(task("metadata.name=a=b").is_err());
}

#[test]
fn complaints_are_the_references() {
    for (selector, complaint) in [
        ("spec.description=x", "field label not supported: spec.description"),
        ("=a", "field label not supported: "),
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (
            "metadata.name in (a)",
            "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'",
        ),
    ] {
        assert_eq!(task(selector).unwrap_err(), complaint, "{selector}");
    }
}
