//! What an agent does next: a pure state machine. The shell around it is [`crate::session`].
//!
//! ```text
//! preparing --Prepared(Ready)--> gate --Go--> running --all ended, logs delivered--> last report --> over
//!     |                           |              |
//!     +--Prepared(Stuck)--> stuck +--Revoked, Burn--> over
//!                             +--Desired.stop--> stopped, reported --> over
//! ```
//! **Invariants:** no [`Effect::Go`] before the gate said so, and at most one; a report never shows the end of a
//! container whose log is not delivered (for a bounded time); one report is under way at a time; sequence numbers
//! grow; after [`Effect::End`] nothing follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateRunning, ContainerStatus, PodStatus};
use protocol::message::{Desired, StartAnswer};
use protocol::order::Order;

use crate::runtime::{Prepared, Seen};

/// Changes that nobody waits for are told together with those of the next few milliseconds, µs.
const COALESCE_US: i64 = 5_000;
/// How long the end of a container waits for its log to be delivered, µs.
const LOG_GRACE_US: i64 = 10_000_000;
/// Waits between tries to report, µs: doubled from the first to the last.
const RETRY_FIRST_US: i64 = 50_000;
const RETRY_MAX_US: i64 = 5_000_000;
/// How long after its deadline an agent still tries to tell how it ended.
const LATE: Duration = Duration::from_secs(600);
/// Sidecars get this long between TERM and KILL: Kubernetes' default.
const SIDECAR_GRACE_MS: u64 = 30_000;
/// Reason of a pod that was ended because its lease had run out.
const LEASE_EXPIRED: &str = "LeaseExpired";
/// Waiting reasons that are part of a good start.
const ON_THE_WAY: [&str; 2] = ["PodInitializing", "ContainerCreating"];

/// How an agent's life ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The pod ended and everything was reported.
    Reported,
    /// The cell told this machine to run nothing any more.
    Burnt(String),
    /// Another attempt has won, or the run was cancelled before it began.
    Revoked,
    /// The cell could not be reached in time.
    Unreachable,
    /// What was to run the pod ended before anything had started.
    Broken,
    /// Whoever started this agent wants it to leave.
    Left,
}

/// Something has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Preparing has ended.
    Prepared(Prepared),
    /// The start gate has answered.
    Gate(StartAnswer),
    /// The pod has changed.
    Seen(Box<Seen>),
    /// All of a container's log is at the cell.
    Delivered(String),
    /// A report is acknowledged.
    Reported(Desired),
    /// A report got no answer.
    ReportLost,
    /// The cell wants something else.
    Watched(Desired),
    /// The cell refuses this agent for good.
    Refused(String),
    /// The lease is about to run out, or has: nothing of the pod may go on.
    LeaseOver,
    /// The time of a [`Effect::Wake`] has come.
    Woken,
    /// The pod has run for as long as it may.
    Deadline,
    /// Its deadline is so long ago that nobody needs to hear how it ended.
    TooLate,
    /// Whoever started this agent wants it to leave.
    Leave,
}

/// Something is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Prepare the pod.
    Prepare,
    /// Ask to pass the start gate.
    PassGate(Box<PodStatus>),
    /// Start the containers.
    Go,
    /// Send the logs of these containers as they grow.
    ShipLogs(Vec<String>),
    /// Report.
    Report(Box<Telling>),
    /// Wait for the cell to want something else than this.
    Watch(Desired),
    /// Show annotations to the containers.
    Annotate(BTreeMap<String, String>),
    /// End all containers.
    Stop {
        /// Time between TERM and KILL.
        grace_ms: u64,
    },
    /// Come back with [`Event::Woken`] at this time, µs since 1970.
    Wake(i64),
    /// Come back with [`Event::Deadline`] when the Order's time is over, and with [`Event::TooLate`] so long after that.
    WatchDeadline(Duration),
    /// It is over.
    End(Outcome),
}

/// Content of a report.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Grows.
    pub seq: u64,
    /// The Pod's status.
    pub status: PodStatus,
    /// Nothing follows.
    pub last: bool,
    /// See [`protocol::message::Report`].
    pub timings: BTreeMap<String, i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Preparing,
    Stuck,
    Gate,
    Running,
    Over,
}

/// The state of one agent, from its Order on.
pub struct Engine {
    phase: Phase,
    containers: Vec<String>,
    timings: BTreeMap<String, i64>,
    seen: Seen,
    /// Status of the last report that was sent.
    told: Option<PodStatus>,
    /// When the first change was seen that is not in `told`.
    untold_since: Option<i64>,
    seq: u64,
    /// A report without an answer, and whether it is the last one.
    under_way: Option<bool>,
    retry_at: Option<i64>,
    retry_wait: i64,
    delivered: BTreeSet<String>,
    /// When the end of a container was first seen.
    ended: BTreeMap<String, i64>,
    desired: Desired,
    /// Annotations that are shown once no container but the steps has yet to become ready; then, whether it is so.
    when_ready: BTreeMap<String, String>,
    ready: bool,
    /// Grace of the stop that was asked for.
    stopping: Option<u64>,
    /// The lease has run out.
    starved: bool,
    /// The deadline is over.
    overdue: bool,
}

impl Engine {
    /// The engine of an Order, with its first effects. `booted` is when this agent started.
    pub fn new(order: &Order, booted: i64) -> (Self, Vec<Effect>) {
        let spec = order.pod.spec.as_ref();
        let containers =
            spec.into_iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
        let engine = Self {
            phase: Phase::Preparing,
            containers: containers.map(|c| c.name.clone()).collect(),
            timings: BTreeMap::from([("booted".to_owned(), booted)]),
            seen: Seen::default(),
            told: None,
            untold_since: None,
            seq: 0,
            under_way: None,
            retry_at: None,
            retry_wait: RETRY_FIRST_US,
            delivered: BTreeSet::new(),
            ended: BTreeMap::new(),
            desired: Desired {
                annotations: order.pod.metadata.annotations.clone().unwrap_or_default(),
                ..Desired::default()
            },
            when_ready: order.when_ready.clone(),
            ready: false,
            stopping: None,
            starved: false,
            overdue: false,
        };
        let effects = vec![Effect::Prepare, Effect::Watch(Desired::default()), Effect::WatchDeadline(LATE)];
        (engine, effects)
    }

    /// Takes an event in and says what to do.
    pub fn apply(&mut self, event: Event, now: i64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase == Phase::Over {
            return effects;
        }
        match event {
            Event::Prepared(prepared) => self.prepared(prepared, &mut effects),
            Event::Gate(answer) => self.gate(answer, now, &mut effects),
            Event::Seen(seen) => self.see(*seen, now, &mut effects),
            Event::Delivered(container) => {
                self.delivered.insert(container);
            }
            Event::Reported(desired) => {
                self.retry_wait = RETRY_FIRST_US;
                if self.under_way.take() == Some(true) {
                    self.end(Outcome::Reported, &mut effects);
                } else {
                    self.want(desired, &mut effects);
                }
            }
            Event::ReportLost => {
                self.under_way = None;
                // What it said must be said again.
                self.told = None;
                self.retry_at = Some(now + self.retry_wait);
                self.retry_wait = (self.retry_wait * 2).min(RETRY_MAX_US);
            }
            Event::Watched(desired) => {
                self.want(desired, &mut effects);
                effects.push(Effect::Watch(self.desired.clone()));
            }
            Event::Refused(why) => self.end(Outcome::Burnt(why), &mut effects),
            Event::LeaseOver => {
                self.starved = true;
                self.stop(0, &mut effects);
            }
            Event::Leave => self.end(Outcome::Left, &mut effects),
            Event::Deadline => {
                self.overdue = !self.over_in(&self.seen.status);
                self.stop(0, &mut effects);
            }
            Event::TooLate => self.end(Outcome::Unreachable, &mut effects),
            Event::Woken => {}
        }
        self.report(now, &mut effects);
        effects
    }

    fn end(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        effects.push(Effect::End(outcome));
    }

    fn prepared(&mut self, prepared: Prepared, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Preparing {
            return;
        }
        self.phase = match prepared {
            Prepared::Stuck => Phase::Stuck,
            // No report: the cell sees a machine that ends before the start gate, which is no failure of the run's.
            Prepared::Lost => return self.end(Outcome::Broken, effects),
            // Killed a moment later.
            Prepared::Ready if self.stopping.is_none() && was_killed(&self.seen.status) => {
                return self.end(Outcome::Broken, effects);
            }
            // Nothing has begun and nothing shall.
            Prepared::Ready if self.stopping.is_some() => Phase::Stuck,
            Prepared::Ready => {
                // The gate is told this status, so that it need not be reported again.
                self.told = Some(self.seen.status.clone());
                self.untold_since = None;
                effects.push(Effect::PassGate(Box::new(self.seen.status.clone())));
                Phase::Gate
            }
        };
    }

    fn gate(&mut self, answer: StartAnswer, now: i64, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Gate {
            return;
        }
        match answer {
            StartAnswer::Go => {
                self.phase = Phase::Running;
                self.timings.insert("gate".into(), now);
                if self.stopping.is_none() {
                    effects.push(Effect::Go);
                    effects.push(Effect::ShipLogs(self.containers.clone()));
                }
            }
            StartAnswer::Revoked => self.end(Outcome::Revoked, effects),
            StartAnswer::Burn { reason } => self.end(Outcome::Burnt(reason), effects),
        }
    }

    fn see(&mut self, seen: Seen, now: i64, effects: &mut Vec<Effect>) {
        if seen.change < self.seen.change {
            return;
        }
        for status in statuses(&seen.status) {
            if is_ended(status) {
                self.ended.entry(status.name.clone()).or_insert(now);
            } else {
                self.ended.remove(&status.name);
            }
        }
        self.timings.extend(seen.timings.clone());
        self.seen = seen;
        if self.over_in(&self.seen.status) {
            self.timings.entry("done".into()).or_insert(now);
        }
        self.untold_since.get_or_insert(now);
        if !self.ready && self.phase == Phase::Running && is_ready(&self.seen.status) {
            let before = self.annotations();
            self.ready = true;
            self.show(&before, effects);
        }
    }

    /// The annotations that the containers are to see.
    fn annotations(&self) -> BTreeMap<String, String> {
        let mut shown = self.desired.annotations.clone();
        if self.ready {
            shown.extend(self.when_ready.clone());
        }
        shown
    }

    fn show(&self, before: &BTreeMap<String, String>, effects: &mut Vec<Effect>) {
        let shown = self.annotations();
        if shown != *before {
            effects.push(Effect::Annotate(shown));
        }
    }

    /// What the cell wants, after a report or a watch.
    fn want(&mut self, desired: Desired, effects: &mut Vec<Effect>) {
        let before = self.annotations();
        let grace_ms = match &desired.stop {
            Some(stop) => Some(stop.grace_ms),
            None => desired.stop_sidecars.then_some(SIDECAR_GRACE_MS),
        };
        if let Some(grace_ms) = grace_ms {
            self.stop(grace_ms, effects);
        }
        self.desired = desired;
        self.show(&before, effects);
    }

    /// Once, and again only to be quicker.
    fn stop(&mut self, grace_ms: u64, effects: &mut Vec<Effect>) {
        if self.stopping.is_none_or(|asked| grace_ms < asked) {
            self.stopping = Some(grace_ms);
            effects.push(Effect::Stop { grace_ms });
        }
    }

    fn over_in(&self, status: &PodStatus) -> bool {
        matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Reports what is not told yet, if it is time.
    fn report(&mut self, now: i64, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Over || self.under_way.is_some() || self.phase == Phase::Gate {
            return;
        }
        if let Some(at) = self.retry_at {
            if now < at {
                effects.push(Effect::Wake(at));
                return;
            }
            self.retry_at = None;
        }
        let (shown, masked) = self.shown(now);
        // What ends by itself while it is prepared was killed: `Prepared` will say so.
        let over =
            self.over_in(&self.seen.status) && (self.phase != Phase::Preparing || self.stopping.is_some());
        let news = self.told.as_ref() != Some(&shown);
        let may = match self.phase {
            Phase::Running => news,
            // Before the gate only trouble is worth a report, and the end.
            Phase::Preparing | Phase::Stuck => (news && in_trouble(&shown)) || over,
            Phase::Gate | Phase::Over => false,
        };
        if let Some(until) = masked {
            effects.push(Effect::Wake(until));
        }
        let last = over && masked.is_none();
        if !may && !last {
            return;
        }
        // What a lost report said must be said again, although nothing has changed since.
        let since = *self.untold_since.get_or_insert(now);
        if !self.urgent(&shown) && now < since + COALESCE_US {
            effects.push(Effect::Wake(since + COALESCE_US));
            return;
        }
        self.seq += 1;
        self.untold_since = None;
        self.told = Some(shown.clone());
        self.under_way = Some(last);
        let telling = Telling { seq: self.seq, status: shown, last, timings: self.timings.clone() };
        effects.push(Effect::Report(Box::new(telling)));
    }

    /// Somebody waits for this: a container has ended, or there is trouble.
    fn urgent(&self, shown: &PodStatus) -> bool {
        let ended = |status: &PodStatus| statuses(status).filter(|s| is_ended(s)).count();
        self.over_in(shown) || in_trouble(shown) || ended(shown) > self.told.as_ref().map_or(0, ended)
    }

    /// The status that may be told, and until when something is held back in it.
    fn shown(&self, now: i64) -> (PodStatus, Option<i64>) {
        let mut status = self.seen.status.clone();
        let mut until: Option<i64> = None;
        let all = status
            .container_statuses
            .iter_mut()
            .flatten()
            .chain(status.init_container_statuses.iter_mut().flatten());
        for container in all {
            let Some(at) = self.ended.get(&container.name) else { continue };
            let wait = at + LOG_GRACE_US;
            let ours = self.containers.contains(&container.name) && self.phase == Phase::Running;
            if ours && !self.delivered.contains(&container.name) && now < wait && hold_back(container) {
                until = Some(until.map_or(wait, |u| u.min(wait)));
            }
        }
        if until.is_some() && self.over_in(&status) {
            status.phase = Some("Running".into());
        } else if self.starved && status.phase.as_deref() == Some("Failed") {
            status.reason = Some(LEASE_EXPIRED.into());
            status.message = Some("the cell did not answer for a whole lease; everything was ended".into());
        } else if self.overdue && status.phase.as_deref() == Some("Failed") {
            // In the words of a kubelet.
            status.reason = Some("DeadlineExceeded".into());
            status.message = Some("Pod was active on the node longer than the specified deadline".into());
        }
        (status, until)
    }
}

/// Shows a container that has ended as still running; false when it never ran.
fn hold_back(container: &mut ContainerStatus) -> bool {
    let terminated = container.state.as_ref().and_then(|s| s.terminated.as_ref());
    let Some(started) = terminated.filter(|t| t.reason.as_deref() != Some("StartError")) else {
        return false;
    };
    let running = ContainerStateRunning { started_at: started.started_at.clone() };
    container.state = Some(ContainerState { running: Some(running), ..ContainerState::default() });
    container.started = Some(true);
    true
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
}

/// Something has ended that nobody had started: it was killed from outside. Want of memory is the pod's own.
fn was_killed(status: &PodStatus) -> bool {
    let mut ends = statuses(status).filter_map(|s| s.state.as_ref()?.terminated.as_ref());
    ends.any(|end| end.exit_code != 0 && end.reason.as_deref() != Some("OOMKilled"))
}

fn is_ended(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.terminated.is_some())
}

/// The Pod runs, and its containers that are no steps are ready or have ended: the reference's rule, which the cell
/// has as well, for the Pod that clients see.
fn is_ready(status: &PodStatus) -> bool {
    let mut others = status.container_statuses.iter().flatten().filter(|c| !c.name.starts_with("step-"));
    let ready = |c: &ContainerStatus| c.ready && c.state.as_ref().is_some_and(|s| s.running.is_some());
    status.phase.as_deref() == Some("Running") && others.all(|c| ready(c) || is_ended(c))
}

fn in_trouble(status: &PodStatus) -> bool {
    let mut reasons = statuses(status).filter_map(|s| s.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    reasons.any(|reason| !ON_THE_WAY.contains(&reason))
}

#[cfg(test)]
mod tests;
