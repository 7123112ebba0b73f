use serde_json::{Value, json};

use super::{MAGIC, decode};

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
}

fn decoded(api_version: &str, kind: &str, raw: &[u8]) -> Value {
    decode(&body(api_version, kind, raw)).expect("readable")
}

#[test]
fn a_config_map() {
    let label = [bytes(1, b"l"), bytes(2, b"1")].concat();
    let created = [number(1, 1_700_000_000), number(2, 0)].concat();
    let metadata =
        [bytes(1, b"cm"), bytes(2, b""), bytes(8, &created), number(7, 0), bytes(11, &label)].concat();
    let raw = [
        bytes(1, &metadata),
        bytes(2, &[bytes(1, b"key"), bytes(2, b"value")].concat()),
        bytes(2, &[bytes(1, b"empty"), bytes(2, b"")].concat()),
        bytes(3, &[bytes(1, b"bin"), bytes(2, &[0xff, 0x00])].concat()),
        number(4, 0),
    ]
    .concat();
    assert_eq!(
        decoded("v1", "ConfigMap", &raw),
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cm", "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"l": "1"}},
            "data": {"key": "value", "empty": ""}, "binaryData": {"bin": "/wA="}, "immutable": false})
    );
}

#[test]
fn zeros_mean_something_only_where_go_has_a_pointer() {
    let preconditions = bytes(1, b"uid");
    let raw =
        [number(1, 0), bytes(2, &preconditions), number(3, 0), bytes(4, b"Background"), bytes(5, b"All")]
            .concat();
    assert_eq!(
        decoded("coordination.k8s.io/v1", "DeleteOptions", &raw),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "uid"}, "orphanDependents": false, "propagationPolicy": "Background",
            "dryRun": ["All"]})
    );
}

#[test]
fn a_pod_with_volumes_and_quantities() {
    let quantity = bytes(1, b"500m");
    let request = [bytes(1, b"cpu"), bytes(2, &quantity)].concat();
    let resources = bytes(2, &request);
    let port = [bytes(1, b"http"), number(3, 8080), bytes(4, b"")].concat();
    let probe_port = [number(1, 0), number(2, 8080), bytes(3, b"")].concat();
    let http = [bytes(1, b"/"), bytes(2, &probe_port)].concat();
    let handler = bytes(2, &http);
    let probe = [bytes(1, &handler), number(2, 0)].concat();
    let container = [
        bytes(1, b"c"),
        bytes(2, b"img"),
        bytes(4, b"-x"),
        bytes(6, &port),
        bytes(8, &resources),
        bytes(10, &probe),
    ]
    .concat();
    let source = bytes(2, &[]);
    let volume = [bytes(1, b"v"), bytes(2, &source)].concat();
    let security = [number(2, 0)].concat();
    let spec = [bytes(1, &volume), bytes(2, &container), bytes(14, &security)].concat();
    assert_eq!(
        decoded("v1", "Pod", &bytes(2, &spec))["spec"],
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {"runAsUser": 0},
            "containers": [{"name": "c", "image": "img", "args": ["-x"], "resources": {"requests": {"cpu": "500m"}},
                "ports": [{"name": "http", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"path": "/", "port": 8080}}}]})
    );
}

#[test]
fn reviews() {
    let attributes = [bytes(1, b"ns"), bytes(2, b"get"), bytes(5, b"pods")].concat();
    let raw = bytes(2, &bytes(1, &attributes));
    assert_eq!(
        decoded("authorization.k8s.io/v1", "SelfSubjectAccessReview", &raw)["spec"],
        json!({"resourceAttributes": {"namespace": "ns", "verb": "get", "resource": "pods"}})
    );
    let extra = [bytes(1, b"k"), bytes(2, &[bytes(1, b"a"), bytes(1, b"b")].concat())].concat();
    let raw = bytes(2, &[bytes(3, b"user"), bytes(5, &extra)].concat());
    assert_eq!(
        decoded("authorization.k8s.io/v1", "SubjectAccessReview", &raw)["spec"],
        json!({"user": "user", "extra": {"k": ["a", "b"]}})
    );
}

#[test]
fn what_is_no_body() {
    for bad in [&b""[..], b"k8s", b"{}", b"k8s\0\xff", b"k8s\0\x0a\x05abc"] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
    assert!(decode(&body("tekton.dev/v1", "TaskRun", b"")).is_err());
    assert!(decode(&body("v1", "Widget", b"")).is_err());
}

#[test]
fn damaged_bodies_never_panic() {
    let metadata = [bytes(1, b"cm"), bytes(8, &[number(1, i64::MAX), number(2, -1)].concat())].concat();
    let good = body(
        "v1",
        "Secret",
        &[bytes(1, &metadata), bytes(2, &[bytes(1, b"k"), bytes(2, b"v")].concat())].concat(),
    );
    assert!(decode(&good).is_ok());
    for at in 0..good.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut damaged = good.clone();
            damaged[at] = value;
            let outcome = decode(&damaged);
            assert!(outcome.is_err() || outcome.is_ok_and(|v| v["kind"].is_string()));
        }
        // Magic bytes and type take 18; a body may end there.
        assert!(decode(&good[..at]).is_err() || at >= 18);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

/// What kubectl 1.32 sends for `create namespace|configmap|secret|serviceaccount|token`, `auth can-i`, `can-i --list`
/// and `whoami`.
#[test]
fn bodies_of_kubectl() {
    for (hex, expected) in [
        (
            "6b3873000a0f0a02763112094e616d657370616365121c0a140a0464656d6f12001a0022002a0032003800420012001a020a001a002200",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}),
        ),
        (
            "6b3873000a0f0a0276311209436f6e6669674d6170122a0a160a02636d12001a0464656d6f22002a003200380042001206\
             0a016112013112080a0162120374776f1a002200",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "namespace": "demo"},
                   "data": {"a": "1", "b": "two"}}),
        ),
        (
            "6b3873000a0c0a027631120653656372657412250a160a02733112001a0464656d6f22002a0032003800420012090a0170120470\
             6173731a001a002200",
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s1", "namespace": "demo"},
                   "data": {"p": "cGFzcw=="}}),
        ),
        (
            "6b3873000a140a027631120e536572766963654163636f756e7412190a170a03626f7412001a0464656d6f22002a0032003800\
             42001a002200",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot", "namespace": "demo"}}),
        ),
        (
            "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374121d0a100a00\
             12001a0022002a00320038004200120320d8041a040a0012001a002200",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                   "spec": {"expirationSeconds": 600}}),
        ),
        (
            "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a656374416363657373526576\
             69657712390a100a0012001a0022002a00320038004200121b0a190a0464656d6f12036765741a0022002a04706f647332003a00\
             1a08080012001a0020001a002200",
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                   "spec": {"resourceAttributes": {"namespace": "demo", "verb": "get", "resource": "pods"}}}),
        ),
        (
            "6b3873000a310a17617574686f72697a6174696f6e2e6b38732e696f2f7631121653656c665375626a65637452756c6573526576\
             69657712200a100a0012001a0022002a0032003800420012060a0464656d6f1a04180022001a002200",
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                   "spec": {"namespace": "demo"}}),
        ),
        (
            "6b3873000a2d0a1861757468656e7469636174696f6e2e6b38732e696f2f7631121153656c665375626a65637452657669657712\
             1a0a100a0012001a0022002a0032003800420012060a040a0012001a002200",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
        ),
    ] {
        let found = decode(&unhex(hex)).expect("kubectl sends readable bodies");
        assert_eq!(found, expected);
    }
}
