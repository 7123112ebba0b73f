//! Files of git repositories: by git's own protocol over https (`url`), or by the API of a forge (`org` and `repo`).
//!
//! Nothing is cloned. The protocol is asked for one commit without history and, where the server can, without files;
//! then for the one file.

use std::collections::BTreeMap;

use super::ask::{Ask, Found, Params, RESOURCE_MAX, Trouble};
use super::settings::{self, Map};

mod clone;
mod forge;
pub mod pack;
pub mod protocol;

/// The ConfigMap as the reference installs it.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("fetch-timeout", "1m"),
    ("default-url", "https://github.com/tektoncd/catalog.git"),
    ("default-revision", "main"),
    ("scm-type", "github"),
    ("server-url", ""),
    ("api-token-secret-name", ""),
    ("api-token-secret-key", ""),
    ("api-token-secret-namespace", "default"),
    ("default-org", ""),
];

/// One of the named groups of settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// `fetch-timeout`.
    pub timeout: String,
    url: String,
    revision: String,
    org: String,
    server: String,
    scm: String,
    secret: String,
    secret_key: String,
    secret_namespace: String,
}

/// The group of settings that params ask for.
///
/// # Errors
/// The reference's text.
pub fn config(params: &Params, map: &Map) -> Result<Config, String> {
    let mut groups: BTreeMap<&str, Config> = BTreeMap::new();
    for (key, value) in map {
        let mut parts = key.split('.');
        let (group, name) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) => ("default", name),
            (Some(group), Some(name), None) => (group, name),
            _ => return Err(format!("key {key} passed in git resolver configmap is invalid")),
        };
        let config = groups.entry(group).or_default();
        let field = match name {
            "fetch-timeout" => &mut config.timeout,
            "default-url" => &mut config.url,
            "default-revision" => &mut config.revision,
            "default-org" => &mut config.org,
            "server-url" => &mut config.server,
            "scm-type" => &mut config.scm,
            "api-token-secret-name" => &mut config.secret,
            "api-token-secret-key" => &mut config.secret_key,
            "api-token-secret-namespace" => &mut config.secret_namespace,
            _ => continue,
        };
        value.clone_into(field);
    }
    match params.get("configKey") {
        Some(group) => groups
            .remove(group.as_str())
            .ok_or_else(|| format!("no git resolver configuration found for configKey {group}")),
        None => Ok(groups.remove("default").unwrap_or_default()),
    }
}

/// A Secret with a token: namespace (none: the request's), name, key.
type Token = (Option<String>, String, String);

/// From where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A repository by its URL.
    Url {
        /// The URL.
        url: String,
        /// What opens it.
        token: Option<(String, String)>,
    },
    /// A repository of a forge.
    Forge {
        /// `github`, `gitea`, `gitlab`.
        scm: String,
        /// Its server, or empty.
        server: String,
        /// Organisation.
        org: String,
        /// Repository.
        repo: String,
        /// What opens it.
        token: Token,
    },
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// From where.
    pub place: Place,
    /// Branch, tag or commit.
    pub revision: String,
    /// The file.
    pub path: String,
}

impl Wanted {
    /// Reads params.
    ///
    /// # Errors
    /// The reference's text.
    pub fn of(params: &Params, map: &Map) -> Result<Self, String> {
        let config = config(params, map)?;
        let given = |name: &str| params.get(name).map_or("", String::as_str);
        let revision = params.get("revision").cloned().or_else(|| some(&config.revision));
        let path = params.get("pathInRepo").cloned();
        let (mut url, repo) = (given("url").to_owned(), given("repo"));
        if !url.is_empty() && !repo.is_empty() {
            return Err("cannot specify both 'url' and 'repo'".into());
        }
        if url.is_empty() && repo.is_empty() {
            url = some(&config.url).ok_or("must specify one of 'url' or 'repo'")?;
        }
        let org = params.get("org").cloned().or_else(|| some(&config.org));
        if !repo.is_empty() && org.is_none() {
            return Err("'org' is required when 'repo' is specified".into());
        }
        let missing = [("revision", revision.is_none()), ("pathInRepo", path.is_none())];
        let missing: Vec<&str> =
            missing.into_iter().filter(|(_, gone)| *gone).map(|(name, _)| name).collect();
        let (Some(revision), Some(path)) = (revision, path) else {
            return Err(format!("missing required git resolver params: {}", missing.join(", ")));
        };
        if revision.starts_with('-') {
            return Err(format!("invalid revision {revision:?}: must not begin with '-'"));
        }
        if revision.chars().any(|c| c.is_control() || c == ' ') {
            return Err(format!("invalid revision {revision:?}: must not contain blanks"));
        }
        if repo.is_empty() && given("org").is_empty() {
            check_url(&url)?;
        }
        let path = path.trim_start_matches('/').to_owned();
        if path.split('/').any(|part| part == "..") {
            return Err(format!("invalid path {path:?}: must not contain '..' components"));
        }
        let place = if url.is_empty() {
            forge_place(params, &config, org.unwrap_or_default())?
        } else {
            let key = some(given("gitTokenKey")).unwrap_or_else(|| "token".into());
            Place::Url { url, token: some(given("gitToken")).map(|name| (name, key)) }
        };
        Ok(Self { place, revision, path })
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn forge_place(params: &Params, config: &Config, org: String) -> Result<Place, String> {
    let given = |name: &str| params.get(name).map_or("", String::as_str);
    let own_server = some(given("serverURL"));
    let token = match some(given("token")) {
        Some(name) => (None, name, some(given("tokenKey")).unwrap_or_else(|| "token".into())),
        None => {
            // A token of the settings goes to the server of the settings, and to no other.
            if let Some(server) = own_server.as_ref().filter(|server| **server != config.server) {
                return Err(format!(
                    "custom serverURL {server:?} requires a token parameter; the system token cannot be sent to a non-default server URL"
                ));
            }
            let unset = |key: &str| {
                format!(
                    "cannot get API token, required when specifying 'repo' param, '{key}' not specified in config"
                )
            };
            let name = some(&config.secret).ok_or_else(|| unset("api-token-secret-name"))?;
            let key = some(&config.secret_key).ok_or_else(|| unset("api-token-secret-key"))?;
            let namespace = some(&config.secret_namespace).unwrap_or_else(|| settings::NAMESPACE.into());
            (Some(namespace), name, key)
        }
    };
    Ok(Place::Forge {
        scm: some(given("scmType")).unwrap_or_else(|| config.scm.clone()),
        server: own_server.unwrap_or_else(|| config.server.clone()),
        org,
        repo: given("repo").to_owned(),
        token,
    })
}

/// Whether `url` is a repository's: what git knows, and of that what goes over the web.
fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("http" | "https") => Ok(()),
        Some("git" | "ssh" | "ftp" | "ftps") => Err(unserved(url)),
        _ => match url.split_once('@') {
            Some((user, rest)) if !user.is_empty() && !rest.is_empty() && !rest.starts_with(':') => {
                Err(unserved(url))
            }
            _ => Err(format!("invalid git repository url: {url}")),
        },
    }
}

fn unserved(url: &str) -> String {
    format!(
        "git repository url {url} cannot be fetched here: use its https url, with a token (gitToken) if it is private"
    )
}

pub(super) async fn resolve(ask: &Ask<'_>) -> Result<Found, Trouble> {
    let wanted = Wanted::of(ask.params, ask.map)?;
    let mut found = match &wanted.place {
        Place::Url { url, token } => clone::fetch(ask, url, token.as_ref(), &wanted).await?,
        Place::Forge { .. } => forge::fetch(ask, &wanted).await?,
    };
    if found.data.len() > RESOURCE_MAX {
        return Err(format!(
            "file {:?} exceeds the maximum allowed size of {RESOURCE_MAX} bytes",
            wanted.path
        )
        .into());
    }
    let mut annotate = |name: &str, value: &str| {
        found.annotations.insert(format!("resolution.tekton.dev/{name}"), value.to_owned());
    };
    annotate("content-type", "application/x-yaml");
    if let Place::Forge { org, repo, .. } = &wanted.place {
        annotate("org", org);
        annotate("repo", repo);
    }
    Ok(found)
}

/// What was found in a repository.
fn found(url: &str, revision: &str, path: &str, data: Vec<u8>) -> Found {
    let annotations = [("revision", revision), ("path", path), ("url", url)];
    let annotations =
        annotations.map(|(name, value)| (format!("resolution.tekton.dev/{name}"), value.to_owned()));
    Found {
        data,
        annotations: annotations.into(),
        uri: format!("git+{url}"),
        digest: ("sha1".into(), revision.to_owned()),
        entry_point: path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
