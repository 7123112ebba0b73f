//! From a path to what it means. The whole table is here; a path that is not in it leads nowhere.

use apimachinery::kind::{self, Kind, Version};

use crate::admin;

/// What a path is about.
#[derive(Clone, Debug)]
pub enum Route {
    /// `/livez`, `/readyz`, `/healthz`: no credential needed.
    Health,
    /// `/metrics`: no tenant's data in it.
    Metrics,
    /// `/statusz`.
    Statusz,
    /// `/version`.
    Version,
    /// `/api`.
    Api,
    /// `/apis`.
    Apis,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources(String, String),
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/PATH`.
    OpenApi(String),
    /// What is stored about a run: namespace and name.
    Why(String, String),
    /// Below `/admin/v1`: for operators.
    Admin(admin::Target),
    /// Objects.
    Objects(Objects),
    /// Below an object, where there is nothing.
    NoPart(&'static Kind, String),
    /// Nothing is there.
    Nowhere,
}

/// Objects that a path names.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The kind.
    pub kind: &'static Kind,
    /// In which version.
    pub version: &'static Version,
    /// `None`: all namespaces, or cluster-scoped.
    pub namespace: Option<String>,
    /// `None`: the collection.
    pub name: Option<String>,
    /// `status`, `log`, …
    pub subresource: Option<String>,
    /// It is an old-style watch path (`/apis/tekton.dev/v1/watch/…`).
    pub watch_path: bool,
}

/// Longest path that is looked at.
const PATH_MAX: usize = 2048;

/// A path without prefix, split off: the tenant that it names, if any, and the rest.
pub fn tenant_prefix(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/clusters/") else { return (None, path) };
    match rest.find('/') {
        Some(end) => (Some(&rest[..end]), &rest[end..]),
        None => (Some(rest), "/"),
    }
}

/// What `path` (without prefix, percent-encoded) is about.
pub fn parse(path: &str) -> Route {
    let Some(path) = decoded(path).filter(|_| path.len() <= PATH_MAX) else { return Route::Nowhere };
    let path = path.strip_prefix('/').unwrap_or(&path);
    let words: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    match words.as_slice() {
        ["livez" | "readyz" | "healthz", ..] => Route::Health,
        ["metrics"] => Route::Metrics,
        ["statusz"] => Route::Statusz,
        ["version"] => Route::Version,
        ["api"] => Route::Api,
        ["apis"] => Route::Apis,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["api", version] => Route::Resources(String::new(), (*version).to_owned()),
        ["apis", group, version] if !group.is_empty() => {
            Route::Resources((*group).to_owned(), (*version).to_owned())
        }
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", rest @ ..] => Route::OpenApi(rest.join("/")),
        ["apis", "cella.dev", "v1", "namespaces", namespace, "runs", name, "why"] => {
            Route::Why((*namespace).to_owned(), (*name).to_owned())
        }
        ["admin", "v1", rest @ ..] => admin::target(rest).map_or(Route::Nowhere, Route::Admin),
        ["api", version, rest @ ..] => objects("", version, rest),
        ["apis", group, version, rest @ ..] if !group.is_empty() => objects(group, version, rest),
        _ => Route::Nowhere,
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Route {
    let (rest, watch_path) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (rest, true),
        _ => (rest, false),
    };
    let (namespace, rest) = match rest {
        // `namespaces/NAME` and `namespaces/NAME/status` are about the namespace itself.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, inner @ ..] => (Some((*namespace).to_owned()), inner),
        _ => (None, rest),
    };
    let [plural, below @ ..] = rest else { return Route::Nowhere };
    let Some((kind, version)) = kind::resource(group, version, plural).filter(|(_, v)| v.served) else {
        return Route::Nowhere;
    };
    let (name, part) = match below {
        [] => (None, None),
        [name] => (Some(*name), None),
        [name, part] => (Some(*name), Some(*part)),
        // As in the reference, what follows a part of a custom object is not looked at.
        [name, part, ..] if kind.custom => (Some(*name), Some(*part)),
        [name, ..] => return Route::NoPart(kind, (*name).to_owned()),
    };
    // An object in a namespace has one in its path; a cluster-scoped one never.
    let fits = if kind.namespaced() { namespace.is_some() || name.is_none() } else { namespace.is_none() };
    if !fits {
        return Route::Nowhere;
    }
    let (name, subresource) = (name.map(str::to_owned), part.map(str::to_owned));
    match (&name, part) {
        (Some(name), _) if name.is_empty() => Route::NoPart(kind, String::new()),
        (Some(name), Some(part)) if watch_path || kind.subresource(part).is_none() => {
            Route::NoPart(kind, name.clone())
        }
        _ => Route::Objects(Objects { kind, version, namespace, name, subresource, watch_path }),
    }
}

/// Percent-decodes a path; there is no NUL in one of ours.
fn decoded(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests;
