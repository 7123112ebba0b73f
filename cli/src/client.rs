//! A small client of the gateway: JSON over HTTP/2 and TLS, with the installation's own authority.
//!
//! For the demo and for measurements; people use kubectl and tkn.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use base::host::Host;
use base::real::{OnClock, OnJobs};

/// How to reach a gateway as one tenant's user.
#[derive(Clone, Debug)]
pub struct Access {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Certificate of the authority, PEM.
    pub authority_pem: String,
    /// Bearer token.
    pub token: String,
}

/// One HTTP/2 connection to the gateway.
#[derive(Clone)]
pub struct Client {
    access: Arc<Access>,
    send: SendRequest<Full<Bytes>>,
}

/// An answer that is not a success: the Kubernetes `Status`.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// The server's message.
    pub message: String,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the gateway cannot be reached or does not prove who it is.
    pub async fn connect(access: &Access, host: &Host) -> Result<Self> {
        let stream = stream(access, b"h2").await?;
        let (send, connection) = http2::Builder::new(OnJobs(host.jobs.clone()))
            .timer(OnClock(host.clock.clone()))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 23)
            .handshake(TokioIo::new(stream))
            .await?;
        host.spawn("client-connection", async move { drop(connection.await) });
        Ok(Self { access: Arc::new(access.clone()), send })
    }

    /// Sends one request; the answer may be of any status.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.access.address))
            .header("authorization", format!("Bearer {}", self.access.token))
            .header("user-agent", "cella");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut send = self.send.clone();
        send.ready().await?;
        Ok(send.send_request(request.body(Full::new(body.unwrap_or_default()))?).await?)
    }

    /// Sends one request and reads a JSON answer.
    ///
    /// # Errors
    /// [`Refused`] when the answer is not a success.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        let response = self.send(method, path, body).await?;
        let code = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !code.is_success() {
            let status: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let message = status["message"]
                .as_str()
                .map_or_else(|| String::from_utf8_lossy(&bytes).into(), String::from);
            bail!(Refused { code: code.as_u16(), message });
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Opens a stream of lines (a watch, a log).
    ///
    /// # Errors
    /// [`Refused`] when the answer is not a success.
    pub async fn lines(&self, path: &str) -> Result<Lines> {
        let response = self.send(Method::GET, path, None).await?;
        let code = response.status();
        if !code.is_success() {
            let bytes = response.into_body().collect().await?.to_bytes();
            let status: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            bail!(Refused {
                code: code.as_u16(),
                message: status["message"].as_str().unwrap_or_default().to_owned()
            });
        }
        Ok(Lines { body: response.into_body(), rest: Vec::new(), ended: false })
    }
}

/// A connection to the gateway, which has proved who it is; `protocol` is what will be spoken on it.
///
/// # Errors
/// When the gateway cannot be reached or does not prove who it is.
pub async fn stream(access: &Access, protocol: &[u8]) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(access.authority_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(&access.address)
        .await
        .with_context(|| format!("cannot reach the gateway at {}", access.address))?;
    stream.set_nodelay(true)?;
    let name = access.address.rsplit_once(':').map_or(access.address.as_str(), |(host, _)| host);
    let name = ServerName::try_from(name.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

/// Lines of a streamed answer.
pub struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The next line without its end; `None` when the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.ended {
                let last = std::mem::take(&mut self.rest);
                return Ok((!last.is_empty()).then_some(last));
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                None => self.ended = true,
            }
        }
    }
}
