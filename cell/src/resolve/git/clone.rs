//! A file of a repository, by git's own protocol.

use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, Method};
use bytes::Bytes;
use url::Url;

use super::pack::{self, Kind, Objects};
use super::protocol::{self, Format, Server};
use super::{Wanted, found};
use crate::fetch::{Answer, Request, basic};
use crate::resolve::ask::{Ask, Found, Trouble, hex};

/// Bytes of a list of names.
const REFS_MAX: usize = 4 << 20;
/// Objects that are fetched one by one.
const SINGLES_MAX: usize = 16;
/// Links that are followed, of links and of tags.
const LINKS_MAX: usize = 16;
const PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");

/// A repository at its server.
struct Repository<'a> {
    ask: &'a Ask<'a>,
    /// As it was written.
    name: &'a str,
    base: Url,
    login: Option<HeaderValue>,
    server: Server,
    objects: Objects,
    singles: usize,
}

pub(super) async fn fetch(
    ask: &Ask<'_>,
    url: &str,
    token: Option<&(String, String)>,
    wanted: &Wanted,
) -> Result<Found, Trouble> {
    let mut repository = Repository::open(ask, url, token).await?;
    let commit = repository.commit(&wanted.revision).await?;
    let data = repository.file(&commit, &wanted.path).await.map_err(|trouble| match trouble {
        Trouble::Answer(why) => Trouble::Answer(format!("error opening file {:?}: {why}", wanted.path)),
        other => other,
    })?;
    Ok(found(url, &hex(&commit), &wanted.path, data))
}

impl<'a> Repository<'a> {
    async fn open(
        ask: &'a Ask<'a>,
        name: &'a str,
        token: Option<&(String, String)>,
    ) -> Result<Self, Trouble> {
        let whole: Url = name.parse().map_err(|_| format!("invalid git repository url: {name}"))?;
        // Credentials of the URL, or of a Secret, which are worth more.
        let plain = Request::get(whole, REFS_MAX);
        let mut login = plain.secrets.into_iter().next().map(|(_, value)| value);
        if let Some((secret, key)) = token {
            let token = ask.secret(ask.namespace, secret, key).await?;
            login = basic("git", String::from_utf8_lossy(&token).trim_end());
        }
        let mut base = plain.url;
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&format!("{path}/"));
        base.set_query(None);
        base.set_fragment(None);
        let mut looked = base.join("info/refs").map_err(|_| format!("invalid git repository url: {name}"))?;
        looked.set_query(Some("service=git-upload-pack"));
        let request = Request::get(looked, REFS_MAX)
            .header(PROTOCOL, HeaderValue::from_static("version=2"))
            .authorization(login.clone());
        let answer = ask.cell.fetch.fetch(request).await;
        let answer = answer
            .map_err(|error| Trouble::fetch(&format!("{}: unable to access '{name}/'", cloning()), &error))?;
        check(&answer, name)?;
        let said = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if said != "application/x-git-upload-pack-advertisement" {
            return Err(format!("{}: repository '{name}/' not found: exit status 128", cloning()).into());
        }
        let server = protocol::server(&answer.body).map_err(|why| format!("{}: {why}", cloning()))?;
        // Where it has moved to is where it is asked; what opens it stays with the server that was named.
        let mut moved = answer.url;
        let path = moved.path().strip_suffix("info/refs").map(str::to_owned);
        moved.set_path(&path.ok_or_else(|| format!("{}: it redirects to {moved}", cloning()))?);
        moved.set_query(None);
        if moved.origin() != base.origin() {
            login = None;
        }
        Ok(Self { ask, name, base: moved, login, server, objects: Objects::new(), singles: 0 })
    }

    async fn post(&self, body: Vec<u8>, limit: usize) -> Result<Bytes, Trouble> {
        let url = self
            .base
            .join("git-upload-pack")
            .map_err(|_| format!("invalid git repository url: {}", self.name))?;
        let mut request = Request::get(url, limit)
            .header(PROTOCOL, HeaderValue::from_static("version=2"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-git-upload-pack-request"))
            .authorization(self.login.clone());
        request.method = Method::POST;
        request.body = body.into();
        let answer = self.ask.cell.fetch.fetch(request).await;
        let answer = answer.map_err(|error| Trouble::fetch("git fetch error", &error))?;
        check(&answer, self.name)?;
        Ok(answer.body)
    }

    /// The name of the commit that `revision` means; it and its folders are there afterwards.
    async fn commit(&mut self, revision: &str) -> Result<Vec<u8>, Trouble> {
        let exact = revision.len() == self.server.format.width() * 2
            && revision.bytes().all(|b| b.is_ascii_hexdigit());
        let mut name = if exact {
            revision.to_ascii_lowercase()
        } else {
            let answer = self.post(protocol::ask_refs(&self.server, revision), REFS_MAX).await?;
            let refs = protocol::refs(&answer).map_err(|why| format!("git fetch error: {why}"))?;
            let found = protocol::pick(&refs, revision).map(str::to_owned);
            let none =
                || format!("git fetch error: fatal: couldn't find remote ref {revision}: exit status 128");
            found.ok_or_else(none)?
        };
        self.fetch(&name).await?;
        for _ in 0..LINKS_MAX {
            let id = unhex(&name).ok_or_else(|| format!("git fetch error: {name:?} names no object"))?;
            match self.objects.get(&id) {
                Some((Kind::Commit, _)) => return Ok(id),
                Some((Kind::Tag, body)) => {
                    let about =
                        line(body, "object ").ok_or("git fetch error: a tag about nothing")?.to_owned();
                    name = about;
                    if unhex(&name).is_some_and(|id| !self.objects.contains_key(&id)) {
                        self.fetch(&name).await?;
                    }
                }
                Some(_) => break,
                None => return Err(format!(
                    "git fetch error: fatal: remote error: upload-pack: not our ref {name}: exit status 128"
                )
                .into()),
            }
        }
        Err(format!("git checkout error: {revision} is no commit").into())
    }

    async fn fetch(&mut self, name: &str) -> Result<(), Trouble> {
        let answer = self.post(protocol::ask_objects(&self.server, &[name]), pack::PACK_MAX).await?;
        let format: Format = self.server.format;
        // Unpacking may take a while, and others want to be served meanwhile.
        let unpacked = tokio::task::spawn_blocking(move || {
            let pack = protocol::pack(&answer)?;
            pack::read(&pack, format)
        });
        let unpacked = unpacked.await.map_err(|_| "git fetch error: the pack cannot be read".to_owned())?;
        self.objects.append(&mut unpacked.map_err(|why| format!("git fetch error: {why}"))?);
        Ok(())
    }

    /// An object, fetched if it was left out.
    async fn object(&mut self, id: &[u8]) -> Result<&(Kind, Vec<u8>), Trouble> {
        if !self.objects.contains_key(id) {
            self.singles += 1;
            if self.singles > SINGLES_MAX {
                return Err("too many objects are missing from the pack".into());
            }
            self.fetch(&hex(id)).await?;
        }
        self.objects.get(id).ok_or_else(|| "file does not exist".into())
    }

    /// The file at `path`; links inside the repository are followed.
    async fn file(&mut self, commit: &[u8], path: &str) -> Result<Vec<u8>, Trouble> {
        let gone = || Trouble::from("file does not exist");
        let (_, body) = self.object(commit).await?;
        let root = line(body, "tree ").and_then(unhex).ok_or_else(gone)?;
        let mut at: Vec<Vec<u8>> = vec![root];
        let mut rest: Vec<String> = parts(path);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                at.pop();
                if at.is_empty() {
                    return Err(format!(
                        "path {path:?} attempts to escape the repository directory (possible path traversal attack)"
                    )
                    .into());
                }
                continue;
            }
            let width = self.server.format.width();
            let folder = at.last().cloned().ok_or_else(gone)?;
            let (Kind::Tree, body) = self.object(&folder).await? else { return Err(gone()) };
            let (mode, id) = entry(body, part.as_bytes(), width).ok_or_else(gone)?;
            match mode {
                b"40000" => at.push(id),
                b"120000" => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err("too many levels of symbolic links".into());
                    }
                    let (_, target) = self.object(&id).await?;
                    let target = String::from_utf8(target.clone()).map_err(|_| gone())?;
                    if target.starts_with('/') {
                        return Err(format!(
                            "path {path:?} attempts to escape the repository directory (possible path traversal attack)"
                        )
                        .into());
                    }
                    rest.extend(parts(&target));
                }
                b"100644" | b"100755" | b"100664" if rest.is_empty() => {
                    let (Kind::Blob, data) = self.object(&id).await? else { return Err(gone()) };
                    return Ok(data.clone());
                }
                // A file where a folder would have to be, or another repository.
                _ => return Err(gone()),
            }
        }
        Err(format!("read {path}: is a directory").into())
    }
}

fn cloning() -> &'static str {
    "error resolving repository: git clone error: fatal"
}

fn check(answer: &Answer, name: &str) -> Result<(), Trouble> {
    match answer.status {
        200 => Ok(()),
        401 | 403 => Err("error resolving repository: clone error: authentication required".into()),
        status @ (429 | 500..) => {
            let why = format!(
                "{}: unable to access '{name}/': The requested URL returned error: {status}",
                cloning()
            );
            Err(Trouble::Passing(why))
        }
        _ => Err(format!("{}: repository '{name}/' not found: exit status 128", cloning()).into()),
    }
}

/// Parts of a path, the first one last.
fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").rev().map(str::to_owned).collect()
}

/// The value behind `head` in the first lines of a commit or tag.
fn line<'a>(body: &'a [u8], head: &str) -> Option<&'a str> {
    let lines = body.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
    let mut texts = lines.filter_map(|line| std::str::from_utf8(line).ok());
    texts.find_map(|text| text.strip_prefix(head))
}

/// Mode and object of `name` in a folder.
fn entry<'a>(folder: &'a [u8], name: &[u8], width: usize) -> Option<(&'a [u8], Vec<u8>)> {
    let mut rest = folder;
    loop {
        let blank = rest.iter().position(|b| *b == b' ')?;
        let end = blank + rest[blank..].iter().position(|b| *b == 0)?;
        let id = rest.get(end + 1..end + 1 + width)?;
        if &rest[blank + 1..end] == name {
            return Some((&rest[..blank], id.to_vec()));
        }
        rest = &rest[end + 1 + width..];
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
