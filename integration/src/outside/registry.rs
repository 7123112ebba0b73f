//! An image registry: the stand-in images under the names of the real ones, and what is pushed, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::images::STANDS_IN_FOR;

/// Longest thing that is pushed.
const PUSH_MAX: usize = 64 << 20;
const HUB: &str = "docker.io/library/";

/// A registry on an image layout.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    layout: PathBuf,
    index: Value,
    pushed: Mutex<Pushed>,
}

#[derive(Default)]
struct Pushed {
    blobs: BTreeMap<String, Bytes>,
    /// `host/repository:tag` and `host/repository@digest`.
    manifests: BTreeMap<String, (String, Bytes)>,
}

impl Registry {
    /// The registry of the layout in `layout`.
    pub fn new(layout: &Path) -> Result<Self> {
        let index = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        Ok(Self { inner: Arc::new(Inner { layout: layout.to_owned(), index, pushed: Mutex::default() }) })
    }

    /// Its API.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).layer(DefaultBodyLimit::max(PUSH_MAX)).with_state(self.inner.clone())
    }
}

async fn answer(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| request.uri().host().map(str::to_owned)).unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|k| k.to_str().ok()).map(str::to_owned);
    let Some(rest) = path.strip_prefix("/v2/") else { return StatusCode::NOT_FOUND.into_response() };
    if rest.is_empty() {
        return axum::Json(serde_json::json!({})).into_response();
    }
    let read = matches!(method, Method::GET | Method::HEAD);
    if let Some((name, reference)) = rest.rsplit_once("/manifests/") {
        let name = format!("{host}/{name}");
        return match read {
            true => inner.manifest(&name, reference),
            false => match axum::body::to_bytes(request.into_body(), PUSH_MAX).await {
                Ok(bytes) => inner.push(&name, reference, kind.unwrap_or_default(), bytes),
                Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            },
        };
    }
    match rest.rsplit_once("/blobs/") {
        Some((_, "uploads/")) => match axum::body::to_bytes(request.into_body(), PUSH_MAX).await {
            Ok(bytes) => inner.upload(query.get("digest"), bytes),
            Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        },
        Some((_, digest)) if read => inner.blob(digest),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Inner {
    /// The manifest of a name; a stand-in answers to every tag and digest of its repository.
    fn manifest(&self, name: &str, reference: &str) -> Response {
        let separator = if reference.starts_with("sha256:") { '@' } else { ':' };
        let pushed = self.pushed().manifests.get(&format!("{name}{separator}{reference}")).cloned();
        if let Some((kind, bytes)) = pushed {
            return described(&kind, bytes.to_vec());
        }
        let same = |known: &str| {
            known == name
                || name.strip_prefix("mirror.gcr.io/").is_some_and(|rest| {
                    let rest = rest.trim_start_matches("library/");
                    known == format!("{HUB}{rest}") || known == format!("docker.io/{rest}")
                })
        };
        let mut entries = self.index["manifests"].as_array().into_iter().flatten();
        let found = entries.find(|e| e["annotations"][STANDS_IN_FOR].as_str().is_some_and(same));
        let Some(digest) = found.and_then(|entry| entry["digest"].as_str()) else {
            return (StatusCode::NOT_FOUND, "nobody stands in for this image").into_response();
        };
        match fs::read(self.file(digest)) {
            Ok(bytes) => described("application/vnd.oci.image.manifest.v1+json", bytes),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    fn blob(&self, digest: &str) -> Response {
        if let Some(bytes) = self.pushed().blobs.get(digest) {
            return bytes.clone().into_response();
        }
        match fs::read(self.file(digest)) {
            Ok(bytes) => bytes.into_response(),
            Err(_) => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn upload(&self, digest: Option<&String>, bytes: Bytes) -> Response {
        let found = digest_of(&bytes);
        if digest != Some(&found) {
            return (StatusCode::BAD_REQUEST, format!("its digest is {found}")).into_response();
        }
        self.pushed().blobs.insert(found, bytes);
        StatusCode::CREATED.into_response()
    }

    fn push(&self, name: &str, reference: &str, kind: String, bytes: Bytes) -> Response {
        let digest = digest_of(&bytes);
        let mut pushed = self.pushed();
        for key in [format!("{name}:{reference}"), format!("{name}@{digest}")] {
            pushed.manifests.insert(key, (kind.clone(), bytes.clone()));
        }
        (StatusCode::CREATED, [("docker-content-digest", digest)]).into_response()
    }

    fn file(&self, digest: &str) -> PathBuf {
        let hex: String =
            digest.trim_start_matches("sha256:").chars().filter(char::is_ascii_hexdigit).collect();
        self.layout.join("blobs/sha256").join(hex)
    }

    fn pushed(&self) -> std::sync::MutexGuard<'_, Pushed> {
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn described(kind: &str, bytes: Vec<u8>) -> Response {
    let digest = digest_of(&bytes);
    ([(header::CONTENT_TYPE.as_str(), kind.to_owned()), ("docker-content-digest", digest)], bytes)
        .into_response()
}

fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
