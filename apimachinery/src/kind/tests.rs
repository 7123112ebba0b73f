use std::collections::BTreeSet;

use super::{all, by_id, by_kind, resource, split_api_version};

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    for kind in all() {
        assert!(seen.insert(kind.id()), "{} is registered twice", kind.id());
        assert!(!kind.versions.is_empty() && !kind.kind.is_empty(), "{}", kind.id());
        assert_eq!(by_id(&kind.id()).map(|k| k.kind), Some(kind.kind));
    }
}

#[test]
fn only_served_versions_are_found() {
    let (kind, version) = resource("tekton.dev", "v1", "taskruns").expect("served");
    assert_eq!((kind.kind, version.name), ("TaskRun", "v1"));
    assert_eq!(kind.api_version("v1"), "tekton.dev/v1");
    assert!(resource("tekton.dev", "v9", "taskruns").is_none());
    assert!(resource("", "v1", "widgets").is_none());
    assert_eq!(by_kind("", "Pod").expect("known").api_version("v1"), "v1");
}

#[test]
fn api_versions_split() {
    assert_eq!(split_api_version("tekton.dev/v1"), ("tekton.dev", "v1"));
    assert_eq!(split_api_version("v1"), ("", "v1"));
}
