//! Objects of the same tenant: the tenant is the cluster, and there is no way out of it.

use std::collections::BTreeMap;

use apimachinery::meta;
use serde_json::{Value, json};
use tekton::engine::trust;

use super::ask::{Ask, Found, Params, RESOURCE_MAX, Trouble, hex};
use super::settings::Map;

/// The ConfigMap as the reference installs it.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("default-kind", "task"),
    ("default-namespace", ""),
    ("allowed-namespaces", ""),
    ("blocked-namespaces", ""),
];
/// Kind as it is asked for, the kind, its plural, its API version.
const KINDS: [(&str, &str, &str, &str); 3] = [
    ("task", "Task", "tasks", "tekton.dev/v1"),
    ("pipeline", "Pipeline", "pipelines", "tekton.dev/v1"),
    ("stepaction", "StepAction", "stepactions", "tekton.dev/v1beta1"),
];

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// `task`, `pipeline` or `stepaction`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

impl Wanted {
    /// Reads params.
    ///
    /// # Errors
    /// The reference's text.
    pub fn of(params: &Params, map: &Map) -> Result<Self, String> {
        let given = |name: &str| params.get(name).filter(|value| !value.is_empty());
        let mut missing = Vec::new();
        let kind = given("kind").or_else(|| map.get("default-kind")).cloned();
        if let Some(kind) = kind.as_ref().filter(|kind| KINDS.iter().all(|(known, ..)| known != kind)) {
            return Err(format!("unknown or unsupported resource kind '{kind}'"));
        }
        let name = given("name").cloned();
        let namespace = given("namespace").or_else(|| map.get("default-namespace")).cloned();
        let namespace = namespace.filter(|namespace| !namespace.trim().is_empty());
        for (param, value) in [("kind", &kind), ("name", &name), ("namespace", &namespace)] {
            if value.is_none() {
                missing.push(param);
            }
        }
        let (Some(kind), Some(name), Some(namespace)) = (kind, name, namespace) else {
            return Err(format!("missing required cluster resolver params: {}", missing.join(", ")));
        };
        may_read(&namespace, map)?;
        Ok(Self { kind, name, namespace })
    }
}

/// Whether the lists of the settings let `namespace` be read.
fn may_read(namespace: &str, map: &Map) -> Result<(), String> {
    let list = |key: &str| map.get(key).map_or("", String::as_str);
    let holds =
        |list: &str, wanted: &str| list.split(',').map(str::trim).any(|one| !one.is_empty() && one == wanted);
    let (allowed, blocked) = (list("allowed-namespaces"), list("blocked-namespaces"));
    if holds(blocked, namespace) {
        return Err(format!("access to specified namespace {namespace} is blocked"));
    }
    if holds(allowed, namespace) {
        return Ok(());
    }
    if holds(blocked, "*") {
        return Err("only explicit allowed access to namespaces is allowed".into());
    }
    if !allowed.is_empty() {
        return Err(format!("access to specified namespace {namespace} is not allowed"));
    }
    Ok(())
}

pub(super) async fn resolve(ask: &Ask<'_>) -> Result<Found, Trouble> {
    let Wanted { kind, name, namespace } = Wanted::of(ask.params, ask.map)?;
    let (_, kind_name, plural, version) =
        KINDS.into_iter().find(|(known, ..)| *known == kind).unwrap_or(KINDS[0]);
    let key = ask.key(&format!("{plural}.tekton.dev"), &namespace, &name);
    let found = ask.cell.store.objects([key]).await?.into_values().next().flatten();
    let Some(mut object) = found else {
        return Err(format!("{plural}.tekton.dev {name:?} not found").into());
    };
    let uid = meta::uid(&object).to_owned();
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), json!(version));
        map.insert("kind".into(), json!(kind_name));
        map.remove("status");
    }
    let data = yaml(&object)?;
    let annotations = BTreeMap::from([
        ("resolution.tekton.dev/name".to_owned(), name.clone()),
        ("resolution.tekton.dev/namespace".to_owned(), namespace.clone()),
    ]);
    Ok(Found {
        data,
        annotations,
        // The reference has the version of Tasks here whatever the kind is.
        uri: format!("/apis/tekton.dev/v1/namespaces/{namespace}/{kind}/{name}@{uid}"),
        digest: ("sha256".into(), hex(&trust::checksum(&object))),
        entry_point: String::new(),
    })
}

fn yaml(object: &Value) -> Result<Vec<u8>, Trouble> {
    let text = serde_yaml_ng::to_string(object).map_err(|error| Trouble::Answer(error.to_string()))?;
    if text.len() > RESOURCE_MAX {
        return Err(format!("the object exceeds the maximum allowed size of {RESOURCE_MAX} bytes").into());
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(params: &[(&str, &str)], map: &[(&str, &str)]) -> Result<Wanted, String> {
        let own = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let (params, map): (Params, Map) = (own(params), own(map));
        Wanted::of(&params, &map)
    }

    #[test]
    fn params_are_checked_in_the_references_words() {
        let missing = |of| format!("missing required cluster resolver params: {of}");
        assert_eq!(of(&[], DEFAULTS).unwrap_err(), missing("name, namespace"));
        assert_eq!(of(&[], &[]).unwrap_err(), missing("kind, name, namespace"));
        assert_eq!(of(&[("kind", "pod")], &[]).unwrap_err(), "unknown or unsupported resource kind 'pod'");
        let wanted = of(&[("name", "n"), ("namespace", "a")], DEFAULTS).unwrap();
        assert_eq!((wanted.kind.as_str(), wanted.namespace.as_str()), ("task", "a"));
    }

    #[test]
    fn lists_of_namespaces_let_in_and_keep_out() {
        let params = &[("kind", "task"), ("name", "n"), ("namespace", "a")][..];
        for (allowed, blocked, why) in [
            ("", "", None),
            ("a, b", "", None),
            ("b", "", Some("access to specified namespace a is not allowed")),
            ("", "b , a", Some("access to specified namespace a is blocked")),
            ("a", "a", Some("access to specified namespace a is blocked")),
            ("a", "*", None),
            ("", "*", Some("only explicit allowed access to namespaces is allowed")),
        ] {
            let map = [("allowed-namespaces", allowed), ("blocked-namespaces", blocked)];
            assert_eq!(of(params, &map).err().as_deref(), why, "{allowed:?} {blocked:?}");
        }
    }
}
