//! A file of a repository, by the API of the forge that it is on.

use axum::http::HeaderValue;
use axum::http::header::{ACCEPT, AUTHORIZATION, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::Url;

use super::{Place, Wanted, found};
use crate::fetch::{Request, secret_header};
use crate::resolve::ask::{Ask, Found, RESOURCE_MAX, Trouble};

/// Bytes of a forge's answer: a file in base64, and what the forge says about it.
const ANSWER_MAX: usize = 2 * RESOURCE_MAX;
const PRIVATE_TOKEN: HeaderName = HeaderName::from_static("private-token");

/// A forge, and where its API is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forge {
    /// Which one.
    pub kind: Kind,
    /// Where.
    pub api: Url,
}

/// Forges that we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// GitHub, and its enterprise servers.
    GitHub,
    /// Gitea and Forgejo.
    Gitea,
    /// GitLab.
    GitLab,
}

impl Forge {
    /// The forge of a type, at a server.
    ///
    /// # Errors
    /// In words for the run's message.
    pub fn of(scm: &str, server: &str) -> Result<Self, String> {
        let failed = |why: String| format!("failed to create SCM client: {why}");
        let server = server.trim_end_matches('/');
        let (kind, text) = match scm {
            "github" if server.is_empty() || server == "https://github.com" => {
                (Kind::GitHub, "https://api.github.com".to_owned())
            }
            "github" => (Kind::GitHub, format!("{}/api/v3", server.trim_end_matches("/api/v3"))),
            "gitea" if server.is_empty() => return Err(failed("No git serverURL was specified".into())),
            "gitea" => (Kind::Gitea, format!("{server}/api/v1")),
            "gitlab" if server.is_empty() => (Kind::GitLab, "https://gitlab.com/api/v4".to_owned()),
            "gitlab" => (Kind::GitLab, format!("{server}/api/v4")),
            other => {
                return Err(failed(format!(
                    "Unsupported GIT_KIND value: {other} (github, gitea and gitlab are served; others by url)"
                )));
            }
        };
        let api: Url = text.parse().map_err(|error| failed(format!("parse {text:?}: {error}")))?;
        match api.scheme() {
            "http" | "https" => Ok(Self { kind, api }),
            _ => Err(failed(format!("{text} is no http(s) url"))),
        }
    }

    fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(parts);
        }
        url
    }

    fn repository(&self, org: &str, repo: &str) -> Vec<String> {
        match self.kind {
            Kind::GitHub | Kind::Gitea => vec!["repos".into(), org.into(), repo.into()],
            Kind::GitLab => vec!["projects".into(), format!("{org}/{repo}")],
        }
    }

    /// Where a file, a commit, and the repository are described.
    pub fn urls(&self, org: &str, repo: &str, path: &str, revision: &str) -> [Url; 3] {
        let base = self.repository(org, repo);
        let base: Vec<&str> = base.iter().map(String::as_str).collect();
        let (file, commit): (Vec<&str>, Vec<&str>) = match self.kind {
            Kind::GitHub => (
                ["contents"].into_iter().chain(path.split('/')).collect(),
                ["commits"].into_iter().chain(revision.split('/')).collect(),
            ),
            Kind::Gitea => {
                (["contents"].into_iter().chain(path.split('/')).collect(), vec!["git", "commits", revision])
            }
            Kind::GitLab => (vec!["repository", "files", path], vec!["repository", "commits", revision]),
        };
        let mut file = self.join(base.iter().copied().chain(file));
        file.query_pairs_mut().append_pair("ref", revision);
        [file, self.join(base.iter().copied().chain(commit)), self.join(base)]
    }

    /// The header that shows a token.
    fn login(&self, token: &str) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self.kind {
            Kind::GitHub => (AUTHORIZATION, format!("Bearer {token}")),
            Kind::Gitea => (AUTHORIZATION, format!("token {token}")),
            Kind::GitLab => (PRIVATE_TOKEN, token.to_owned()),
        };
        Some((name, secret_header(&text)?))
    }
}

pub(super) async fn fetch(ask: &Ask<'_>, wanted: &Wanted) -> Result<Found, Trouble> {
    let Place::Forge { scm, server, org, repo, token } = &wanted.place else {
        return Err("not a repository of a forge".into());
    };
    let forge = Forge::of(scm, server)?;
    let (namespace, secret, key) = token;
    let token = ask.secret(namespace.as_deref().unwrap_or(ask.namespace), secret, key).await?;
    let login = forge.login(String::from_utf8_lossy(&token).trim_end());
    let [file, commit, repository] = forge.urls(org, repo, &wanted.path, &wanted.revision);
    let get = async |url: Url, about: &str| {
        let mut request = Request::get(url.clone(), ANSWER_MAX)
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        request.secrets.extend(login.clone());
        let answer = ask.cell.fetch.fetch(request).await.map_err(|error| Trouble::fetch(about, &error))?;
        match answer.status {
            200 => serde_json::from_slice::<Value>(&answer.body)
                .map_err(|error| Trouble::Answer(format!("{about}: {error}"))),
            401 => Err(Trouble::Answer(format!("{about}: Unauthorized"))),
            404 => Err(Trouble::Answer(format!("{about}: Not Found"))),
            status @ (429 | 500..) => Err(Trouble::Passing(format!("{about}: status {status}"))),
            status => Err(Trouble::Answer(format!("{about}: status {status}"))),
        }
    };
    let content = get(file, "couldn't fetch resource content").await?;
    let data = decoded(&content).ok_or("couldn't fetch resource content: it is not base64")?;
    if data.is_empty() {
        return Err(format!("no content for resource in {org}/{repo} {}", wanted.path).into());
    }
    let about = format!("couldn't fetch the commit sha for the ref {} in the repo", wanted.revision);
    let commit = get(commit, &about).await?;
    let repository = get(repository, "couldn't fetch repository").await?;
    let [revision, url] = [(&commit, ["sha", "id"]), (&repository, ["clone_url", "http_url_to_repo"])]
        .map(|(said, names)| names.iter().find_map(|name| said[*name].as_str()).unwrap_or("").to_owned());
    if revision.is_empty() {
        return Err(about.into());
    }
    Ok(found(&url, &revision, &wanted.path, data))
}

fn decoded(content: &Value) -> Option<Vec<u8>> {
    let text: String = content["content"].as_str().unwrap_or("").split_whitespace().collect();
    STANDARD.decode(text).ok()
}
