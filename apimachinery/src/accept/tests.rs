use super::{Accepted, Shape, negotiate, warning};

fn shape(accept: &str) -> Option<(Shape, &'static str)> {
    negotiate(Some(accept)).ok().map(|a: Accepted| (a.shape, a.meta_version))
}

#[test]
fn forms() {
    let full = Some((Shape::Full, "meta.k8s.io/v1"));
    for (accept, wanted) in [
        ("*/*", full),
        ("application/*", full),
        ("", full),
        ("application/json, */*", full),
        ("application/json;q=0.5", full),
        ("application/vnd.kubernetes.protobuf,application/json", full),
        ("application/json;stream=watch", full),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some((Shape::Table, "meta.k8s.io/v1")),
        ),
        ("application/json;as=Table;g=meta.k8s.io;v=v1beta1", Some((Shape::Table, "meta.k8s.io/v1beta1"))),
        (
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
            Some((Shape::Partial, "meta.k8s.io/v1")),
        ),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            Some((Shape::PartialList, "meta.k8s.io/v1")),
        ),
        ("application/json;as=Table;v=v2;g=meta.k8s.io", None),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", full),
        ("application/json;as=Nonsense;v=v1;g=meta.k8s.io", None),
        ("application/json;as=Table;v=v1", None),
        ("text/html", None),
        ("application/vnd.kubernetes.protobuf", None),
        ("application/cbor", None),
        ("application/xml, text/plain", None),
    ] {
        assert_eq!(shape(accept), wanted, "{accept}");
    }
    assert!(negotiate(None).is_ok_and(|a| !a.yaml));
    assert!(negotiate(Some("application/yaml")).is_ok_and(|a| a.yaml));
    assert_eq!(negotiate(Some("text/html")).unwrap_err().code, 406);
}

#[test]
fn quality_decides() {
    assert!(negotiate(Some("application/json;q=0.1, application/yaml")).is_ok_and(|a| a.yaml));
}

#[test]
fn warnings_are_quoted() {
    assert_eq!(warning("unknown field \"spec.x\""), r#"299 - "unknown field \"spec.x\"""#);
    assert_eq!(warning("a\nb\\c"), r#"299 - "ab\\c""#);
}
