//! The outside, for examples that need one: a git server, an image registry, a web server and a hub of tasks, all
//! ours, in a network namespace that lives as long as this process. They speak TLS with a certificate of the authority
//! that the stand-in images trust; `cella up --host NAME=ADDRESS` makes runs and resolvers find them under the names of
//! the real ones. Pods reach the namespace as they would reach the real outside: by address translation.

mod git;
mod registry;
mod web;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use nix::sched::{CloneFlags, unshare};
use tower::ServiceExt;

use crate::images::{authority, run_command};

pub use web::CATALOG;

/// Device on this host that leads to the outside. Not one that the agent's rules take for a pod's.
const DEVICE: &str = "outside0";
/// Addresses of the two ends, from a block that is kept for documentation: nobody can be there.
const NEAR: &str = "198.51.100.1/30";
const FAR: &str = "198.51.100.2";
const PORT: u16 = 443;

/// Names that are answered for, with who answers.
const NAMES: [(&str, Role); 6] = [
    ("github.com", Role::Git),
    ("raw.githubusercontent.com", Role::Files),
    ("artifacthub.io", Role::Hub),
    ("mirror.gcr.io", Role::Registry),
    ("gcr.io", Role::Registry),
    ("ghcr.io", Role::Registry),
];

#[derive(Clone, Copy)]
enum Role {
    Git,
    Files,
    Hub,
    Registry,
}

/// Names that the outside answers to.
pub fn names() -> Vec<String> {
    NAMES.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// The outside, for as long as it is held.
pub struct Outside {
    /// Its sockets keep the namespace alive.
    runtime: Option<tokio::runtime::Runtime>,
    _work: tempfile::TempDir,
}

struct Shared {
    git: git::Git,
    files: web::Files,
    registry: registry::Registry,
}

impl Outside {
    /// Starts the outside beside the stand-in images in `images` (the folder given to `images::build`).
    ///
    /// # Errors
    /// What is missing on this host.
    pub fn start(images: &Path) -> Result<Self> {
        let work = tempfile::Builder::new().prefix("cella-outside.").tempdir()?;
        let files = web::Files::new();
        let shared = Arc::new(Shared {
            git: git::Git::start(&work.path().join("git"))?,
            files,
            registry: registry::Registry::new(&images.join("layout"))?,
        });
        let tls = base::tls::load_or_make(&authority(images), &names())?;
        let listener = listener()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let (host, jobs) = base::real::host();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let router = Router::new().fallback(answer).with_state(shared);
            let clock = host.clock.clone();
            host.spawn("outside", async move {
                if let Err(error) = base::serve::https(listener, tls.server, router, clock, jobs).await {
                    eprintln!("the outside has failed: {error}");
                }
            });
            anyhow::Ok(())
        })?;
        Ok(Self { runtime: Some(runtime), _work: work })
    }

    /// Arguments of `cella up` that make it find the outside.
    pub fn arguments(images: &Path) -> Vec<String> {
        let hosts = names().into_iter().flat_map(|name| ["--host".to_owned(), format!("{name}={FAR}")]);
        let authority = authority(images).join("ca.pem").display().to_string();
        hosts.chain(["--resolver-ca".to_owned(), authority]).collect()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Gone with its namespace in any case; this makes it gone now.
        let _ = run_command(Command::new("ip").args(["link", "del", DEVICE]));
    }
}

/// A listener in a network namespace of its own, which a pair of devices connects with this host's.
fn listener() -> Result<TcpListener> {
    // Left by a process that was killed, and about to be taken down by the kernel.
    let _ = run_command(Command::new("ip").args(["link", "del", DEVICE]));
    let (thread, inside) = mpsc::channel();
    let (connected, wait) = mpsc::channel::<()>();
    // The namespace is that of one thread; what the thread opens stays in it.
    let far = std::thread::spawn(move || -> Result<TcpListener> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (root can)")?;
        thread.send(nix::unistd::gettid())?;
        wait.recv().context("the devices were not made")?;
        ip(&["link", "set", "lo", "up"])?;
        ip(&["addr", "add", &format!("{FAR}/30"), "dev", "eth0"])?;
        ip(&["link", "set", "eth0", "up"])?;
        let address: SocketAddr = format!("{FAR}:{PORT}").parse()?;
        Ok(TcpListener::bind(address)?)
    });
    if let Ok(thread) = inside.recv() {
        let thread = thread.to_string();
        ip(&["link", "add", DEVICE, "type", "veth", "peer", "name", "eth0", "netns", &thread])?;
        ip(&["addr", "add", NEAR, "dev", DEVICE])?;
        ip(&["link", "set", DEVICE, "up"])?;
        connected.send(())?;
    }
    far.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread of the outside has panicked")))
}

fn ip(words: &[&str]) -> Result<()> {
    run_command(Command::new("ip").args(words))
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().host()).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().to_owned();
    let role = NAMES.iter().find(|(name, _)| *name == host).map(|(_, role)| *role);
    match role {
        Some(Role::Git) => shared.git.answer(request).await,
        Some(Role::Files) => shared.files.answer(request.uri().path()),
        Some(Role::Hub) => shared.files.hub(request.uri().path()),
        Some(Role::Registry) => match shared.registry.router().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => (StatusCode::MISDIRECTED_REQUEST, format!("nobody stands in for {host:?}")).into_response(),
    }
}
