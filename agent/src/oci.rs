//! The `oci` runtime: containers of this host, below one supervisor process per pod.
//!
//! ```text
//! prepare: supervisor || images || network -> volumes -> create every container -> (start gate) -> go: start
//! events of the supervisor -> state of the members -> status, for whoever watches
//! ```
//! **Read in this order:** [`status`] (what is told), [`prepare`], [`wire`] and [`supervisor`] (PID 1 of the
//! pod), [`spec`], [`volumes`], [`logs`], [`network`].

pub mod cgroup;
mod events;
mod link;
pub mod logs;
pub mod network;
mod prepare;
mod probe;
mod quantity;
mod spec;
mod status;
pub mod supervisor;
mod volumes;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::host::{BoxFuture, Host, Mono, race};
use protocol::order::Order;
use tokio::sync::watch;

use crate::image::Cache;
use crate::runtime::{LogChunk, PodRuntime, Prepared, Seen};
use cgroup::Groups;
use link::Link;
use logs::Logs;
use network::Attached;
use status::{Members, Role, State};
use volumes::Volumes;
use wire::Request;

/// After KILL the kernel needs a moment.
const KILL_MAX: Duration = Duration::from_secs(10);

/// What the runtime is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the machine: of its control groups.
    pub machine: String,
    /// Folder of this machine alone.
    pub data: PathBuf,
    /// The entrypoint binary.
    pub entrypoint: PathBuf,
    /// Program that becomes the supervisor when its first argument is `supervisor`.
    pub program: PathBuf,
    /// An external OCI runtime instead of libcontainer.
    pub runtime: Option<PathBuf>,
    /// Addresses of names, for the pod's list of hosts.
    pub hosts: BTreeMap<String, std::net::IpAddr>,
}

/// The runtime of one pod.
pub struct Oci {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    host: Host,
    cache: Cache,
    groups: Groups,
    logs: Arc<Logs>,
    state: Mutex<Pod>,
    changed: watch::Sender<u64>,
}

/// What is known of the pod and held for it.
#[derive(Default)]
struct Pod {
    order: Option<Arc<Order>>,
    members: Members,
    timings: BTreeMap<String, i64>,
    link: Option<Arc<Link>>,
    volumes: Arc<Volumes>,
    network: Option<Attached>,
    /// It is being attached to the network.
    attaching: bool,
    /// Why that could not be.
    unattached: Option<String>,
    images: BTreeMap<String, crate::image::Image>,
    /// Ids that the supervisor knows -> names.
    names: BTreeMap<String, String>,
    created: BTreeMap<String, Creation>,
    probes: BTreeMap<u64, tokio::sync::oneshot::Sender<i32>>,
    next_probe: u64,
    stopping: bool,
    /// Preparing has ended: from here on the status tells how it goes on.
    prepared: bool,
    /// Every trace of it shall go.
    removed: bool,
    /// A supervisor was started, and some process of the pod may be left.
    supervised: bool,
    /// The supervisor has answered when it was asked whether it is there.
    alive: bool,
    /// The supervisor has said its last word.
    gone: bool,
    /// A process that was to make a container was killed before anything had started.
    broken: bool,
}

/// How far the creation of a container is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Creation {
    Asked,
    Created,
    /// Told to start.
    Started,
    /// It cannot run; shown when its turn comes.
    Failed(String),
}

impl Oci {
    /// A runtime without a pod. Makes the machine's folder and control groups.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(settings: Settings, cache: Cache, host: Host) -> io::Result<Self> {
        fs::create_dir_all(&settings.data)?;
        let groups = Groups::of(&settings.machine);
        groups.make();
        let logs = Logs::new(settings.data.join("logs"), host.clock.clone());
        let (state, changed) = (Mutex::default(), watch::Sender::new(1));
        Ok(Self { inner: Arc::new(Inner { settings, host, cache, groups, logs, state, changed }) })
    }
}

impl Inner {
    fn pod(&self) -> MutexGuard<'_, Pod> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pod and tells whoever watches.
    fn change<T>(&self, edit: impl FnOnce(&mut Pod) -> T) -> T {
        let value = edit(&mut self.pod());
        self.changed.send_modify(|n| *n += 1);
        value
    }

    /// Completes when the pod is as wanted.
    async fn until(&self, wanted: impl Fn(&Pod) -> bool) {
        let mut changes = self.changed.subscribe();
        while !wanted(&self.pod()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn now(&self) -> i64 {
        self.host.clock.utc().0
    }

    fn ask(&self, request: &Request) {
        let link = self.pod().link.clone();
        // A supervisor that is gone is seen by the events' end.
        drop(link.map(|link| link.ask(request, &[])));
    }

    /// Id of a container's present incarnation.
    fn id(pod: &Pod, name: &str) -> String {
        match pod.members.get(name).map_or(0, |m| m.restarts) {
            0 => name.to_owned(),
            restarts => format!("{name}.{restarts}"),
        }
    }

    /// Tells the supervisor to start a created container; what could not be created has ended.
    fn start(&self, name: &str) {
        let id = {
            let mut pod = self.pod();
            if pod.stopping {
                return;
            }
            let id = Self::id(&pod, name);
            match pod.created.get_mut(&id) {
                Some(creation @ Creation::Created) => *creation = Creation::Started,
                Some(Creation::Failed(text)) => {
                    let text = text.clone();
                    drop(pod);
                    return self.not_started(name, &text);
                }
                Some(Creation::Asked | Creation::Started) | None => return,
            }
            id
        };
        self.ask(&Request::Start { id });
    }

    async fn go(self: &Arc<Self>) {
        let order: Vec<(String, Role)> = {
            let pod = self.pod();
            pod.members.all.iter().map(|m| (m.name.clone(), m.role)).collect()
        };
        for (name, role) in &order {
            match role {
                Role::DoneByAgent => {}
                Role::Init => {
                    self.start(name);
                    self.until(|pod| pod.stopping || pod.members.get(name).is_none_or(|m| m.state.ended()))
                        .await;
                    if self.pod().members.init_failed() {
                        return;
                    }
                }
                Role::NativeSidecar => {
                    self.start(name);
                    self.until(|pod| {
                        pod.stopping || pod.members.get(name).is_none_or(|m| m.ready || m.state.ended())
                    })
                    .await;
                }
                Role::Main => self.start(name),
            }
        }
        // When the Pod's own containers have ended, native sidecars are of no use any more.
        let inner = self.clone();
        self.host.spawn("sidecars", async move {
            inner.until(|pod| pod.stopping || pod.members.mains_ended()).await;
            let grace = inner.grace_ms();
            inner.stop(grace).await;
        });
    }

    /// Nothing of this container will run again, or nothing of it ever will.
    fn log_over(&self, container: &str) -> bool {
        let pod = self.pod();
        pod.gone || pod.stopping || pod.members.get(container).is_none_or(|m| m.state.ended())
    }

    fn grace_ms(&self) -> u64 {
        let pod = self.pod();
        let spec = pod.order.as_ref().and_then(|o| o.pod.spec.as_ref());
        let seconds = spec.and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        u64::try_from(seconds).unwrap_or(30) * 1000
    }

    async fn stop(&self, grace_ms: u64) {
        self.change(|pod| pod.stopping = true);
        self.signal(libc::SIGTERM);
        let ended = |pod: &Pod| pod.gone || !pod.members.all.iter().any(running(pod));
        if self.host.within(Duration::from_millis(grace_ms), self.until(ended)).await.is_err() {
            self.signal(libc::SIGKILL);
            if self.host.within(KILL_MAX, self.until(ended)).await.is_err() {
                tracing::warn!("a container does not end; its pod is ended");
                self.change(|pod| pod.link = None);
            }
        }
        self.change(|pod| pod.members.stopped = !pod.members.mains_ended());
    }

    fn signal(&self, signal: i32) {
        let ids: Vec<String> = {
            let pod = self.pod();
            let ids = pod.members.all.iter().filter(|m| running(&pod)(m));
            ids.map(|m| Self::id(&pod, &m.name)).collect()
        };
        for id in ids {
            self.ask(&Request::Kill { id, signal });
        }
    }

    async fn remove(&self) {
        let network = self.change(|pod| {
            pod.stopping = true;
            pod.removed = true;
            pod.link = None;
            pod.network.take()
        });
        // Bounded: what is left is swept by the next agent.
        let _ = self.host.within(KILL_MAX, self.until(|pod| !pod.supervised)).await;
        let (groups, data) = (self.groups.clone(), self.settings.data.clone());
        let clean = move || {
            drop(network);
            let pause = || std::thread::sleep(Duration::from_millis(2));
            if let Err(error) = groups.remove(&pause) {
                tracing::warn!(%error, "a control group is left");
            }
            // A second time for what was written, or removed by another's sweep, while the first one went on.
            let removed = fs::remove_dir_all(&data).or_else(|_| fs::remove_dir_all(&data));
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "the machine's folder is left");
            }
        };
        drop(tokio::task::spawn_blocking(clean).await);
    }
}

/// Whether a container runs, or is about to.
fn running(pod: &Pod) -> impl Fn(&status::Member) -> bool {
    |member| match member.state {
        State::Running(_) => true,
        State::Terminated(_) => false,
        State::Waiting { .. } => pod.created.get(&Inner::id(pod, &member.name)) == Some(&Creation::Started),
    }
}

impl PodRuntime for Oci {
    fn capabilities(&self) -> BTreeMap<String, String> {
        let low_level = self.inner.settings.runtime.as_ref();
        BTreeMap::from([
            ("runtime".to_owned(), low_level.map_or("libcontainer".into(), |p| p.display().to_string())),
            ("limits".to_owned(), self.inner.groups.usable().to_string()),
            ("nat".to_owned(), network::available().is_ok().to_string()),
            ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
            (protocol::message::CAPABILITY_LEASE.to_owned(), "true".to_owned()),
        ])
    }

    fn prepare(&self, order: Arc<Order>) -> BoxFuture<'_, Prepared> {
        Box::pin(prepare::pod(&self.inner, order))
    }

    fn go(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.go())
    }

    fn seen(&self) -> Seen {
        // The number first: a change in between makes whoever watches look once more.
        let change = *self.inner.changed.borrow();
        let pod = self.inner.pod();
        Seen { change, status: pod.members.status(), timings: pod.timings.clone() }
    }

    fn changed(&self, seen: u64) -> BoxFuture<'_, ()> {
        let mut changes = self.inner.changed.subscribe();
        // An error means that the runtime is gone: then nothing changes any more.
        Box::pin(async move { drop(changes.wait_for(|n| *n > seen).await) })
    }

    fn log(&self, container: &str, offset: u64) -> LogChunk {
        let over = self.inner.log_over(container);
        let chunk = self.inner.logs.read(container, offset);
        LogChunk { complete: chunk.complete && over, ..chunk }
    }

    fn log_grown<'a>(&'a self, container: &'a str, offset: u64) -> BoxFuture<'a, ()> {
        let (mut grown, mut changes) = (self.inner.logs.grown(), self.inner.changed.subscribe());
        Box::pin(async move {
            loop {
                grown.mark_unchanged();
                changes.mark_unchanged();
                if self.inner.logs.beyond(container, offset)
                    || (self.inner.log_over(container) && self.inner.logs.complete(container))
                {
                    return;
                }
                race(grown.changed(), changes.changed()).await;
            }
        })
    }

    fn lease(&self, until: Mono) {
        self.inner.ask(&Request::Lease { until_us: until.0 });
    }

    fn annotate(&self, annotations: &BTreeMap<String, String>) {
        let volumes = self.inner.pod().volumes.clone();
        if let Err(error) = volumes.annotate(annotations) {
            tracing::warn!(%error, "annotations cannot be shown to the containers");
        }
    }

    fn stop(&self, grace_ms: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.stop(grace_ms))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.remove())
    }
}
