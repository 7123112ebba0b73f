use serde_json::{Value, json};

use super::{check, complete, first_status};
use crate::kind::{Kind, by_kind};

fn core(kind: &str) -> &'static Kind {
    by_kind("", kind).expect("registered")
}

fn faults(kind: &str, object: Value, old: Option<Value>) -> String {
    check(core(kind), &object, old.as_ref()).map_or_else(|status| status.message, |()| String::new())
}

#[test]
fn secrets_are_folded_and_typed() {
    let mut secret =
        json!({"metadata": {"name": "s"}, "data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "3"}});
    complete(core("Secret"), &mut secret).expect("valid");
    assert_eq!(
        secret,
        json!({"metadata": {"name": "s"}, "data": {"a": "MQ==", "b": "Mw=="}, "type": "Opaque"})
    );
    let mut bad = json!({"data": {"a": "no base64!"}});
    let status = complete(core("Secret"), &mut bad).unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 2")
    );
}

#[test]
fn what_secrets_and_config_maps_refuse() {
    let named = |rest: Value| {
        let mut object = rest;
        object["metadata"] = json!({"name": "x"});
        object
    };
    assert_eq!(
        faults("Secret", named(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}})), None),
        "Secret \"x\" is invalid: data[tls.key]: Required value"
    );
    assert_eq!(
        faults("Secret", named(json!({"type": "a"})), Some(json!({"type": "b"}))),
        "Secret \"x\" is invalid: type: Invalid value: \"a\": field is immutable"
    );
    assert!(
        faults("ConfigMap", named(json!({"data": {"a/b": ""}})), None)
            .contains("a valid config key must consist of")
    );
    assert!(
        faults("ConfigMap", named(json!({"data": {"a": ""}, "binaryData": {"a": ""}})), None)
            .contains("duplicate of key")
    );
    assert!(
        faults("ConfigMap", named(json!({"data": {"a": "x".repeat(1_048_577)}})), None).contains("Too long")
    );
    let frozen = json!({"immutable": true, "data": {"a": "1"}});
    assert_eq!(
        faults("ConfigMap", named(json!({"immutable": true, "data": {"a": "2"}})), Some(frozen.clone())),
        "ConfigMap \"x\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
    );
    assert_eq!(faults("ConfigMap", named(frozen.clone()), Some(frozen)), "");
}

#[test]
fn claims_and_events() {
    let claim = |class: &str, size: &str| {
        json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
               "resources": {"requests": {"storage": size}}}})
    };
    assert_eq!(faults("PersistentVolumeClaim", claim("a", "1Gi"), None), "");
    assert_eq!(faults("PersistentVolumeClaim", claim("a", "2Gi"), Some(claim("a", "1Gi"))), "");
    assert!(
        faults("PersistentVolumeClaim", claim("b", "1Gi"), Some(claim("a", "1Gi")))
            .contains("spec is immutable after creation")
    );
    assert_eq!(
        faults("PersistentVolumeClaim", json!({"metadata": {"name": "c"}, "spec": {}}), None),
        "PersistentVolumeClaim \"c\" is invalid: [spec.accessModes: Required value: at least 1 access mode is required, \
         spec.resources[storage]: Required value]"
    );
    let event = json!({"metadata": {"name": "e", "namespace": "a"}, "involvedObject": {"namespace": "b"}});
    assert!(faults("Event", event, None).contains("does not match event.namespace"));
}

#[test]
fn namespaces_are_active_and_carry_their_name() {
    assert_eq!(first_status(core("Namespace")), Some(json!({"phase": "Active"})));
    assert_eq!(first_status(core("Secret")), None);
    let mut namespace = json!({"metadata": {"name": "n"}});
    complete(core("Namespace"), &mut namespace).expect("valid");
    assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "n"}));
}
