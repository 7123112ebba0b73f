//! The environment of a container: references resolved as a kubelet does it, values of Secrets kept apart.

use std::collections::BTreeMap;

use apimachinery::meta;
use serde_json::Value;

use super::{ConfigError, Contents, Values, list, size};

/// A container's variables.
pub(super) struct Resolved {
    /// In the order in which they were set.
    pub(super) plain: Vec<(String, String)>,
    /// Variables with a value from a Secret.
    pub(super) secret: BTreeMap<String, String>,
}

impl Resolved {
    /// Replaces `$(NAME)` by the variable's value and `$$` by `$`. Names without a plain value stay: no value of
    /// a Secret may get into an argument here.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(tail) = tail.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
                match self.plain.iter().rev().find(|(n, _)| n == name) {
                    Some((_, value)) => out.push_str(value),
                    None => out.push_str(&format!("$({name})")),
                }
                rest = after;
            } else {
                out.push('$');
                rest = tail;
            }
        }
        out.push_str(rest);
        out
    }

    fn set(&mut self, name: &str, value: String) {
        self.secret.remove(name);
        self.plain.retain(|(n, _)| n != name);
        self.plain.push((name.to_owned(), value));
    }

    fn set_secret(&mut self, name: &str, value: String) {
        self.plain.retain(|(n, _)| n != name);
        self.secret.insert(name.to_owned(), value);
    }
}

pub(super) fn resolve(pod: &Value, container: &Value, contents: &Contents) -> Result<Resolved, ConfigError> {
    let mut out = Resolved { plain: Vec::new(), secret: BTreeMap::new() };
    for from in list(&container["envFrom"]) {
        let prefix = from["prefix"].as_str().unwrap_or_default();
        for (member, word, secret) in [("configMapRef", "configmap", false), ("secretRef", "secret", true)] {
            let reference = &from[member];
            let Some(name) = reference["name"].as_str() else { continue };
            let all = if secret { &contents.secrets } else { &contents.maps };
            for (key, value) in values(all, name, word, reference)?.into_iter().flatten() {
                let (name, value) = (format!("{prefix}{key}"), text(value));
                if secret { out.set_secret(&name, value) } else { out.set(&name, value) }
            }
        }
    }
    for variable in list(&container["env"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        let from = &variable["valueFrom"];
        if !from.is_object() {
            let value = out.expand(variable["value"].as_str().unwrap_or_default());
            out.set(name, value);
        } else if from["secretKeyRef"].is_object() {
            let reference = &from["secretKeyRef"];
            if let Some(value) = keyed(pod, &contents.secrets, reference, "secret", "Secret")? {
                out.set_secret(name, value);
            }
        } else if from["configMapKeyRef"].is_object() {
            let reference = &from["configMapKeyRef"];
            if let Some(value) = keyed(pod, &contents.maps, reference, "configmap", "ConfigMap")? {
                out.set(name, value);
            }
        } else if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
            out.set(name, field(pod, contents, path)?);
        } else if from["resourceFieldRef"].is_object() {
            out.set(name, resource(pod, container, &from["resourceFieldRef"])?);
        } else {
            return Err(ConfigError::new(format!("environment variable {name}: unknown source")));
        }
    }
    Ok(out)
}

/// The value of one key; `None` when it is optional and not there.
fn keyed(
    pod: &Value,
    all: &BTreeMap<String, Option<Values>>,
    reference: &Value,
    word: &str,
    kind: &str,
) -> Result<Option<String>, ConfigError> {
    let name = reference["name"].as_str().unwrap_or_default();
    let key = reference["key"].as_str().unwrap_or_default();
    let Some(values) = values(all, name, word, reference)? else { return Ok(None) };
    match values.get(key) {
        Some(value) => Ok(Some(text(value))),
        None if reference["optional"] == true => Ok(None),
        None => {
            let namespace = meta::namespace(pod);
            Err(ConfigError::new(format!("couldn't find key {key} in {kind} {namespace}/{name}")))
        }
    }
}

fn values<'a>(
    all: &'a BTreeMap<String, Option<Values>>,
    name: &str,
    word: &str,
    reference: &Value,
) -> Result<Option<&'a Values>, ConfigError> {
    match all.get(name).and_then(Option::as_ref) {
        Some(values) => Ok(Some(values)),
        None if reference["optional"] == true => Ok(None),
        None => Err(ConfigError::new(format!("{word} {name:?} not found"))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a field of the Pod, as the downward API has it.
pub(super) fn field(pod: &Value, contents: &Contents, path: &str) -> Result<String, ConfigError> {
    let entry = |member: &str| {
        let key = path.strip_prefix(member)?.strip_prefix("['")?.strip_suffix("']")?;
        let member = member.strip_prefix("metadata.")?;
        Some(pod["metadata"][member][key].as_str().unwrap_or_default().to_owned())
    };
    if let Some(value) = entry("metadata.labels").or_else(|| entry("metadata.annotations")) {
        return Ok(value);
    }
    Ok(match path {
        "metadata.name" => meta::name(pod).to_owned(),
        "metadata.namespace" => meta::namespace(pod).to_owned(),
        "metadata.uid" => meta::uid(pod).to_owned(),
        "metadata.labels" => lines(&pod["metadata"]["labels"]),
        "metadata.annotations" => lines(&pod["metadata"]["annotations"]),
        "spec.serviceAccountName" => {
            pod["spec"]["serviceAccountName"].as_str().unwrap_or("default").to_owned()
        }
        "spec.nodeName" => contents.machine.clone(),
        // A machine has one pod and no address that anybody could use.
        "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => "127.0.0.1".to_owned(),
        _ => return Err(ConfigError::new(format!("unsupported fieldPath {path:?}"))),
    })
}

fn lines(map: &Value) -> String {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(k, v)| format!("{k}={:?}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join("\n")
}

/// The value of a resource of a container, in units of the divisor, rounded up.
pub(super) fn resource(pod: &Value, container: &Value, reference: &Value) -> Result<String, ConfigError> {
    let path = reference["resource"].as_str().unwrap_or_default();
    let container = match reference["containerName"].as_str() {
        Some(name) => super::containers(pod).find(|c| c["name"] == name).unwrap_or(container),
        None => container,
    };
    let Some((list, resource)) = path.split_once('.') else {
        return Err(ConfigError::new(format!("unsupported container resource {path:?}")));
    };
    let amount = container["resources"][list][resource].as_str().and_then(size::milli).unwrap_or(0);
    let divisor = match reference["divisor"].as_str() {
        None | Some("0" | "") => 1000,
        Some(divisor) => size::milli(divisor).unwrap_or(1000).max(1),
    };
    Ok(amount.div_ceil(divisor).to_string())
}
