use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::keys::{Hash, KeyError, PublicKey};
use super::*;
use crate::api::config::TenantConfig;
use crate::api::defaults;
use crate::engine::decide::{Key, Need, Observed, Opened};

/// Objects of ours with the checksums that the reference computed of them.
const CHECKSUMS: &str = include_str!("vectors/checksums.json");
/// Signatures over the bytes 0 to 31, made by Go's library.
const SIGNATURES: &str = include_str!("vectors/signatures.json");
const UNSIGNED: &str = "resource verification failed: resource t in namespace  fails verification";

fn vectors(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn checksums_are_those_of_the_reference() {
    let vectors = vectors(CHECKSUMS);
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let mut object = vector["object"].clone();
        let kind = object["kind"].as_str().unwrap().to_owned();
        defaults::apply(&kind, &mut object, &TenantConfig::default());
        let sum: String = checksum(&object).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(vector["sha256"], sum, "{}", canonical::json(&object));
    }
}

#[test]
fn what_others_add_to_an_object_is_not_signed() {
    let bare = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {}});
    let mut found = bare.clone();
    found["metadata"]["uid"] = json!("u");
    found["metadata"]["annotations"] = json!({"tekton.dev/signature": "x"});
    found["status"] = json!({"a": 1});
    assert_eq!(checksum(&found), checksum(&bare));
    for (pointer, value) in [("/metadata/name", json!("u")), ("/spec", json!({"description": "d"}))] {
        let mut other = bare.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert_ne!(checksum(&other), checksum(&bare), "{pointer}");
    }
}

fn signatures() -> Vec<(String, Hash, PublicKey, Vec<u8>)> {
    let read = |vector: Value| {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let signature = STANDARD.decode(text("signature")).unwrap();
        let key = PublicKey::of_pem(&text("key")).unwrap();
        (text("kind") + " " + &text("hash"), Hash::of(&text("hash")).unwrap(), key, signature)
    };
    vectors(SIGNATURES).into_iter().map(read).collect()
}

#[test]
fn signatures_of_every_kind_are_verified() {
    let checksum: Vec<u8> = (0..32).collect();
    let all = signatures();
    assert_eq!(all.len(), 14);
    for (kind, hash, key, signature) in &all {
        assert!(key.has_signed(*hash, &checksum, signature), "{kind}");
        let mut other = checksum.clone();
        other[31] ^= 1;
        assert!(!key.has_signed(*hash, &other, signature), "{kind}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut forged = signature.clone();
            forged[at] ^= 0x10;
            assert!(!key.has_signed(*hash, &checksum, &forged), "{kind} at {at}");
        }
        for cut in [0, 1, signature.len() - 1] {
            assert!(!key.has_signed(*hash, &checksum, &signature[..cut]), "{kind}");
        }
        if !kind.starts_with("ed25519") {
            let wrong = if *hash == Hash::Sha256 { Hash::Sha512 } else { Hash::Sha256 };
            assert!(!key.has_signed(wrong, &checksum, signature), "{kind}");
        }
    }
}

#[test]
fn what_is_no_key_is_refused_and_nothing_panics() {
    for text in
        ["", "x", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"]
    {
        let error = PublicKey::of_pem(text).unwrap_err();
        assert_eq!(error.to_string(), "key cannot be decoded: PEM decoding failed", "{text}");
    }
    let key = vectors(SIGNATURES)[0]["key"].as_str().unwrap().to_owned();
    let private = key.replace("PUBLIC KEY", "PRIVATE KEY");
    assert!(matches!(PublicKey::of_pem(&private), Err(KeyError::Decode(_))));
    let der = STANDARD.decode(key.lines().filter(|l| !l.starts_with("--")).collect::<String>()).unwrap();
    for at in 0..der.len() {
        for flip in [1, 0x7f, 0x80, 0xff] {
            let mut bad = der.clone();
            bad[at] ^= flip;
            for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"] {
                let text =
                    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", STANDARD.encode(&bad));
                drop(PublicKey::of_pem(&text));
            }
        }
    }
}

/// A Task that nobody has signed.
fn task() -> Value {
    json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {"steps": []}})
}

fn policy(pattern: &str, mode: &str, key: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "resources": [{"pattern": pattern}], "mode": mode, "authorities": [{"name": "a", "key": key}]}})
}

fn verdict(policies: &[Value], flag: &str, source: &str) -> Verdict {
    let seen = Observed { policies: Some(policies.to_vec()), ..Observed::default() };
    verify(&seen, &flagged(flag), &task(), &json!({"uri": source})).unwrap()
}

fn flagged(flag: &str) -> TenantConfig {
    let name = "trusted-resources-verification-no-match-policy".to_owned();
    TenantConfig { feature_flags: BTreeMap::from([(name, flag.to_owned())]), ..TenantConfig::default() }
}

fn data() -> Value {
    json!({"data": vectors(SIGNATURES)[0]["key"], "hashAlgorithm": "sha256"})
}

#[test]
fn where_no_policy_matches_the_flag_decides() {
    let why = "failed to get matched policies: no policies are matched: no matching policies are found for resource: t against source: https://h/x";
    for (flag, wanted) in [
        ("", Verdict::Skipped),
        ("ignore", Verdict::Skipped),
        ("warn", Verdict::Warned(why.into())),
        ("fail", Verdict::Failed(why.into())),
    ] {
        assert_eq!(
            verdict(&[policy("https://other", "enforce", data())], flag, "https://h/x"),
            wanted,
            "{flag}"
        );
    }
}

#[test]
fn patterns_match_whole_sources_without_their_prefix() {
    let failed = Verdict::Failed(UNSIGNED.into());
    for (pattern, source, matches) in [
        ("https://g.example/r", "git+https://g.example/r", true),
        ("https://g.example/.*", "git+https://g.example/r", true),
        ("g.example", "https://g.example/r", false),
        ("^https://g.example/r$", "https://g.example/r", true),
        ("https://a|https://b", "https://b.evil", false),
        ("https://a|https://b", "https://b", true),
        ("https://a$", "https://a", true),
    ] {
        let found = verdict(&[policy(pattern, "enforce", data())], "", source);
        assert_eq!(found == failed, matches, "{pattern} {source}: {found:?}");
    }
    let broken = verdict(&[policy("a(", "enforce", data())], "", "a");
    assert!(matches!(&broken, Verdict::Failed(why) if why.contains("regex failed to match")), "{broken:?}");
}

#[test]
fn modes_and_keys_that_cannot_be_used() {
    assert_eq!(verdict(&[policy(".*", "warn", data())], "", "u"), Verdict::Warned(UNSIGNED.into()));
    assert_eq!(verdict(&[policy(".*", "", data())], "", "u"), Verdict::Failed(UNSIGNED.into()));
    for (key, why) in [
        (json!({}), "key doesn't contain data or keyRef"),
        (
            json!({"kms": "gcpkms://x"}),
            "failed to get verifier from kms: keys in a KMS are not served here; write the public key into data or into a secret",
        ),
        (
            json!({"data": "x"}),
            "failed to get verifier from data: key cannot be decoded: PEM decoding failed",
        ),
        (
            json!({"data": "x", "hashAlgorithm": "md5"}),
            "authority \"a\" contains an invalid hash algorithm: unknown digest algorithm: md5",
        ),
    ] {
        let found = verdict(&[policy(".*", "", key.clone())], "", "u");
        assert_eq!(found, Verdict::Failed(format!("failed to get verifiers from policy: {why}")));
        let found = verdict(&[policy(".*", "warn", key)], "", "u");
        let head = "failed to get verifiers for resource t from namespace ";
        assert_eq!(found, Verdict::Warned(format!("{head}: {why}")));
    }
}

#[test]
fn keys_of_secrets_are_read_when_they_are_needed() {
    let key = Key::new("Secret", "ns", "s");
    let policies = Some(vec![policy(".*", "", json!({"secretRef": {"namespace": "ns", "name": "s"}}))]);
    let mut seen = Observed::default();
    let ask = |seen: &Observed| verify(seen, &TenantConfig::default(), &task(), &Value::Null);
    assert_eq!(ask(&seen), Err(Need::VerificationPolicies));
    seen.policies = policies;
    assert_eq!(ask(&seen), Err(Need::Secret(key.clone())));
    let pem = vectors(SIGNATURES)[0]["key"].as_str().unwrap().as_bytes().to_vec();
    let one = BTreeMap::from([("cosign.pub".to_owned(), pem.clone())]);
    let mut two = one.clone();
    two.insert("other".into(), pem);
    let head = "failed to get verifiers from policy: failed to get verifier from secret: ";
    for (values, why) in [
        (None, format!("{head}failed to get secret: secret not found: secrets \"s\" not found")),
        (Some(BTreeMap::new()), format!("{head}secret \"k8s://ns/s\" contains no data secret data is empty")),
        (
            Some(two),
            format!(
                "{head}secret \"k8s://ns/s\" contains multiple data entries, only one is supported. secret contains multiple data"
            ),
        ),
        (Some(one), UNSIGNED.into()),
    ] {
        seen.secrets.insert(key.clone(), values.map(Opened));
        assert_eq!(ask(&seen), Ok(Verdict::Failed(why)));
    }
}

/// An object that the reference's checksum and a key of Go's library have signed.
#[test]
fn a_signed_task_passes_and_a_changed_one_does_not() {
    let signed: Value = serde_json::from_str(include_str!("vectors/signed.json")).unwrap();
    let seen = Observed {
        policies: Some(vec![policy("https://h/.*", "enforce", json!({"data": signed["key"]}))]),
        ..Observed::default()
    };
    let source = json!({"uri": "https://h/task.yaml"});
    let mut task = signed["object"].clone();
    let config = TenantConfig::default();
    defaults::apply("Task", &mut task, &config);
    assert_eq!(verify(&seen, &config, &task, &source), Ok(Verdict::Passed));
    task["spec"]["steps"][0]["image"] = json!("evil");
    let why = "resource verification failed: resource signed in namespace  fails verification";
    assert_eq!(verify(&seen, &config, &task, &source), Ok(Verdict::Failed(why.into())));
}
