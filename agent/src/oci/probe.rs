//! Whether a container is ready: its startup and readiness probes, as a kubelet asks them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use nix::sched::{CloneFlags, setns};

use super::status::State;
use super::wire::Request;
use super::{Inner, network};

/// Longest answer of which the first line is read.
const ANSWER_MAX: u64 = 16 << 10;

/// Whether a container has probes that say when it is ready.
pub fn has_any(container: &Container) -> bool {
    container.readiness_probe.is_some() || container.startup_probe.is_some()
}

/// Asks until the container has ended.
pub async fn follow(inner: Arc<Inner>, container: Container) {
    let Some(began) = running_since(&inner, &container.name) else { return };
    if let Some(probe) = &container.startup_probe {
        let started = watch(&inner, &container, probe, began, |_| {}, true);
        if !started.await {
            return;
        }
    }
    let ready = |is: bool| {
        inner.change(|pod| {
            if let Some(member) = pod.members.get_mut(&container.name) {
                member.ready = is;
            }
        });
    };
    match &container.readiness_probe {
        None => ready(true),
        Some(probe) => {
            watch(&inner, &container, probe, began, ready, false).await;
        }
    }
}

fn running_since(inner: &Inner, name: &str) -> Option<i64> {
    match inner.pod().members.get(name)?.state {
        State::Running(since) => Some(since),
        State::Waiting { .. } | State::Terminated(_) => None,
    }
}

/// Asks in the probe's rhythm and tells every change; with `once`, until the first success. False when the
/// container has ended.
async fn watch(
    inner: &Inner,
    container: &Container,
    probe: &Probe,
    began: i64,
    tell: impl Fn(bool),
    once: bool,
) -> bool {
    let seconds = |n: Option<i32>, default: u64| {
        Duration::from_secs(n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default))
    };
    let times = |n: Option<i32>, default: i32| n.filter(|n| *n > 0).unwrap_or(default);
    let (needed, allowed) = (times(probe.success_threshold, 1), times(probe.failure_threshold, 3));
    inner.host.clock.sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let (mut good, mut bad, mut is) = (0, 0, false);
    while running_since(inner, &container.name) == Some(began) {
        let asked = ask(inner, container, probe);
        let answer = inner.host.within(seconds(probe.timeout_seconds, 1), asked).await.unwrap_or(false);
        (good, bad) = if answer { (good + 1, 0) } else { (0, bad + 1) };
        if good >= needed && !is {
            is = true;
            tell(true);
            if once {
                return true;
            }
        } else if bad >= allowed && is {
            is = false;
            tell(false);
        }
        // A container that is not ready yet is asked more often: a step may be waiting for it.
        let period = seconds(probe.period_seconds, 10);
        let wait = if is { period } else { period.min(Duration::from_millis(100)) };
        inner.host.clock.sleep(wait).await;
    }
    false
}

async fn ask(inner: &Inner, container: &Container, probe: &Probe) -> bool {
    if let Some(exec) = &probe.exec {
        return run(inner, &container.name, exec.command.clone().unwrap_or_default()).await;
    }
    let Some(pid) = inner.pod().link.as_ref().map(|link| link.pid) else { return false };
    let ports = container.ports.clone().unwrap_or_default();
    if let Some(tcp) = &probe.tcp_socket {
        let Some(port) = number(&tcp.port, &ports) else { return false };
        return blocking(move || within(pid, move || connect(port).is_some())).await;
    }
    if let Some(http) = &probe.http_get {
        let Some(port) = number(&http.port, &ports) else { return false };
        let path = http.path.clone().unwrap_or_else(|| "/".into());
        let headers = http.http_headers.iter().flatten();
        let headers: String = headers.map(|h| format!("{}: {}\r\n", h.name, h.value)).collect();
        return blocking(move || within(pid, move || get(port, &path, &headers))).await;
    }
    // Other kinds are not asked: a container that runs is taken to be ready.
    true
}

async fn run(inner: &Inner, name: &str, command: Vec<String>) -> bool {
    let (say, answer) = tokio::sync::oneshot::channel();
    let (id, probe) = {
        let mut pod = inner.pod();
        pod.next_probe += 1;
        let probe = pod.next_probe;
        pod.probes.insert(probe, say);
        (Inner::id(&pod, name), probe)
    };
    inner.ask(&Request::Exec { id, probe, command });
    answer.await == Ok(0)
}

fn number(port: &IntOrString, ports: &[ContainerPort]) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = ports.iter().find(|p| p.name.as_deref() == Some(name)).map(|p| p.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    number.and_then(|n| u16::try_from(n).ok())
}

async fn blocking(work: impl FnOnce() -> bool + Send + 'static) -> bool {
    tokio::task::spawn_blocking(work).await.unwrap_or(false)
}

/// Runs `work` on a thread inside the pod's network.
fn within(pid: i32, work: impl FnOnce() -> bool + Send + 'static) -> bool {
    let run = move || -> bool {
        let Ok(namespace) = network::namespace(pid) else { return false };
        setns(namespace, CloneFlags::CLONE_NEWNET).is_ok() && work()
    };
    std::thread::spawn(run).join().unwrap_or(false)
}

fn connect(port: u16) -> Option<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(stream)
}

fn get(port: u16, path: &str, headers: &str) -> bool {
    let Some(mut stream) = connect(port) else { return false };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: kube-probe\r\nConnection: close\r\n{headers}\r\n"
    );
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let mut answer = Vec::new();
    // The status line is enough; what follows may be cut off.
    drop(stream.take(ANSWER_MAX).read_to_end(&mut answer));
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    let code: Option<u16> = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.is_some_and(|code| (200..400).contains(&code))
}
