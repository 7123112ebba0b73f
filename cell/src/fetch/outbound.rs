//! Requests over sockets: names resolved here, addresses checked, redirects followed by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{HOST, HeaderMap, LOCATION, USER_AGENT};
use axum::http::{HeaderValue, Method};
use base::host::{BoxFuture, Host};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::egress::Egress;
use super::{Answer, Fetch, FetchError, REDIRECTS_MAX, Request};

/// Longest time for one connection to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Header fields of an answer together; a server must not fill our memory with them.
const HEADERS_MAX: usize = 64 << 10;
const AGENT: HeaderValue = HeaderValue::from_static("cella-resolver");

/// [`Fetch`] over sockets. Every request has a connection of its own.
pub struct Outbound {
    host: Host,
    egress: Egress,
    tls: Arc<ClientConfig>,
}

impl Outbound {
    /// Requests under a policy. Servers are trusted by the certificates of this host, and by `authorities` (DER).
    pub fn new(host: Host, egress: Egress, authorities: &[CertificateDer<'static>]) -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate of this host cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        roots.add_parsable_certificates(authorities.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { host, egress, tls: Arc::new(tls) }
    }

    async fn follow(&self, request: Request) -> Result<Answer, FetchError> {
        let Request { mut method, mut url, headers, secrets, mut body, limit } = request;
        let origin = url.origin();
        for _ in 0..=REDIRECTS_MAX {
            let mut sent: HeaderMap = headers.iter().cloned().collect();
            if url.origin() == origin {
                sent.extend(secrets.iter().cloned());
            }
            let (head, incoming) = self.exchange(&method, &url, sent, body.clone()).await?;
            let Some(next) = redirect(&head, &url)? else {
                let body = read(incoming, limit).await?;
                return Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, url });
            };
            // 307 and 308 ask for the same request again, the others for a plain look.
            if !matches!(head.status.as_u16(), 307 | 308) {
                (method, body) = (Method::GET, Bytes::new());
            }
            url = next;
        }
        Err(FetchError::Redirects)
    }

    async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(axum::http::response::Parts, Incoming), FetchError> {
        let connect = self.host.within(CONNECT_TIMEOUT, self.connect(url)).await;
        let mut sender = connect.unwrap_or_else(|_| Err(unreachable(url, "connection timed out")))?;
        let mut request = axum::http::Request::new(Body::from(body));
        *request.method_mut() = method.clone();
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        *request.uri_mut() = target.parse().map_err(|_| unreachable(url, "its path cannot be sent"))?;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let authority = authority.parse().map_err(|_| unreachable(url, "its host cannot be sent"))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, authority);
        request.headers_mut().insert(USER_AGENT, AGENT);
        let answer =
            sender.send_request(request).await.map_err(|error| unreachable(url, &error.to_string()))?;
        Ok(answer.into_parts())
    }

    async fn connect(&self, url: &Url) -> Result<http1::SendRequest<Body>, FetchError> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(FetchError::Forbidden(format!("unsupported protocol scheme {other:?}"))),
        };
        let stream = self.dial(url).await?;
        if !https {
            return self.handshake(url, TokioIo::new(stream)).await;
        }
        let name = url.host_str().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let name =
            ServerName::try_from(name).map_err(|_| unreachable(url, "its name cannot be certified"))?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        let stream = stream.map_err(|error| unreachable(url, &format!("tls: {error}")))?;
        self.handshake(url, TokioIo::new(stream)).await
    }

    /// A connection to one of the addresses of `url`'s host that may be connected to.
    async fn dial(&self, url: &Url) -> Result<TcpStream, FetchError> {
        let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(0);
        let nobody = || FetchError::Unreachable(format!("dial tcp: lookup {host}: no such host"));
        let pin = self.egress.pins.get(&host.to_ascii_lowercase()).copied();
        let found: Vec<SocketAddr> = match pin {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => tokio::net::lookup_host((host, port)).await.map_err(|_| nobody())?.collect(),
        };
        let mut why = nobody();
        let mut tried = 0;
        for address in found {
            if pin.is_none()
                && let Err(class) = self.egress.check(address)
            {
                why = forbidden(host, address, class);
                continue;
            }
            tried += 1;
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => why = FetchError::Unreachable(format!("dial tcp {address}: connect: {error}")),
            }
            if tried == ADDRESSES_MAX {
                break;
            }
        }
        Err(why)
    }

    async fn handshake<S>(&self, url: &Url, stream: S) -> Result<http1::SendRequest<Body>, FetchError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEADERS_MAX);
        let made = builder.handshake(stream).await;
        let (sender, connection) = made.map_err(|error| unreachable(url, &error.to_string()))?;
        self.host.spawn("fetch connection", async move { drop(connection.await) });
        Ok(sender)
    }
}

impl Fetch for Outbound {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Answer, FetchError>> {
        Box::pin(self.follow(request))
    }
}

fn unreachable(url: &Url, why: &str) -> FetchError {
    FetchError::Unreachable(format!("{}: {why}", &url[url::Position::BeforeHost..url::Position::AfterPort]))
}

fn forbidden(host: &str, address: SocketAddr, class: &str) -> FetchError {
    let address = address.ip().to_canonical();
    FetchError::Forbidden(format!(
        "{host} is {class} address ({address}), which resolvers may not connect to; the operator of the cell can allow it (--egress-allow)"
    ))
}

/// Where an answer sends us; none if it is one that counts.
fn redirect(head: &axum::http::response::Parts, url: &Url) -> Result<Option<Url>, FetchError> {
    if !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(to) = head.headers.get(LOCATION) else { return Ok(None) };
    let to = to.to_str().ok().and_then(|to| url.join(to).ok());
    let to = to.ok_or_else(|| unreachable(url, "it redirects to something that is no URL"))?;
    if url.scheme() == "https" && to.scheme() != "https" {
        return Err(FetchError::Forbidden(format!(
            "{} redirects from https to {}, which is not followed",
            url.host_str().unwrap_or(""),
            to.scheme()
        )));
    }
    Ok(Some(to))
}

async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, FetchError> {
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| FetchError::Unreachable(format!("error reading response body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if out.len() + data.len() > limit {
            return Err(FetchError::TooLarge(limit));
        }
        out.extend_from_slice(&data);
    }
    Ok(out.freeze())
}

#[cfg(test)]
mod tests;
