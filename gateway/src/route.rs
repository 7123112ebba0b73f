//! From a path to what it means. The whole table is here; a path that is not in it is 404.

use apimachinery::kind::{self, Kind, Version};

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
    /// Objects.
    Objects(Objects),
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
pub fn parse(path: &str) -> Option<Route> {
    if path.len() > PATH_MAX {
        return None;
    }
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decoded).collect::<Option<_>>()?;
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(match words.as_slice() {
        ["livez" | "readyz" | "healthz", ..] => Route::Health,
        ["metrics"] => Route::Metrics,
        ["statusz"] => Route::Statusz,
        ["version"] => Route::Version,
        ["api"] => Route::Api,
        ["apis"] => Route::Apis,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["api", version] => Route::Resources(String::new(), (*version).to_owned()),
        ["apis", group, version] => Route::Resources((*group).to_owned(), (*version).to_owned()),
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", rest @ ..] => Route::OpenApi(rest.join("/")),
        ["api", version, rest @ ..] => Route::Objects(objects("", version, rest)?),
        ["apis", group, version, rest @ ..] => Route::Objects(objects(group, version, rest)?),
        _ => return None,
    })
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Option<Objects> {
    let (namespace, rest) = match rest {
        // `namespaces/NAME` and `namespaces/NAME/status` are about the namespace itself.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, inner @ ..] => (Some((*namespace).to_owned()), inner),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, sub] => (plural, Some(*name), Some(*sub)),
        _ => return None,
    };
    let (kind, version) = kind::resource(group, version, plural).filter(|(_, v)| v.served)?;
    // An object in a namespace has one in its path; a cluster-scoped one never.
    let fits = if kind.namespaced() { namespace.is_some() || name.is_none() } else { namespace.is_none() };
    if !fits || subresource.is_some_and(|sub| kind.subresource(sub).is_none()) {
        return None;
    }
    let (name, subresource) = (name.map(str::to_owned), subresource.map(str::to_owned));
    Some(Objects { kind, version, namespace, name, subresource })
}

/// Percent-decodes one segment; a slash or a NUL in it is no name of ours.
fn decoded(segment: &str) -> Option<String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let pair = [bytes.next()?, bytes.next()?];
        let pair = std::str::from_utf8(&pair).ok()?;
        out.push(u8::from_str_radix(pair, 16).ok()?);
    }
    let text = String::from_utf8(out).ok()?;
    (!text.contains(['/', '\0'])).then_some(text)
}

#[cfg(test)]
mod tests;
