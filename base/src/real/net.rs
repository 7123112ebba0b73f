//! Requests between our processes over sockets: HTTP/2 on TCP (`127.0.0.1:7000`) or on a Unix socket
//! (`unix:/run/cell.sock`), with TLS at `https://127.0.0.1:7000`; a router served by this very process at `local:NAME` is called directly.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Request, Response, Uri};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::ServiceExt;

use crate::host::{BoxFuture, Clock, Jobs, Net, NetError};
use crate::serve;

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// [`Net`] over sockets. Keeps one HTTP/2 connection per peer.
pub struct HyperNet {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    jobs: Arc<dyn Jobs>,
    peers: Mutex<BTreeMap<String, SendRequest<Body>>>,
    local: Mutex<BTreeMap<String, Router>>,
    /// Whom to believe at `https://` addresses.
    tls: Mutex<Option<Arc<ClientConfig>>>,
}

impl HyperNet {
    /// A net without connections.
    pub fn new(clock: Arc<dyn Clock>, jobs: Arc<dyn Jobs>) -> Self {
        let (peers, local, tls) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { clock, jobs, peers, local, tls }) }
    }

    /// Believes servers at `https://` addresses whose certificates the authority of `tls` has signed; without, no such
    /// server is called.
    pub fn believe(&self, tls: Arc<ClientConfig>) {
        *self.inner.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }
}

impl Inner {
    async fn peer(&self, to: &str) -> Result<SendRequest<Body>, NetError> {
        if let Some(peer) = self.peers.lock().unwrap_or_else(PoisonError::into_inner).get(to)
            && !peer.is_closed()
        {
            return Ok(peer.clone());
        }
        let dial = async {
            match to.strip_prefix("unix:") {
                Some(path) => self.handshake(TokioIo::new(UnixStream::connect(path).await?)).await,
                None => match to.strip_prefix("https://") {
                    Some(to) => self.handshake(TokioIo::new(self.with_tls(to).await?)).await,
                    None => {
                        let stream = TcpStream::connect(to).await?;
                        stream.set_nodelay(true)?;
                        self.handshake(TokioIo::new(stream)).await
                    }
                },
            }
        };
        let peer = match crate::host::race(dial, self.clock.sleep(DIAL_TIMEOUT)).await {
            crate::host::Either::Left(peer) => peer.map_err(|_| NetError::Refused)?,
            crate::host::Either::Right(()) => return Err(NetError::Refused),
        };
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_owned(), peer.clone());
        Ok(peer)
    }

    async fn with_tls(&self, to: &str) -> io::Result<TlsStream<TcpStream>> {
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = tls.ok_or_else(|| io::Error::other("no authority is believed"))?;
        let name = to.rsplit_once(':').map_or(to, |(name, _)| name).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(tls).connect(name, stream).await
    }

    async fn handshake<S>(&self, stream: S) -> io::Result<SendRequest<Body>>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (peer, connection) = http2::Builder::new(OnJobs(self.jobs.clone()))
            .timer(OnClock(self.clock.clone()))
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 22)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        self.jobs.spawn("net-connection", Box::pin(async move { drop(connection.await) }));
        Ok(peer)
    }

    async fn call(&self, to: &str, mut request: Request<Body>) -> Result<Response<Body>, NetError> {
        if to.starts_with("local:") {
            let router = self.local.lock().unwrap_or_else(PoisonError::into_inner).get(to).cloned();
            let Some(router) = router else { return Err(NetError::Refused) };
            return router.oneshot(request).await.map_err(|never| match never {});
        }
        // HTTP/2 wants an authority; the address of a Unix socket is none.
        if request.uri().authority().is_none() {
            let authority = if to.starts_with("unix:") { "cella.invalid" } else { to };
            let authority = authority.strip_prefix("https://").unwrap_or(authority);
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            *request.uri_mut() =
                format!("http://{authority}{path}").parse::<Uri>().map_err(|_| NetError::Refused)?;
        }
        let mut peer = self.peer(to).await?;
        if peer.ready().await.is_err() {
            self.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(to);
            peer = self.peer(to).await?;
            peer.ready().await.map_err(|_| NetError::Refused)?;
        }
        let response = peer.send_request(request).await.map_err(|_| NetError::Broken)?;
        Ok(response.map(Body::new))
    }
}

impl Net for HyperNet {
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, NetError>> {
        let (inner, to) = (self.inner.clone(), to.to_owned());
        Box::pin(async move { inner.call(&to, request).await })
    }

    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, io::Result<()>> {
        let (inner, at) = (self.inner.clone(), at.to_owned());
        Box::pin(async move {
            if at.starts_with("local:") {
                inner.local.lock().unwrap_or_else(PoisonError::into_inner).insert(at.clone(), router);
                let _remove = Unserve(inner.clone(), at);
                return std::future::pending().await;
            }
            let (clock, jobs) = (inner.clock.clone(), inner.jobs.clone());
            match at.strip_prefix("unix:") {
                Some(path) => serve::plain(UnixListener::bind(path)?, router, clock, jobs).await,
                None => serve::plain(TcpListener::bind(&at).await?, router, clock, jobs).await,
            }
        })
    }
}

struct Unserve(Arc<Inner>, String);

impl Drop for Unserve {
    fn drop(&mut self) {
        self.0.local.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Lets hyper start its work as our jobs.
#[derive(Clone)]
pub struct OnJobs(pub Arc<dyn Jobs>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for OnJobs {
    fn execute(&self, work: F) {
        self.0.spawn("http", Box::pin(work));
    }
}

/// Lets hyper take time from our clock.
#[derive(Clone)]
pub struct OnClock(pub Arc<dyn Clock>);

struct Sleep(Mutex<BoxFuture<'static, ()>>);

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}

impl hyper::rt::Timer for OnClock {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Mutex::new(self.0.sleep(time))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    /// hyper counts in `Instant`s, which can only be made by asking the system once: our clock's distance from
    /// that one moment is what moves.
    #[allow(clippy::disallowed_methods, reason = "an arbitrary zero; only differences to it are used")]
    fn now(&self) -> Instant {
        static ZERO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *ZERO.get_or_init(Instant::now) + Duration::from_micros(self.0.mono().0)
    }
}
