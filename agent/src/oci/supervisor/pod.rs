//! The supervisor proper: one loop over the socket, the death of children, and the error pipes of starts.

mod create;
mod creators;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use self::create::Failure;
use self::creators::{Creators, Done};
use super::low_level::{Created, LowLevel, first_line};
use super::{errors, loopback};
use crate::oci::wire::{self, Event, Fault, Request, Setup};

/// A container of this pod.
struct Container {
    memory_group: PathBuf,
    created: Created,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    /// Told to start; its program does not run yet.
    Starting,
    Running,
    Ended,
}

struct Pod {
    socket: OwnedFd,
    children: SignalFd,
    run: PathBuf,
    low_level: LowLevel,
    containers: BTreeMap<String, Container>,
    creators: Creators,
    /// What ended while containers were being created: it may be one of those.
    strays: BTreeMap<i32, (i32, Option<i32>)>,
    /// Process id of each probe's command.
    probes: BTreeMap<i32, u64>,
    /// Ends the pod with this process, whatever its agent does.
    lease: Lease,
}

/// Lives until the socket ends.
pub fn supervise(socket: OwnedFd) -> ! {
    let code = match begin(socket) {
        Ok(mut pod) => i32::from(pod.follow().is_err()),
        Err(_) => 1,
    };
    // SAFETY: ends the process at once. Nothing needs a destructor: the kernel ends the pod with its PID 1.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}

fn begin(socket: OwnedFd) -> io::Result<Pod> {
    // EOF on the socket alone is enough; this makes it immediate while a container is being created.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    errors::install();
    let Some((Request::Setup(setup), _)) = wire::receive(socket.as_fd())? else {
        return Err(io::Error::other("the agent is gone"));
    };
    if let Err(error) = isolate(&setup) {
        wire::send(socket.as_fd(), &Event::Broken { text: error.to_string() }, &[])?;
        return Err(error);
    }
    let state = setup.run.join("state");
    let low_level = match setup.runtime {
        Some(program) => LowLevel::External { program, state },
        None => LowLevel::Embedded { state },
    };
    wire::send(socket.as_fd(), &Event::Ready, &[])?;
    Ok(Pod {
        socket,
        children,
        run: setup.run,
        low_level,
        containers: BTreeMap::new(),
        creators: Creators::default(),
        strays: BTreeMap::new(),
        probes: BTreeMap::new(),
        lease: Lease::new()?,
    })
}

fn named(what: &str) -> impl FnOnce(nix::errno::Errno) -> io::Error {
    move |error| io::Error::other(format!("{what}: {error}"))
}

fn isolate(setup: &Setup) -> io::Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(named("private mounts"))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), plain, none).map_err(named("/proc"))?;
    tmpfs(&setup.run, None, 0o755)?;
    for folder in ["state", "volumes"] {
        fs::create_dir(setup.run.join(folder))?;
    }
    tmpfs(&setup.run.join("shm"), None, 0o1777)?;
    nix::unistd::sethostname(&setup.hostname).map_err(named("host name"))?;
    loopback::up()
}

fn tmpfs(path: &Path, size: Option<u64>, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let size = size.map_or(String::new(), |size| format!(",size={size}"));
    // Programs of volumes may be executed, as on a kubelet's.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(format!("mode={mode:o}{size}").as_str()))
        .map_err(named("tmpfs"))
}

/// A volume in memory.
fn volume(path: &Path, size: Option<u64>, group: Option<u32>) -> io::Result<()> {
    tmpfs(path, size, if group.is_some() { 0o2777 } else { 0o777 })?;
    std::os::unix::fs::chown(path, None, group)
}

/// What the loop woke up for.
struct Woken {
    request: bool,
    child: bool,
    created: Vec<String>,
    started: Vec<String>,
    lease_over: bool,
}

impl Pod {
    fn follow(&mut self) -> io::Result<()> {
        loop {
            for failed in self.creators.fill(&self.low_level, &self.run) {
                self.created(failed)?;
            }
            let woken = self.wait()?;
            // First of all: everything else may take its time.
            if woken.lease_over {
                return Ok(());
            }
            for id in woken.created {
                if let Some(done) = self.creators.finish(&self.low_level, &id) {
                    self.created(done)?;
                }
            }
            for id in woken.started {
                self.started(&id)?;
            }
            if woken.child {
                while self.children.read_signal()?.is_some() {}
                self.reap()?;
            }
            if woken.request {
                match wire::receive(self.socket.as_fd())? {
                    Some((request, descriptors)) => self.perform(request, descriptors)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn wait(&self) -> io::Result<Woken> {
        let starting: Vec<(&String, &OwnedFd)> = self
            .containers
            .iter()
            .filter(|(_, c)| c.phase == Phase::Starting)
            .filter_map(|(id, c)| Some((id, c.created.errors.as_ref()?)))
            .collect();
        let mut polled = vec![
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.lease.timer.as_fd(), PollFlags::POLLIN),
        ];
        polled.extend(starting.iter().map(|(_, pipe)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let creating: Vec<(&String, &OwnedFd)> = self.creators.outcomes().collect();
        polled.extend(creating.iter().map(|(_, pipe)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(false)).collect();
        let named = |all: &[(&String, &OwnedFd)], ready: &[bool]| {
            let ready = all.iter().zip(ready).filter(|(_, ready)| **ready);
            ready.map(|((id, _), _)| (*id).clone()).collect()
        };
        Ok(Woken {
            request: ready[0],
            child: ready[1],
            lease_over: ready[2],
            started: named(&starting, &ready[3..]),
            created: named(&creating, &ready[3 + starting.len()..]),
        })
    }

    fn say(&self, event: &Event) -> io::Result<()> {
        wire::send(self.socket.as_fd(), event, &[])
    }

    fn perform(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Setup(_) => Ok(()),
            Request::Tmpfs { path, size, group } => match volume(&path, size, group) {
                Ok(()) => Ok(()),
                Err(error) => self.say(&Event::Broken { text: error.to_string() }),
            },
            Request::Create(create) => {
                self.creators.add(*create, descriptors);
                Ok(())
            }
            Request::Start { id } => self.start(id),
            Request::Kill { id, signal } => {
                if self.creators.signal(&id, signal) {
                    return Ok(());
                }
                if let Some(container) = self.containers.get(&id)
                    && container.phase != Phase::Ended
                    && let Ok(signal) = Signal::try_from(signal)
                {
                    // It may have ended this moment.
                    let _ = kill(Pid::from_raw(container.created.pid), signal);
                }
                Ok(())
            }
            Request::Lease { until_us } => self.lease.extend(until_us),
            Request::Ping => self.say(&Event::Alive),
            Request::Exec { id, probe, command } => {
                let pid_file = self.run.join(format!("state/probe-{probe}.pid"));
                match self.low_level.exec(&id, &command, &pid_file) {
                    Ok(pid) => {
                        self.probes.insert(pid, probe);
                        Ok(())
                    }
                    Err(_) => self.say(&Event::Probed { probe, code: 255 }),
                }
            }
        }
    }

    /// A container is there, or is known not to be.
    fn created(&mut self, done: Done) -> io::Result<()> {
        let Done { create, result, signal } = done;
        let id = create.id;
        let created = match result {
            Ok(created) => created,
            Err(Failure { text, fault }) => return self.say(&Event::Failed { id, text, fault }),
        };
        if let Some(signal) = signal.and_then(|s| Signal::try_from(s).ok()) {
            let _ = kill(Pid::from_raw(created.pid), signal);
        }
        let pid = created.pid;
        let container = Container { memory_group: create.memory_group, created, phase: Phase::Created };
        self.containers.insert(id.clone(), container);
        self.say(&Event::Created { id })?;
        let ended = self.strays.remove(&pid);
        if self.creators.is_idle() {
            self.strays.clear();
        }
        ended.map_or(Ok(()), |(code, signal)| self.ended(pid, code, signal))
    }

    fn start(&mut self, id: String) -> io::Result<()> {
        let Some(container) = self.containers.get_mut(&id) else { return Ok(()) };
        if container.phase != Phase::Created {
            return Ok(());
        }
        match self.low_level.start(&mut container.created) {
            Ok(()) if container.created.errors.is_some() => {
                container.phase = Phase::Starting;
                Ok(())
            }
            Ok(()) => {
                container.phase = Phase::Running;
                self.say(&Event::Started { id, at_us: now_us() })
            }
            Err(text) => {
                container.phase = Phase::Ended;
                let _ = kill(Pid::from_raw(container.created.pid), Signal::SIGKILL);
                self.say(&Event::Failed { id, text, fault: Fault::Program })
            }
        }
    }

    /// The error pipe of a starting container has ended, or says why there is nothing to run.
    fn started(&mut self, id: &str) -> io::Result<()> {
        let Some(container) = self.containers.get_mut(id) else { return Ok(()) };
        if container.phase != Phase::Starting {
            return Ok(());
        }
        let said = container.created.errors.take().and_then(|pipe| first_line(&pipe));
        match said {
            None => {
                container.phase = Phase::Running;
                self.say(&Event::Started { id: id.to_owned(), at_us: now_us() })
            }
            Some(text) => {
                container.phase = Phase::Ended;
                self.say(&Event::Failed { id: id.to_owned(), text, fault: Fault::Program })
            }
        }
    }

    /// Takes in everything that has ended; as PID 1 this includes strays.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, code, signal) =
                match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                    Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code, None),
                    Ok(WaitStatus::Signaled(pid, signal, _)) => {
                        (pid.as_raw(), 128 + signal as i32, Some(signal as i32))
                    }
                    Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(()),
                    Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                    Err(error) => return Err(error.into()),
                };
            if let Some(probe) = self.probes.remove(&pid) {
                self.say(&Event::Probed { probe, code })?;
                continue;
            }
            if let Some(id) = self.creators.of(pid) {
                // It has said what there was to say, or will never say anything.
                if let Some(done) = self.creators.finish(&self.low_level, &id) {
                    self.created(done)?;
                }
                continue;
            }
            self.ended(pid, code, signal)?;
        }
    }

    fn ended(&mut self, pid: i32, code: i32, signal: Option<i32>) -> io::Result<()> {
        let ended = self.containers.iter().find(|(_, c)| c.created.pid == pid && c.phase != Phase::Ended);
        let Some(id) = ended.map(|(id, _)| id.clone()) else {
            if !self.creators.is_idle() {
                self.strays.insert(pid, (code, signal));
            }
            return Ok(());
        };
        // A program that ended at once may be seen before the end of its error pipe.
        self.started(&id)?;
        let Some(container) = self.containers.get_mut(&id) else { return Ok(()) };
        match container.phase {
            Phase::Ended => Ok(()),
            Phase::Created | Phase::Starting | Phase::Running => {
                container.phase = Phase::Ended;
                let oom = oom_kills(&container.memory_group) > 0;
                self.say(&Event::Exited { id, code, signal, oom, at_us: now_us() })
            }
        }
    }
}

/// The end of a lease, kept by the kernel on the clock that counts suspend: after a suspend that was too long it has
/// come when the first process of the machine runs again.
struct Lease {
    timer: TimerFd,
    until_us: u64,
}

impl Lease {
    fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?, until_us: 0 })
    }

    /// Answers may overtake each other: an earlier end than the present one changes nothing.
    fn extend(&mut self, until_us: u64) -> io::Result<()> {
        if until_us <= self.until_us {
            return Ok(());
        }
        self.until_us = until_us;
        let until = TimeSpec::from_duration(std::time::Duration::from_micros(until_us));
        Ok(self.timer.set(Expiration::OneShot(until), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }
}

/// The kernel's own count, read before the group is removed. The signal alone proves nothing.
fn oom_kills(memory_group: &Path) -> u64 {
    let count = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(memory_group.join(file)).ok()?;
        text.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok())
    };
    count("memory.oom_control").or_else(|| count("memory.events")).unwrap_or(0)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the supervisor is a process without a Host: it tells what it saw and when"
)]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0)
}
