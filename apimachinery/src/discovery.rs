//! What the server offers: the discovery documents, in all the forms that clients of ten years ask for.

use serde_json::{Map, Value, json};

use crate::accept::{MEDIA_TYPES, clauses};
use crate::kind::{Kind, Subresource, Version, all};
use crate::status::Status;

/// A form of the documents at `/api` and `/apis`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Everything at once, `apidiscovery.k8s.io/v2`.
    V2,
    /// The same, as kubectl up to 1.29 wants it.
    V2Beta1,
    /// Only names of groups and versions.
    Plain,
}

impl Form {
    /// The exact Content-Type; clients compare it with what they asked for.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            Self::Plain => "application/json",
        }
    }

    /// The form that an Accept header asks for.
    ///
    /// # Errors
    /// 406 when it asks for none of them.
    pub fn negotiate(accept: Option<&str>) -> Result<Self, Status> {
        for clause in clauses(accept).iter().filter(|c| c.allows("application/json")) {
            match (clause.param("as"), clause.param("g"), clause.param("v")) {
                (None, _, _) => return Ok(Self::Plain),
                (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
                    return Ok(Self::V2);
                }
                (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2beta1")) => {
                    return Ok(Self::V2Beta1);
                }
                _ => {}
            }
        }
        Err(Status::not_acceptable(MEDIA_TYPES))
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
            Self::Plain => "v1",
        }
    }
}

/// The document at `/api`: the core group.
pub fn api(form: Form) -> Value {
    match form {
        Form::Plain => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
        }),
        Form::V2 | Form::V2Beta1 => aggregated(form, &[""]),
    }
}

/// The document at `/apis`: every other group.
pub fn apis(form: Form) -> Value {
    let groups = groups();
    match form {
        Form::Plain => {
            let groups: Vec<Value> = groups.iter().map(|g| group_entry(g)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        Form::V2 | Form::V2Beta1 => aggregated(form, &groups),
    }
}

/// The document at `/apis/{group}`.
pub fn group(name: &str) -> Option<Value> {
    if !groups().contains(&name) {
        return None;
    }
    let mut out = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(out), Value::Object(entry)) = (out.as_object_mut(), group_entry(name)) {
        out.extend(entry);
    }
    Some(out)
}

/// The document at `/apis/{group}/{version}`, or `/api/v1` for the core group.
pub fn resources(group: &str, version: &str) -> Option<Value> {
    if !versions(group).contains(&version) {
        return None;
    }
    let mut list = Vec::new();
    for (kind, _) in members(group, version) {
        list.push(resource_entry(kind));
        list.extend(kind.subresources.iter().map(|s| subresource_entry(kind, s)));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

/// Groups that are served, without the core group, in the order of registration.
pub fn groups() -> Vec<&'static str> {
    let mut out = Vec::new();
    for kind in all().filter(|k| k.served() && !k.group.is_empty()) {
        if !out.contains(&kind.group) {
            out.push(kind.group);
        }
    }
    out
}

/// Versions of a group that are served, the preferred one first.
pub fn versions(group: &str) -> Vec<&'static str> {
    let mut out: Vec<&'static str> = Vec::new();
    for kind in all().filter(|k| k.group == group) {
        for version in kind.versions.iter().filter(|v| v.served) {
            if !out.contains(&version.name) {
                out.push(version.name);
            }
        }
    }
    out.sort_by_key(|name| std::cmp::Reverse(maturity(name)));
    out
}

/// Orders versions as Kubernetes does: `v2`, `v1`, `v1beta1`, `v1alpha1`.
fn maturity(name: &str) -> (u8, u32, u32) {
    let digits = |text: &str| text.parse().unwrap_or(0);
    let rest = name.trim_start_matches('v');
    let (stage, major, minor) = if let Some((major, minor)) = rest.split_once("beta") {
        (1, major, minor)
    } else if let Some((major, minor)) = rest.split_once("alpha") {
        (0, major, minor)
    } else {
        (2, rest, "")
    };
    (stage, digits(major), digits(minor))
}

fn members(group: &str, version: &str) -> impl Iterator<Item = (&'static Kind, &'static Version)> {
    all().filter(move |k| k.group == group).filter_map(move |k| Some((k, k.version(version)?)))
}

fn group_entry(group: &str) -> Value {
    let versions: Vec<Value> = versions(group)
        .iter()
        .map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn resource_entry(kind: &Kind) -> Value {
    let mut out = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced(), "kind": kind.kind,
        "verbs": kind.verbs,
    });
    insert_list(&mut out, "shortNames", kind.short_names);
    insert_list(&mut out, "categories", kind.categories);
    out
}

fn subresource_entry(kind: &Kind, subresource: &Subresource) -> Value {
    let mut out = json!({
        "name": format!("{}/{}", kind.plural, subresource.name), "singularName": "", "namespaced": kind.namespaced(),
        "kind": kind.kind, "verbs": subresource.verbs,
    });
    if let Some((group, version, answer)) = subresource.answers {
        out["group"] = group.into();
        out["version"] = version.into();
        out["kind"] = answer.into();
    }
    out
}

fn aggregated(form: Form, groups: &[&str]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> = versions(group)
                .iter()
                .map(|version| {
                    let mut kinds: Vec<&Kind> = members(group, version).map(|(k, _)| k).collect();
                    kinds.sort_by_key(|k| k.plural);
                    let resources: Vec<Value> = kinds.iter().map(|k| discovered(k, version)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": form.api_version(), "metadata": {}, "items": items})
}

fn discovered(kind: &Kind, version: &str) -> Value {
    let mut out = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": version, "kind": kind.kind},
        "scope": if kind.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    insert_list(&mut out, "shortNames", kind.short_names);
    insert_list(&mut out, "categories", kind.categories);
    if !kind.subresources.is_empty() {
        let list: Vec<Value> = kind
            .subresources
            .iter()
            .map(|s| {
                let (group, version, kind) = s.answers.unwrap_or((kind.group, "", kind.kind));
                let version =
                    if version.is_empty() { &out["responseKind"]["version"] } else { &version.into() };
                json!({"subresource": s.name, "verbs": s.verbs,
                       "responseKind": {"group": group, "version": version, "kind": kind}})
            })
            .collect();
        out["subresources"] = list.into();
    }
    out
}

fn insert_list(out: &mut Value, key: &str, list: &[&str]) {
    let map: Option<&mut Map<String, Value>> = out.as_object_mut();
    if let Some(map) = map.filter(|_| !list.is_empty()) {
        map.insert(key.to_owned(), list.into());
    }
}

#[cfg(test)]
mod tests;
