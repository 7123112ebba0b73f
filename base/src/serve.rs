//! Serving a router on a listener: plain (between our processes), on a Unix socket, or with TLS (to clients).
//! HTTP/1.1 and HTTP/2 on the same port. Each server ends when its future is dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::host::{Clock, Jobs};
use crate::real::{OnClock, OnJobs};

const STREAMS_MAX: u32 = 1000;
const HEADERS_MAX: u32 = 64 * 1024;
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come from.
pub trait Listener: Send + Sync {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves `router` without TLS.
///
/// # Errors
/// Only when the listener is broken for good.
pub async fn plain<L: Listener>(
    listener: L,
    router: Router,
    clock: Arc<dyn Clock>,
    jobs: Arc<dyn Jobs>,
) -> io::Result<()> {
    loop {
        let stream = next(&listener, &clock).await;
        let job = connection(stream, router.clone(), clock.clone(), jobs.clone());
        jobs.spawn("connection", Box::pin(job));
    }
}

/// Serves `router` with TLS.
///
/// # Errors
/// Only when the listener is broken for good.
pub async fn https(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    clock: Arc<dyn Clock>,
    jobs: Arc<dyn Jobs>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let stream = next(&listener, &clock).await;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        let (clock, jobs_of_connection) = (clock.clone(), jobs.clone());
        let job = async move {
            let shaken = crate::host::race(acceptor.accept(stream), clock.sleep(HANDSHAKE_TIMEOUT)).await;
            if let crate::host::Either::Left(Ok(stream)) = shaken {
                connection(stream, router, clock, jobs_of_connection).await;
            }
        };
        jobs.spawn("connection", Box::pin(job));
    }
}

/// The next connection. What cannot be accepted for want of file descriptors, most likely, waits until others have
/// finished.
async fn next<L: Listener>(listener: &L, clock: &Arc<dyn Clock>) -> L::Stream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: S, router: Router, clock: Arc<dyn Clock>, jobs: Arc<dyn Jobs>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(OnJobs(jobs));
    builder.http1().timer(OnClock(clock.clone())).header_read_timeout(HEADERS_TIMEOUT).max_headers(200);
    builder
        .http2()
        .timer(OnClock(clock))
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let service = TowerToHyperService::new(router);
    // A client that goes away in the middle is its own affair.
    drop(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
}
