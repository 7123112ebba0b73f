//! Requests that a cell makes of the world on behalf of tenants: to git servers, hubs, registries, any web server.
//!
//! Whoever names the server is a tenant, and the cell stands where a tenant does not: inside our network. So every
//! request goes through one place, which resolves the name itself, refuses addresses that are not public
//! ([`egress`]), connects to the very address that it has checked, follows redirects by the same rules, and takes no
//! more bytes than it was told to.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method};
use base::host::BoxFuture;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use url::Url;

pub mod egress;
pub mod outbound;

/// Most redirects that are followed for one request.
pub const REDIRECTS_MAX: usize = 5;

/// A request to somebody else's server.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Where to: `http` or `https`.
    pub url: Url,
    /// Headers that any server may see.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that only the server of `url` may see: they are not sent on to another one.
    pub secrets: Vec<(HeaderName, HeaderValue)>,
    /// What is sent.
    pub body: Bytes,
    /// Most bytes of the answer.
    pub limit: usize,
}

impl Request {
    /// A GET of `url`, of at most `limit` bytes.
    pub fn get(url: Url, limit: usize) -> Self {
        let mut request = Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            secrets: Vec::new(),
            body: Bytes::new(),
            limit,
        };
        // As web clients do: credentials in a URL are basic ones, and not part of what is asked for.
        if !request.url.username().is_empty() || request.url.password().is_some() {
            let (user, password) = (request.url.username(), request.url.password().unwrap_or(""));
            let decode =
                |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            let basic = basic(&decode(user), &decode(password));
            let _ = request.url.set_username("");
            let _ = request.url.set_password(None);
            request.secrets.extend(basic.map(|value| (AUTHORIZATION, value)));
        }
        request
    }

    /// The same with a header that any server may see.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same with an `Authorization` that only this server may see.
    pub fn authorization(mut self, value: Option<HeaderValue>) -> Self {
        self.secrets.extend(value.map(|value| (AUTHORIZATION, value)));
        self
    }
}

/// Basic credentials; none if a header cannot hold them.
pub fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret_header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header that no log shows; none if a header cannot hold it.
pub fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// Where it came from in the end.
    pub url: Url,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// The egress policy does not let it out.
    #[error("{0}")]
    Forbidden(String),
    /// The name has no address, nobody listens, the connection broke, TLS failed.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is longer than it may be.
    #[error("response body exceeds maximum allowed size of {0} bytes")]
    TooLarge(usize),
    /// The server sends us round in circles.
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
}

/// Makes requests.
pub trait Fetch: Send + Sync {
    /// Sends `request`, and reads the whole answer.
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Answer, FetchError>>;
}

/// A world without any server, for simulations and tests that need none.
pub struct Nowhere;

impl Fetch for Nowhere {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Answer, FetchError>> {
        let host = request.url.host_str().unwrap_or("").to_owned();
        Box::pin(
            async move { Err(FetchError::Unreachable(format!("dial tcp: lookup {host}: no such host"))) },
        )
    }
}

/// [`Nowhere`], as [`crate::Parts`] wants it.
pub fn nowhere() -> Arc<dyn Fetch> {
    Arc::new(Nowhere)
}
