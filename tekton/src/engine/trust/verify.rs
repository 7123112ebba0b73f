//! Policies: which of them are about an object, and whether its signature is what they ask for.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Value;

use super::canonical::{SIGNATURE, checksum};
use super::keys::{Hash, PublicKey};
use crate::api::config::TenantConfig;
use crate::engine::decide::{Key, Need, Observed};
use crate::engine::doc::{list, name, namespace, text};

/// What verification says of an object, with the reference's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No policy is about it, and none has to be.
    Skipped,
    /// All policies that are about it are satisfied.
    Passed,
    /// It goes on, with a warning.
    Warned(String),
    /// It ends here.
    Failed(String),
}

/// So many policies of a namespace are more than are read of it: one of those left out might be about the object.
const POLICIES_MAX: usize = 500;
/// Bytes that a compiled pattern may take.
const PATTERN_MAX: usize = 1 << 20;

/// Verifies `object`, which was fetched from `source` and has its defaults, by the policies of the run's namespace.
///
/// # Errors
/// What must be read first.
pub fn verify(
    seen: &Observed,
    config: &TenantConfig,
    object: &Value,
    source: &Value,
) -> Result<Verdict, Need> {
    let Some(policies) = &seen.policies else { return Err(Need::VerificationPolicies) };
    if policies.len() >= POLICIES_MAX {
        return Ok(Verdict::Failed(format!(
            "failed to get matched policies: the namespace has {POLICIES_MAX} policies or more, which are not all looked at; fewer are"
        )));
    }
    let uri = text(source, "uri");
    let matched = match matched(policies, object, uri) {
        Ok(matched) => matched,
        Err(Unmatched::Broken(why)) => {
            return Ok(Verdict::Failed(format!("failed to get matched policies: {why}")));
        }
        Err(Unmatched::None(why)) => {
            let why = format!("failed to get matched policies: {why}");
            let flag = config.feature_flags.get("trusted-resources-verification-no-match-policy");
            return Ok(match flag.map(|flag| flag.trim().to_lowercase()).as_deref() {
                Some("fail") => Verdict::Failed(why),
                Some("warn") => Verdict::Warned(why),
                _ => Verdict::Skipped,
            });
        }
    };
    let signature = match object["metadata"]["annotations"][SIGNATURE].as_str() {
        None => Vec::new(),
        Some(text) => match STANDARD.decode(text.replace(['\r', '\n'], "")) {
            Ok(signature) => signature,
            Err(error) => return Ok(Verdict::Failed(format!("the signature is not base64: {error}"))),
        },
    };
    let checksum = checksum(object);
    let (of, inside) = (name(object), namespace(object));
    let failed =
        || format!("resource verification failed: resource {of} in namespace {inside} fails verification");
    let (warning, enforcing): (Vec<&Value>, Vec<&Value>) =
        matched.into_iter().partition(|policy| text(&policy["spec"], "mode") == "warn");
    for policy in enforcing {
        match keys(seen, policy)? {
            Err(why) => return Ok(Verdict::Failed(format!("failed to get verifiers from policy: {why}"))),
            Ok(keys) if !signed_by(&keys, &checksum, &signature) => return Ok(Verdict::Failed(failed())),
            Ok(_) => {}
        }
    }
    for policy in warning {
        match keys(seen, policy)? {
            Err(why) => {
                let head = format!("failed to get verifiers for resource {of} from namespace {inside}");
                return Ok(Verdict::Warned(format!("{head}: {why}")));
            }
            Ok(keys) if !signed_by(&keys, &checksum, &signature) => return Ok(Verdict::Warned(failed())),
            Ok(_) => {}
        }
    }
    Ok(Verdict::Passed)
}

fn signed_by(keys: &[(Hash, PublicKey)], checksum: &[u8], signature: &[u8]) -> bool {
    keys.iter().any(|(hash, key)| key.has_signed(*hash, checksum, signature))
}

/// Why no policy is about an object.
enum Unmatched {
    /// None is.
    None(String),
    /// A pattern makes no sense.
    Broken(String),
}

fn matched<'a>(policies: &'a [Value], object: &Value, uri: &str) -> Result<Vec<&'a Value>, Unmatched> {
    // Patterns are written without the prefix that says how it was fetched.
    let bare = uri.trim();
    let bare = bare.strip_prefix("git+").unwrap_or(bare);
    let mut out = Vec::new();
    for policy in policies {
        for resource in list(&policy["spec"], "resources") {
            let pattern = regex::RegexBuilder::new(&anchored(text(resource, "pattern")))
                .size_limit(PATTERN_MAX)
                .build();
            let pattern: Regex = pattern.map_err(|error| {
                let why = error.to_string().lines().last().unwrap_or("").to_owned();
                Unmatched::Broken(format!("error parsing regexp: {why}: regex failed to match"))
            })?;
            if pattern.is_match(bare) {
                out.push(policy);
                break;
            }
        }
    }
    if out.is_empty() {
        let what =
            format!("no matching policies are found for resource: {} against source: {uri}", name(object));
        return Err(Unmatched::None(format!("no policies are matched: {what}")));
    }
    Ok(out)
}

/// A pattern that has to match the whole source.
fn anchored(pattern: &str) -> String {
    let (head, tail) = (pattern.strip_prefix('^'), pattern.strip_suffix('$'));
    if head.is_some() && tail.is_some() {
        return pattern.to_owned();
    }
    let middle = head.unwrap_or(pattern);
    let middle = middle.strip_suffix('$').unwrap_or(middle);
    format!("^(?:{middle})$")
}

/// The keys of a policy. The inner error is the reference's text.
fn keys(seen: &Observed, policy: &Value) -> Result<Result<Vec<(Hash, PublicKey)>, String>, Need> {
    let mut out = Vec::new();
    for authority in list(&policy["spec"], "authorities") {
        let key = &authority["key"];
        let Some(hash) = Hash::of(text(key, "hashAlgorithm")) else {
            return Ok(Err(format!(
                "authority {:?} contains an invalid hash algorithm: unknown digest algorithm: {}",
                text(authority, "name"),
                text(key, "hashAlgorithm")
            )));
        };
        let read = if !text(key, "data").is_empty() {
            PublicKey::of_pem(text(key, "data"))
                .map_err(|error| format!("failed to get verifier from data: {error}"))
        } else if !key["secretRef"].is_null() {
            of_secret(seen, &key["secretRef"])?
                .map_err(|why| format!("failed to get verifier from secret: {why}"))
        } else if !text(key, "kms").is_empty() {
            Err("failed to get verifier from kms: keys in a KMS are not served here; write the public key into data or into a secret".into())
        } else {
            Err("key doesn't contain data or keyRef".into())
        };
        match read {
            Ok(key) => out.push((hash, key)),
            Err(why) => return Ok(Err(why)),
        }
    }
    if out.is_empty() { Ok(Err("no public keys are founded".into())) } else { Ok(Ok(out)) }
}

fn of_secret(seen: &Observed, reference: &Value) -> Result<Result<PublicKey, String>, Need> {
    let (namespace, name) = (text(reference, "namespace"), text(reference, "name"));
    let key = Key::new("Secret", namespace, name);
    let values: &BTreeMap<String, Vec<u8>> = match seen.secrets.get(&key) {
        None => return Err(Need::Secret(key)),
        Some(None) => {
            return Ok(Err(format!("failed to get secret: secret not found: secrets {name:?} not found")));
        }
        Some(Some(opened)) => &opened.0,
    };
    let shown = format!("k8s://{namespace}/{name}");
    let mut all = values.values();
    Ok(match (all.next(), all.next()) {
        (None, _) => Err(format!("secret {shown:?} contains no data secret data is empty")),
        (Some(_), Some(_)) => Err(format!(
            "secret {shown:?} contains multiple data entries, only one is supported. secret contains multiple data"
        )),
        (Some(only), None) => {
            let read = PublicKey::of_pem(&String::from_utf8_lossy(only));
            read.map_err(|error| format!("failed to get verifier from secret data: {error}"))
        }
    })
}
