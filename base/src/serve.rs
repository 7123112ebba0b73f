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
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::host::{Clock, Jobs};
use crate::real::{OnClock, OnJobs};

const STREAMS_MAX: u32 = 1000;
const HEADERS_MAX: u32 = 64 * 1024;
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` without TLS.
///
/// # Errors
/// Only when the listener is broken for good.
pub async fn plain(
    listener: TcpListener,
    router: Router,
    clock: Arc<dyn Clock>,
    jobs: Arc<dyn Jobs>,
) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                jobs.spawn(
                    "connection",
                    Box::pin(connection(stream, router.clone(), clock.clone(), jobs.clone())),
                );
            }
            Err(error) => pause(&error, &clock).await,
        }
    }
}

/// Serves `router` on a Unix socket.
///
/// # Errors
/// Only when the listener is broken for good.
pub async fn unix(
    listener: UnixListener,
    router: Router,
    clock: Arc<dyn Clock>,
    jobs: Arc<dyn Jobs>,
) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                jobs.spawn(
                    "connection",
                    Box::pin(connection(stream, router.clone(), clock.clone(), jobs.clone())),
                );
            }
            Err(error) => pause(&error, &clock).await,
        }
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
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let (acceptor, router) = (acceptor.clone(), router.clone());
                let (clock, jobs_of_connection) = (clock.clone(), jobs.clone());
                let job = async move {
                    let shaken =
                        crate::host::race(acceptor.accept(stream), clock.sleep(HANDSHAKE_TIMEOUT)).await;
                    if let crate::host::Either::Left(Ok(stream)) = shaken {
                        connection(stream, router, clock, jobs_of_connection).await;
                    }
                };
                jobs.spawn("connection", Box::pin(job));
            }
            Err(error) => pause(&error, &clock).await,
        }
    }
}

/// Out of file descriptors, most likely: let the others finish instead of spinning.
async fn pause(error: &io::Error, clock: &Arc<dyn Clock>) {
    tracing::warn!(%error, "cannot accept a connection");
    clock.sleep(ACCEPT_PAUSE).await;
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
