use std::io::Write;

use super::*;

fn of(params: &[(&str, &str)], map: &[(&str, &str)]) -> Result<Wanted, String> {
    let own = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let (params, map): (Params, Map) = (own(params), own(map));
    Wanted::of(&params, &map)
}

#[test]
fn params_are_checked_in_the_references_words() {
    for (params, map, why) in [
        (&[][..], &[][..], "parameter \"bundle\" required"),
        (&[("bundle", "r.example/b")], &[], "parameter \"name\" required"),
        (
            &[("bundle", "r.example/b"), ("name", "n")],
            &[],
            "default resource Kind was not set during installation of the bundle resolver",
        ),
    ] {
        assert_eq!(of(params, map).unwrap_err(), why);
    }
    let wrong = of(&[("bundle", "::"), ("name", "n")], &[]).unwrap_err();
    assert_eq!(wrong, "invalid bundle reference: could not parse reference: ::");
    let wanted = of(&[("bundle", "r.example/b"), ("name", "n"), ("secret", "s"), ("kind", "Pipeline")], &[]);
    let wanted = wanted.unwrap();
    assert_eq!((wanted.secret.as_deref(), wanted.account.as_str()), (Some("s"), "default"));
}

fn layer(kind: &str) -> Value {
    json!({"digest": "sha256:0", "annotations": {KIND: kind, NAME: "n", API_VERSION: "v1"}})
}

#[test]
fn manifests_that_are_no_bundles_are_refused() {
    assert_eq!(layers(&json!({"layers": [layer("task")]})).unwrap().len(), 1);
    let many: Vec<Value> = (0..21).map(|_| layer("task")).collect();
    assert_eq!(
        layers(&json!({"layers": many})).unwrap_err(),
        "contained more than the maximum 20 allow objects"
    );
    for kind in ["Task", "tasks"] {
        let why = layers(&json!({"layers": [layer(kind)]})).unwrap_err();
        assert_eq!(
            why,
            format!("the layer 0 the annotation {KIND} must be lowercased and singular, found {kind}")
        );
    }
    let bare = json!({"layers": [layer("task"), {"annotations": {API_VERSION: "v1", NAME: "n"}}]});
    assert_eq!(layers(&bare).unwrap_err(), format!("the layer 1 does not contain a {KIND} annotation"));
}

#[test]
fn layers_are_archives_or_plain_compressed_or_not() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    archive.append_data(&mut header, "task", &b"hello"[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    for blob in [archive.clone(), gzip(&archive), b"hello".to_vec(), gzip(b"hello")] {
        assert_eq!(content(&blob).unwrap(), b"hello");
    }
    assert!(content(&gzip(&vec![0; 3 << 20])).is_err(), "a bomb is not unpacked");
}

#[test]
fn challenges_are_read() {
    let asks = r#"realm="https://a.example/t",service="r.example",scope="repository:b:pull""#;
    let named = challenge(asks);
    assert_eq!(named["realm"], "https://a.example/t");
    assert_eq!(named["scope"], "repository:b:pull");
    assert!(is_loopback("127.0.0.1:5000") && is_loopback("localhost") && is_loopback("[::1]:5000"));
    assert!(!is_loopback("127.0.0.1.example:5000") && !is_loopback("r.example"));
}
