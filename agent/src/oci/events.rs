//! What the supervisor says, taken into the pod's state.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::link::Events;
use super::status::{End, Role, State};
use super::wire::{Event, Fault};
use super::{Creation, Inner, Pod, prepare, probe};

/// Longest termination message, and the longest piece of a log that stands in for one: Kubernetes' rules.
const MESSAGE_MAX: u64 = 4096;
const LOG_MESSAGE_MAX: usize = 2048;
/// Longest message of a step whose results would come from a log: they come this way instead.
const RESULTS_MAX: u64 = 256 << 10;
/// A container has ended when its output has; this long is waited for a descriptor that somebody else holds.
const OUTPUT_MAX: Duration = Duration::from_secs(2);
/// Wait before a native sidecar is started again, doubled each time.
const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(60);

/// Takes events in until the supervisor is gone.
pub async fn follow(inner: Arc<Inner>, mut events: Events) {
    while let Some(event) = events.recv().await {
        inner.take(event);
    }
    let now = inner.now();
    inner.change(|pod| {
        pod.gone = true;
        // What waits will never run. While it is prepared, that is for who prepares it to say.
        pod.members.stopped |= pod.prepared;
        let told: Vec<String> = {
            let told = pod.created.iter().filter(|(_, creation)| **creation == Creation::Started);
            told.filter_map(|(id, _)| pod.names.get(id).cloned()).collect()
        };
        // Whoever ran, or was about to, was killed with the supervisor.
        for member in pod.members.all.iter_mut().filter(|m| told.contains(&m.name)) {
            let started = match member.state {
                State::Running(since) => since,
                State::Waiting { .. } => now,
                State::Terminated(_) => continue,
            };
            let message = "the pod's supervisor has ended".to_owned();
            member.state =
                State::Terminated(End { code: 137, reason: "Error", message, started, finished: now });
        }
    });
}

/// What the supervisor knows of a container that has ended.
struct Exit {
    code: i32,
    oom: bool,
    at_us: i64,
}

impl Inner {
    fn take(self: &Arc<Self>, event: Event) {
        match event {
            Event::Spawned { .. } | Event::Ready => {}
            Event::Alive => self.change(|pod| pod.alive = true),
            Event::Broken { text } => {
                tracing::error!(text, "the pod cannot be set up");
                self.change(|pod| pod.link = None);
            }
            Event::Created { id } => {
                self.change(|pod| pod.created.insert(id, Creation::Created));
            }
            Event::Started { id, at_us } => self.started(&id, at_us),
            Event::Failed { id, text, fault } => self.failed(&id, text, fault),
            Event::Exited { id, code, signal: _, oom, at_us } => {
                let name = {
                    let mut pod = self.pod();
                    // Whatever waits to be started ends by being killed only.
                    let waited = pod.created.get(&id) == Some(&Creation::Created) && !oom;
                    pod.broken |= waited && !pod.prepared;
                    pod.names.get(&id).cloned()
                };
                let Some(name) = name else { return };
                let (inner, exit) = (self.clone(), Exit { code, oom, at_us });
                self.host.spawn("exit", async move { inner.exited(name, exit).await });
            }
            Event::Probed { probe, code } => {
                if let Some(answer) = self.pod().probes.remove(&probe) {
                    // Nobody may wait for it any more.
                    let _ = answer.send(code);
                }
            }
        }
    }

    fn started(self: &Arc<Self>, id: &str, at_us: i64) {
        let probed = self.change(|pod| {
            let name = pod.names.get(id).cloned()?;
            let container = container(pod, &name);
            let probed = container.as_ref().is_some_and(probe::has_any);
            let member = pod.members.get_mut(&name)?;
            member.state = State::Running(at_us);
            member.ready = !probed;
            if member.role == Role::Main {
                pod.timings.entry("first_step".into()).or_insert(at_us);
            }
            container.filter(|_| probed)
        });
        if let Some(container) = probed {
            let inner = self.clone();
            self.host.spawn("probe", async move { probe::follow(inner, container).await });
        }
    }

    fn failed(&self, id: &str, text: String, fault: Fault) {
        let started = self.change(|pod| {
            if fault == Fault::Machine && !pod.prepared {
                pod.broken = true;
            }
            let name = pod.names.get(id).cloned()?;
            let before = pod.created.insert(id.to_owned(), Creation::Failed(text.clone()));
            if fault == Fault::Config
                && let Some(member) = pod.members.get_mut(&name)
            {
                member.state = State::waiting("CreateContainerConfigError", text.clone());
            }
            (before == Some(Creation::Started)).then_some(name)
        });
        if let Some(name) = started {
            self.not_started(&name, &text);
        }
    }

    /// A container whose program cannot run has ended, as containerd shows it.
    pub(super) fn not_started(&self, name: &str, text: &str) {
        let finished = self.now();
        self.change(|pod| {
            if let Some(member) = pod.members.get_mut(name) {
                let message = format!("failed to start container: {text}");
                let end = End { code: 128, reason: "StartError", message, started: 0, finished };
                member.state = State::Terminated(end);
            }
        });
        self.speak_for(name);
    }

    async fn exited(self: Arc<Self>, name: String, exit: Exit) {
        let mut grown = self.logs.grown();
        let quiet = async { while !self.logs.complete(&name) && grown.changed().await.is_ok() {} };
        if self.host.within(OUTPUT_MAX, quiet).await.is_err() {
            tracing::warn!(container = name, "its output does not end");
        }
        let message = self.message(&name, exit.code);
        let restart = self.change(|pod| {
            let again = !pod.stopping && !pod.members.mains_ended();
            let member = pod.members.get_mut(&name)?;
            let started = match member.state {
                State::Running(since) => since,
                State::Waiting { .. } | State::Terminated(_) => exit.at_us,
            };
            let reason = match exit.code {
                0 => "Completed",
                _ if exit.oom => "OOMKilled",
                _ => "Error",
            };
            let end = End { code: exit.code, reason, message, started, finished: exit.at_us };
            member.ready = false;
            if member.role == Role::NativeSidecar && again {
                member.last = Some(end);
                member.state = State::waiting("CrashLoopBackOff", "");
                return Some(member.restarts);
            }
            member.state = State::Terminated(end);
            None
        });
        match restart {
            Some(restarts) => self.restart(&name, restarts).await,
            None if exit.code != 0 => self.speak_for(&name),
            None => {}
        }
    }

    /// A step whose entrypoint was killed, or never ran, has not said that it has ended: whoever waits for that is told
    /// in its place. In the reference the steps after it wait until the run times out, unless it was killed for want
    /// of memory (tektoncd/pipeline#10371).
    fn speak_for(&self, name: &str) {
        let place = {
            let pod = self.pod();
            let link = pod.link.clone();
            container(&pod, name).and_then(|container| {
                let (folder, file) = flag(container.args.as_deref()?, "-post_file")?.rsplit_once('/')?;
                let mount = container.volume_mounts.iter().flatten().find(|m| m.mount_path == folder)?;
                let folder = link?.reach(&pod.volumes.get(&mount.name)?.path);
                Some((folder.join(file), folder.join(format!("{file}.err"))))
            })
        };
        let Some((done, failed)) = place else { return };
        if fs::symlink_metadata(done).is_ok() {
            return;
        }
        // The folder is the step's to write: nothing is followed that it has left there.
        match fs::File::create_new(failed) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                tracing::warn!(container = name, %error, "its end cannot be told to the steps after it");
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// A native sidecar that has ended is created and started anew.
    async fn restart(self: &Arc<Self>, name: &str, restarts: i32) {
        let doublings = u32::try_from(restarts).unwrap_or(0).min(10);
        let wait = (RESTART_FIRST * 2u32.pow(doublings)).min(RESTART_MAX);
        let _ = self.host.within(wait, self.until(|pod| pod.stopping)).await;
        if self.pod().stopping {
            return;
        }
        let id = self.change(|pod| {
            let member = pod.members.get_mut(name)?;
            member.restarts += 1;
            Some(Self::id(pod, name))
        });
        let (Some(id), Some(container)) = (id, container(&self.pod(), name)) else { return };
        if let Err(text) = prepare::create(self, &container) {
            return self.not_started(name, &text);
        }
        self.until(|pod| pod.stopping || pod.created.get(&id).is_none_or(|c| *c != Creation::Asked)).await;
        self.start(name);
    }

    fn message(&self, name: &str, code: i32) -> String {
        let container = container(&self.pod(), name).unwrap_or_default();
        let fallback = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        let args = container.args.unwrap_or_default();
        let said = flag(&args, "-message_max").and_then(|max| max.parse().ok());
        let max = said.unwrap_or(MESSAGE_MAX).min(RESULTS_MAX);
        let message = tail(&prepare::termination(&self.settings, name), max).unwrap_or_default();
        if message.is_empty() && fallback && code != 0 {
            return self.logs.tail(name, LOG_MESSAGE_MAX);
        }
        message
    }
}

/// A flag of the entrypoint's own among its arguments: the step's begin behind `--`.
fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let own = arguments.split(|word| word == "--").next()?;
    own.windows(2).find(|flag| flag[0] == name).map(|flag| flag[1].as_str())
}

/// The Pod's container of this name.
pub fn container(pod: &Pod, name: &str) -> Option<Container> {
    let spec = pod.order.as_ref()?.pod.spec.as_ref()?;
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.into_iter().find(|c| c.name == name).cloned()
}

fn tail(path: &Path, max: u64) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
