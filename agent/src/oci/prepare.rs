//! Everything before the start gate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use nix::fcntl::OFlag;
use protocol::order::{Network, Order};
use tokio::net::unix::pipe;

use super::link::{Link, memory_file};
use super::logs::Stream;
use super::status::{Members, State};
use super::volumes::{Places, Volumes};
use super::wire::{Create, Folder, Request, Setup};
use super::{Creation, Inner, Pod, Settings, events, network, spec};
use crate::image::{self, Image, ImageError, PullPolicy};
use crate::runtime::Prepared;

/// Wait before an image is asked for again, doubled each time: a kubelet's figures.
const PULL_RETRY_FIRST: Duration = Duration::from_secs(10);
const PULL_RETRY_MAX: Duration = Duration::from_secs(300);
/// Longest host name.
const HOST_NAME_MAX: usize = 63;

/// A supervisor answers within this time, or is gone; more than a busy machine needs.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why a pod cannot be prepared.
enum Trouble {
    /// The status shows it.
    Shown,
    /// All containers wait for this reason.
    All(&'static str, String),
    /// One container cannot be made.
    One(String, String),
}

/// Prepares the pod of `order`. Dropped, it leaves what `remove` removes.
pub async fn pod(inner: &Arc<Inner>, order: Arc<Order>) -> Prepared {
    let prepared = all(inner, order).await;
    // What fails because the supervisor is gone is no fault of the pod's.
    if prepared.is_err() && inner.pod().link.is_some() {
        inner.ask(&Request::Ping);
        let _ = inner.host.within(ANSWER_MAX, inner.until(|pod| pod.gone || pod.alive)).await;
    }
    let lost = inner.change(|pod| {
        pod.prepared = true;
        (pod.gone || pod.broken) && !pod.stopping
    });
    if lost {
        tracing::warn!("a process of the pod's was killed before anything had started");
        return Prepared::Lost;
    }
    match prepared {
        Ok(()) => return Prepared::Ready,
        Err(Trouble::Shown) => {}
        Err(Trouble::All(reason, message)) => stuck(inner, reason, &message),
        Err(Trouble::One(name, message)) => {
            stuck_one(inner, &name, "CreateContainerConfigError", &message);
        }
    }
    Prepared::Stuck
}

async fn all(inner: &Arc<Inner>, order: Arc<Order>) -> Result<(), Trouble> {
    let now = inner.now();
    inner.change(|pod| {
        pod.members = Members::of(&order.pod, &order.done_by_agent, now);
        pod.order = Some(order.clone());
    });
    let (images, set_up) = join(images(inner, &order), set_up(inner, &order)).await;
    if let Err(error) = set_up {
        let message = format!("the pod cannot be set up: {error}");
        return Err(Trouble::All("CreateContainerConfigError", message));
    }
    let Some(images) = images else { return Err(Trouble::Shown) };
    inner.change(|pod| {
        pod.timings.insert("pulled".into(), inner.now());
        pod.images = images;
        for member in pod.members.all.iter_mut().filter(|m| !m.state.ended()) {
            member.state = State::waiting("ContainerCreating", "");
        }
    });
    let containers = order.pod.spec.as_ref().map(containers).unwrap_or_default();
    for container in &containers {
        create(inner, container).map_err(|text| Trouble::One(container.name.clone(), text))?;
    }
    let busy = |pod: &Pod| pod.attaching || pod.created.values().any(|c| *c == Creation::Asked);
    inner.until(|pod| pod.gone || !busy(pod)).await;
    if let Some(error) = inner.pod().unattached.clone() {
        let message = format!("the pod's network cannot be set up: {error}");
        return Err(Trouble::All("CreateContainerError", message));
    }
    let cannot = inner.change(|pod| {
        pod.timings.insert("created".into(), inner.now());
        pod.members.all.iter().any(
            |m| matches!(&m.state, State::Waiting { reason, .. } if reason == "CreateContainerConfigError"),
        )
    });
    if cannot { Err(Trouble::Shown) } else { Ok(()) }
}

fn containers(spec: &PodSpec) -> Vec<Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers).cloned().collect()
}

fn stuck(inner: &Inner, reason: &str, message: &str) {
    tracing::warn!(reason, message, "the pod cannot be prepared");
    inner.change(|pod| {
        for member in pod.members.all.iter_mut().filter(|m| !m.state.ended()) {
            member.state = State::waiting(reason, message);
        }
    });
}

fn stuck_one(inner: &Inner, name: &str, reason: &str, message: &str) {
    inner.change(|pod| {
        if let Some(member) = pod.members.get_mut(name) {
            member.state = State::waiting(reason, message);
        }
    });
}

/// All images, asked for at once, and again until they are there; `None` when that cannot help.
async fn images(inner: &Inner, order: &Order) -> Option<BTreeMap<String, Image>> {
    let all = order.pod.spec.as_ref().map(containers).unwrap_or_default();
    let mut wait = PULL_RETRY_FIRST;
    loop {
        let names: BTreeSet<(String, Option<String>)> =
            all.iter().map(|c| (c.image.clone().unwrap_or_default(), c.image_pull_policy.clone())).collect();
        let pulls = names.iter().map(|(name, policy)| one_image(inner, order, name, policy.as_deref()));
        let mut images = BTreeMap::new();
        let (mut failures, mut hopeless) = (BTreeMap::new(), false);
        for ((name, _), pulled) in names.iter().zip(join_all(pulls).await) {
            match pulled {
                Ok((id, image)) => {
                    images.insert(name.clone(), (id, image));
                }
                Err(error) => {
                    hopeless |= matches!(error, ImageError::InvalidName(_) | ImageError::NotPresent(_));
                    failures.insert(name.clone(), error);
                }
            }
        }
        inner.change(|pod| {
            for member in &mut pod.members.all {
                if let Some((id, _)) = images.get(&member.image) {
                    member.image_id = id.clone();
                } else if let Some(error) = failures.get(&member.image) {
                    member.state = no_image(&member.image, error);
                }
            }
        });
        if failures.is_empty() {
            return Some(images.into_iter().map(|(name, (_, image))| (name, image)).collect());
        }
        tracing::warn!(errors = ?failures.values().map(ToString::to_string).collect::<Vec<_>>(), "no image");
        if hopeless {
            return None;
        }
        inner.host.clock.sleep(wait).await;
        wait = (wait * 2).min(PULL_RETRY_MAX);
    }
}

fn no_image(name: &str, error: &ImageError) -> State {
    match error {
        ImageError::InvalidName(_) => {
            State::waiting("InvalidImageName", format!("Failed to apply default image tag {name:?}: {error}"))
        }
        ImageError::NotPresent(_) => State::waiting("ErrImageNeverPull", error.to_string()),
        ImageError::Pull { .. } => State::waiting(
            "ImagePullBackOff",
            format!("Back-off pulling image {name:?}: ErrImagePull: {error}"),
        ),
    }
}

async fn one_image(
    inner: &Inner,
    order: &Order,
    name: &str,
    policy: Option<&str>,
) -> Result<(String, Image), ImageError> {
    let reference = image::parse(name)?;
    let auth = order.registry_auth.get(reference.registry());
    let image = inner.cache.get(&reference, PullPolicy::of(policy, &reference), auth).await?;
    Ok((image::image_id(&reference, &image.digest), image))
}

/// Supervisor, network, volumes.
async fn set_up(inner: &Arc<Inner>, order: &Arc<Order>) -> io::Result<()> {
    let settings = &inner.settings;
    let run = settings.data.join("run");
    fs::create_dir_all(&run)?;
    let setup = Setup { hostname: hostname(order), run, runtime: settings.runtime.clone() };
    inner.change(|pod| pod.supervised = true);
    let supervised = inner.clone();
    let ended = move || supervised.change(|pod| pod.supervised = false);
    let started = Link::start(settings.program.clone(), setup, ended).await;
    if started.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        inner.change(|pod| pod.gone = true);
    }
    let (link, events) = started?;
    let link = Arc::new(link);
    inner.change(|pod| pod.link = Some(link.clone()));
    let follower = inner.clone();
    inner.host.spawn("supervisor-events", async move { events::follow(follower, events).await });
    files(settings, order)?;
    // Beside everything else: the kernel needs some 20 ms for it.
    inner.change(|pod| pod.attaching = true);
    let (attacher, theirs, pid) = (inner.clone(), order.clone(), link.pid);
    inner.host.spawn("network", async move { attach(&attacher, &theirs, pid).await });
    let places = places(settings);
    fs::create_dir_all(&places.disk)?;
    let volumes = Volumes::make(order, &places, &link)?;
    inner.change(|pod| pod.volumes = Arc::new(volumes));
    Ok(())
}

async fn attach(inner: &Inner, order: &Order, pid: i32) {
    let machine = inner.settings.machine.clone();
    let attached = match (order.network, network::available()) {
        (Network::None, _) => Ok(None),
        (Network::Nat, Err(missing)) => {
            // Said at the start by the agent's capabilities and by `doctor`; the pod has its loopback.
            tracing::warn!(missing, "the pod gets no network");
            Ok(None)
        }
        (Network::Nat, Ok(())) => {
            let attached = tokio::task::spawn_blocking(move || network::attach(pid, &machine)).await;
            attached.map_err(io::Error::other).and_then(|attached| attached.map(Some))
        }
    };
    // Nothing is written any more where everything is being removed.
    let removed = inner.pod().removed;
    let outcome = attached.and_then(|attached| {
        if removed {
            return Ok(attached);
        }
        let address = attached.as_ref().map_or_else(|| "127.0.0.1".to_owned(), |a| a.address.to_string());
        hosts(&inner.settings, order, &address).map(|()| attached)
    });
    inner.change(|pod| {
        pod.attaching = false;
        match outcome {
            Ok(attached) => {
                pod.members.ip = attached.as_ref().map(|a| a.address.to_string());
                // A pod that is being removed has no use for it: then it is dropped here.
                pod.network = attached.filter(|_| !pod.removed);
            }
            Err(error) => pod.unattached = Some(error.to_string()),
        }
    });
}

fn places(settings: &Settings) -> Places<'_> {
    Places {
        disk: settings.data.join("volumes"),
        memory: settings.data.join("run/volumes"),
        entrypoint: &settings.entrypoint,
    }
}

fn hostname(order: &Order) -> String {
    let of_spec = order.pod.spec.as_ref().and_then(|s| s.hostname.clone()).filter(|h| !h.is_empty());
    let name = of_spec.or_else(|| order.pod.metadata.name.clone()).unwrap_or_else(|| "pod".into());
    name.chars().take(HOST_NAME_MAX).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// What stands beside the containers' root file systems. `/etc/hosts` gets the pod's address when it has one.
fn files(settings: &Settings, order: &Order) -> io::Result<()> {
    let etc = settings.data.join("etc");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("hosts"), "")?;
    fs::write(etc.join("hostname"), format!("{}\n", hostname(order)))?;
    let spec = order.pod.spec.clone().unwrap_or_default();
    fs::write(etc.join("resolv.conf"), network::resolver(&spec))?;
    fs::create_dir_all(settings.data.join("termination"))
}

/// Written into the file that may be mounted already, and before any container starts.
fn hosts(settings: &Settings, order: &Order, address: &str) -> io::Result<()> {
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    hosts.push_str(&format!("{address}\t{}\n", hostname(order)));
    let aliases = order.pod.spec.as_ref().and_then(|s| s.host_aliases.as_ref());
    for alias in aliases.into_iter().flatten() {
        hosts.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.clone().unwrap_or_default().join("\t")
        ));
    }
    for (name, address) in &settings.hosts {
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    fs::write(settings.data.join("etc/hosts"), hosts)
}

/// File for a container's termination message.
pub fn termination(settings: &Settings, name: &str) -> PathBuf {
    settings.data.join("termination").join(name)
}

/// Asks the supervisor to create a container.
///
/// # Errors
/// A text for the user.
pub fn create(inner: &Arc<Inner>, container: &Container) -> Result<(), String> {
    let name = &container.name;
    let (link, order, image, volumes, id) = {
        let pod = inner.pod();
        let id = Inner::id(&pod, name);
        let image = pod.images.get(container.image.as_deref().unwrap_or("")).cloned();
        (pod.link.clone(), pod.order.clone(), image, pod.volumes.clone(), id)
    };
    let (Some(link), Some(order), Some(image)) = (link, order, image) else {
        return Err("the pod has ended".into());
    };
    let settings = &inner.settings;
    let pod = order.pod.spec.clone().unwrap_or_default();
    let termination = termination(settings, name);
    message_file(&termination).map_err(|e| format!("no file for the termination message: {e}"))?;
    let parts = spec::Parts {
        pod: &pod,
        container,
        image: &image.config,
        secrets: order.secret_env.get(name),
        volumes: &volumes,
        etc: &settings.data.join("etc"),
        shm: &settings.data.join("run/shm"),
        termination: &termination,
        cgroup: inner.groups.usable().then(|| inner.groups.of_container(&id)),
        grantable: &spec::grantable(),
    };
    let document = spec::of(&parts)?;
    let create = Create {
        id: id.clone(),
        layers: inner.cache.layers(),
        lower: image.layers.iter().rev().cloned().collect(),
        disk: settings.data.join("disks").join(&id),
        folders: folders(&order, &parts),
        parts: sub_paths(container, &volumes),
        user: spec::user(&pod, container, &image.config),
        memory_group: inner.groups.memory_of(&id),
    };
    let (out, err) = outputs(inner, name).map_err(|e| format!("no pipes for its output: {e}"))?;
    let bytes = serde_json::to_vec(&document).map_err(|e| e.to_string())?;
    let file = memory_file(&bytes).map_err(|e| e.to_string())?;
    inner.change(|pod| {
        pod.names.insert(id.clone(), name.clone());
        pod.created.insert(id.clone(), Creation::Asked);
    });
    let descriptors = [file.as_raw_fd(), out.as_raw_fd(), err.as_raw_fd()];
    link.ask(&Request::Create(Box::new(create)), &descriptors).map_err(|e| e.to_string())
}

/// Any user of the container may write its message.
fn message_file(path: &Path) -> io::Result<()> {
    fs::write(path, "")?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

/// Write ends for the container; the read ends are copied into its log.
fn outputs(inner: &Arc<Inner>, name: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    let (out_read, out) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (err_read, err) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let out_read = pipe::Receiver::from_owned_fd(out_read)?;
    let err_read = pipe::Receiver::from_owned_fd(err_read)?;
    inner.logs.open(name, 2)?;
    inner.host.spawn("stdout", inner.logs.clone().copy(name.to_owned(), Stream::Out, out_read));
    inner.host.spawn("stderr", inner.logs.clone().copy(name.to_owned(), Stream::Err, err_read));
    Ok((out, err))
}

/// The working directory, and the folders that the Order asks for in every container.
fn folders(order: &Order, parts: &spec::Parts<'_>) -> Vec<Folder> {
    let own = (spec::working_dir(parts), 0o755);
    let ordered = order.working_dirs.iter().map(|dir| (dir.clone(), 0o777));
    ordered.chain([own]).map(|(path, mode)| folder(&path, mode, parts)).collect()
}

/// A folder by its path in the container: below the mount that it is in, else in the root file system.
fn folder(path: &str, mode: u32, parts: &spec::Parts<'_>) -> Folder {
    let mounts = parts.container.volume_mounts.iter().flatten();
    let around = mounts
        .filter(|m| Path::new(path).starts_with(&m.mount_path))
        .max_by_key(|m| m.mount_path.len())
        .and_then(|m| Some((m, parts.volumes.get(&m.name)?)));
    match around {
        Some((mount, volume)) => {
            let inside = Path::new(path).strip_prefix(&mount.mount_path).unwrap_or(Path::new(""));
            let path = Path::new(mount.sub_path.as_deref().unwrap_or("")).join(inside);
            Folder { base: Some(volume.path.clone()), path: path.display().to_string(), mode }
        }
        None => Folder { base: None, path: path.to_owned(), mode },
    }
}

fn sub_paths(container: &Container, volumes: &Volumes) -> Vec<Folder> {
    let mounts = container.volume_mounts.iter().flatten();
    let parts = mounts.filter_map(|m| {
        let path = m.sub_path.as_deref().filter(|p| !p.is_empty())?;
        Some(Folder {
            base: Some(volumes.get(&m.name)?.path.clone()),
            path: path.trim_start_matches('/').into(),
            mode: 0o777,
        })
    });
    parts.collect()
}
