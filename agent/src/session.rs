//! The conversation with the cell, around [`Engine`]: performs its effects as jobs, and brings their ends back as
//! events. Asks the world for nothing but its [`Host`] and its [`PodRuntime`], so that it also runs simulated.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use base::host::{Either, Host, Mono, NetError, race};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use protocol::message::{
    Desired, HELLO, Hello, HelloAnswer, LOGS, LogAnswer, RENEW, REPORT, Renew, RenewAnswer, Report, START,
    Speaker, Start, StartAnswer, WATCH, Watch,
};
use protocol::order::Order;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::engine::{Effect, Engine, Event, Outcome, Telling};
use crate::runtime::PodRuntime;

/// Waits between tries, doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest time for one answer: a watch is held open by the cell.
const CALL_MAX: Duration = Duration::from_secs(90);
const WATCH_MS: u64 = 60_000;
/// A machine that was suspended looks at its boot clock again within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Longest answer: an Order with its files.
const ANSWER_MAX: usize = 64 << 20;
/// A lease is renewed so often in its time.
const RENEWALS: u32 = 3;
/// So long before the end of its lease an agent ends everything by itself, so that there is time to say so. Whatever
/// becomes of the agent, the pod ends with the lease.
const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// How long a cell that does not answer is greeted.
const HELLO_MAX: Duration = Duration::from_secs(600);

/// One agent's conversation.
pub struct Session {
    host: Host,
    /// Addresses of the cell's replicas; any of them answers.
    cells: Mutex<Vec<String>>,
    /// Which of them is asked.
    at: AtomicUsize,
    token: String,
    speaker: Speaker,
    booted_us: i64,
}

/// Why there is no answer.
enum Failure {
    /// Worth another try.
    Transient(String),
    /// The cell has refused for good.
    Refused(String),
}

/// What jobs need.
#[derive(Clone)]
struct Jobs {
    session: Arc<Session>,
    runtime: Arc<dyn PodRuntime>,
    order: Arc<Order>,
    /// When the pod must end, by the boot clock.
    deadline: Mono,
    events: mpsc::UnboundedSender<Event>,
    lease: Arc<Lease>,
}

/// How long the pod may go on, by the boot clock; 0: no lease was given.
#[derive(Default)]
struct Lease(AtomicU64);

impl Lease {
    /// A lease of `length` that was asked for at `asked`; the later end counts.
    fn extend(&self, asked: Mono, length: Duration) -> Mono {
        let end = asked.0.saturating_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX));
        Mono(self.0.fetch_max(end, Ordering::Relaxed).max(end))
    }

    /// Time until the agent ends everything; `None`: there is no lease.
    fn left(&self, now: Mono) -> Option<Duration> {
        let end = self.0.load(Ordering::Relaxed);
        (end > 0).then(|| Mono(end).since(now).saturating_sub(LEASE_MARGIN))
    }
}

impl Session {
    /// An agent of `machine`, in its present boot, that speaks to `cell`: the addresses of its replicas, separated by
    /// commas.
    pub fn new(host: Host, cell: String, machine: String, token: String) -> Arc<Self> {
        let booted_us = host.clock.utc().0;
        let nonce = format!("{:032x}", host.id());
        let cells = cell.split(',').map(str::to_owned).collect();
        let (cells, at) = (Mutex::new(cells), AtomicUsize::new(0));
        Arc::new(Self { host, cells, at, token, speaker: Speaker { machine, nonce }, booted_us })
    }

    /// The replica to ask, and its number.
    fn replica(&self) -> (usize, String) {
        let (at, cells) = (self.at.load(Ordering::Relaxed), self.cells());
        (at, cells.get(at % cells.len().max(1)).cloned().unwrap_or_default())
    }

    /// The replica `at` does not answer: the next one is asked from now on.
    fn turn_from(&self, at: usize) {
        let _ = self.at.compare_exchange(at, at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The cell says where else it is reached.
    fn learn(&self, addresses: &[String]) {
        let mut cells = self.cells();
        for address in addresses {
            if !cells.contains(address) {
                cells.push(address.clone());
            }
        }
    }

    fn cells(&self) -> MutexGuard<'_, Vec<String>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lives this agent's life: to the end of its pod, or until `leave` completes. Nothing is left of the pod
    /// when this returns.
    pub async fn live(
        self: Arc<Self>,
        runtime: Arc<dyn PodRuntime>,
        leave: impl Future<Output = ()>,
    ) -> Outcome {
        let mut leave = Box::pin(leave);
        let outcome = match race(self.hello(&*runtime), leave.as_mut()).await {
            Either::Left(Ok((order, deadline))) => {
                self.clone().follow(Arc::from(order), deadline, runtime.clone(), leave).await
            }
            Either::Left(Err(outcome)) => outcome,
            Either::Right(()) => Outcome::Left,
        };
        runtime.remove().await;
        outcome
    }

    /// The Order, and when the pod must end.
    async fn hello(&self, runtime: &dyn PodRuntime) -> Result<(Box<Order>, Mono), Outcome> {
        let hello = Hello {
            speaker: self.speaker.clone(),
            version: protocol::VERSION,
            oldest: Some(protocol::OLDEST),
            capabilities: runtime.capabilities(),
        };
        loop {
            match self.host.within(HELLO_MAX, self.insist(HELLO, &hello)).await {
                Ok(Ok(HelloAnswer::Order(order))) => {
                    self.learn(&order.cells);
                    let by_clock = order.deadline_us.saturating_sub(self.host.clock.utc().0);
                    let left_us = order.left_ms.map(|left| left.saturating_mul(1000));
                    let left_us = left_us.unwrap_or_else(|| u64::try_from(by_clock).unwrap_or(0));
                    return Ok((order, Mono(self.host.clock.mono().0.saturating_add(left_us))));
                }
                Ok(Ok(HelloAnswer::Wait)) => {}
                Ok(Ok(HelloAnswer::Burn { reason })) => return Err(Outcome::Burnt(reason)),
                Ok(Err(why)) => return Err(Outcome::Burnt(why)),
                Err(_) => return Err(Outcome::Unreachable),
            }
        }
    }

    async fn follow(
        self: Arc<Self>,
        order: Arc<Order>,
        deadline: Mono,
        runtime: Arc<dyn PodRuntime>,
        mut leave: impl Future<Output = ()> + Unpin,
    ) -> Outcome {
        let (events, mut happened) = mpsc::unbounded_channel();
        let lease = Arc::new(Lease::default());
        let jobs = Jobs {
            session: self.clone(),
            runtime,
            order: order.clone(),
            deadline,
            events,
            lease: lease.clone(),
        };
        let (mut engine, mut effects) = Engine::new(&order, self.booted_us);
        jobs.job("look", |jobs| async move { jobs.look().await });
        let (mut left, mut starved) = (false, false);
        loop {
            for effect in effects {
                if let Effect::End(outcome) = effect {
                    return outcome;
                }
                jobs.perform(effect);
            }
            let event = if left {
                happened.recv().await
            } else {
                match race(happened.recv(), &mut leave).await {
                    Either::Left(event) => event,
                    Either::Right(()) => {
                        left = true;
                        Some(Event::Leave)
                    }
                }
            };
            // After a suspend this may be known sooner than the job that waits for it says so.
            let over = lease.left(self.host.clock.mono()).is_some_and(|left| left.is_zero());
            let first = (over && !std::mem::replace(&mut starved, over))
                .then(|| engine.apply(Event::LeaseOver, self.host.clock.utc().0));
            for effect in first.into_iter().flatten() {
                if let Effect::End(outcome) = effect {
                    return outcome;
                }
                jobs.perform(effect);
            }
            // `jobs` holds a sender: there is always another event.
            effects = event.map(|event| engine.apply(event, self.host.clock.utc().0)).unwrap_or_default();
        }
    }

    /// Asks until there is an answer. The text of a refusal is an error.
    async fn insist<Q: Serialize, A: DeserializeOwned>(&self, path: &str, question: &Q) -> Result<A, String> {
        let mut wait = RETRY_FIRST;
        loop {
            match self.ask(path, question).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Refused(why)) => return Err(why),
                Err(Failure::Transient(why)) => tracing::debug!(path, why, "the cell does not answer"),
            }
            self.host.clock.sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, path: &str, question: &Q) -> Result<A, Failure> {
        let body = serde_json::to_vec(question).map_err(|e| Failure::Refused(e.to_string()))?;
        self.call(path, body).await
    }

    async fn call<A: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<A, Failure> {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|e| Failure::Refused(e.to_string()))?;
        let (at, replica) = self.replica();
        let exchange = async {
            let response = self.host.net.call(&replica, request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            Ok::<_, NetError>((status, body.map_err(|_| NetError::Broken)?.to_bytes()))
        };
        let answered = self.host.within(CALL_MAX, exchange).await;
        if !matches!(answered, Ok(Ok(_))) {
            self.turn_from(at);
        }
        let (status, body) = answered
            .map_err(|e| Failure::Transient(e.to_string()))?
            .map_err(|e| Failure::Transient(e.to_string()))?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|e| Failure::Refused(e.to_string())),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Failure::Transient(status.to_string()))
            }
            status if status.is_client_error() => {
                Err(Failure::Refused(format!("{status}: {}", String::from_utf8_lossy(&body))))
            }
            status => Err(Failure::Transient(status.to_string())),
        }
    }
}

impl Jobs {
    /// Starts work that ends with the conversation.
    fn job<F>(&self, name: &'static str, work: impl FnOnce(Jobs) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (over, work) = (self.events.clone(), work(self.clone()));
        self.session.host.spawn(name, async move {
            race(over.closed(), work).await;
        });
    }

    /// Tells the engine. Nobody listens after the end.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::Prepare => self.job("prepare", |jobs| async move {
                let prepared = jobs.runtime.prepare(jobs.order.clone()).await;
                // The gate is told the status of now.
                jobs.tell(Event::Seen(Box::new(jobs.runtime.seen())));
                jobs.tell(Event::Prepared(prepared));
            }),
            Effect::PassGate(status) => self.job("gate", |jobs| async move { jobs.gate(*status).await }),
            Effect::Go => self.job("go", |jobs| async move { jobs.runtime.go().await }),
            Effect::ShipLogs(containers) => {
                for container in containers {
                    self.job("log", |jobs| async move { jobs.ship(container).await });
                }
            }
            Effect::Report(telling) => self.job("report", |jobs| async move { jobs.report(*telling).await }),
            Effect::Watch(seen) => self.job("watch", |jobs| async move { jobs.watch(seen).await }),
            Effect::Annotate(annotations) => self.runtime.annotate(&annotations),
            Effect::Stop { grace_ms } => {
                self.job("stop", |jobs| async move { jobs.runtime.stop(grace_ms).await });
            }
            Effect::Wake(at) => self.job("wake", |jobs| async move {
                let left = u64::try_from(at - jobs.session.host.clock.utc().0).unwrap_or(0);
                jobs.session.host.clock.sleep(Duration::from_micros(left)).await;
                jobs.tell(Event::Woken);
            }),
            Effect::WatchDeadline(late) => self.job("deadline", |jobs| async move {
                jobs.wait_for(jobs.deadline).await;
                jobs.tell(Event::Deadline);
                jobs.session.host.clock.sleep(late).await;
                jobs.tell(Event::TooLate);
            }),
            // The caller ends with it.
            Effect::End(_) => {}
        }
    }

    /// Completes at `time` of the boot clock, soon after it if the machine was suspended meanwhile.
    async fn wait_for(&self, time: Mono) {
        let clock = &self.session.host.clock;
        loop {
            let left = time.since(clock.mono());
            if left.is_zero() {
                return;
            }
            clock.sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    async fn look(&self) {
        let mut change = 0;
        loop {
            self.runtime.changed(change).await;
            let seen = self.runtime.seen();
            change = seen.change.max(change + 1);
            self.tell(Event::Seen(Box::new(seen)));
        }
    }

    async fn gate(&self, status: k8s_openapi::api::core::v1::PodStatus) {
        let (speaker, attempt) = (self.session.speaker.clone(), self.order.attempt.clone());
        let start = Start { speaker, attempt, volumes: self.order.held(), status };
        let clock = &self.session.host.clock;
        let (mut asked, mut wait) = (clock.mono(), RETRY_FIRST);
        let answer = loop {
            match self.session.ask::<_, StartAnswer>(START, &start).await {
                Ok(answer) => break answer,
                Err(Failure::Refused(why)) => return self.tell(Event::Refused(why)),
                Err(Failure::Transient(why)) => tracing::debug!(why, "the start gate does not answer"),
            }
            clock.sleep(wait).await;
            (asked, wait) = (clock.mono(), (wait * 2).min(RETRY_MAX));
        };
        if let (Some(length_ms), StartAnswer::Go) = (self.order.lease_ms, &answer) {
            // The end is armed before anything starts.
            let length = Duration::from_millis(length_ms);
            self.runtime.lease(self.lease.extend(asked, length));
            self.job("lease", |jobs| async move { jobs.keep_lease(length).await });
        }
        self.tell(Event::Gate(answer));
    }

    /// Renews the lease, for as long as the cell says so. Each counts from the moment at which it was asked for.
    async fn keep_lease(&self, length: Duration) {
        let clock = &self.session.host.clock;
        let (speaker, attempt) = (self.session.speaker.clone(), self.order.attempt.clone());
        let renew = Renew { speaker, attempt };
        let mut wait = length / RENEWALS;
        loop {
            let left = self.lease.left(clock.mono()).unwrap_or_default();
            clock.sleep(wait.min(left)).await;
            let asked = clock.mono();
            let left = self.lease.left(asked).unwrap_or_default();
            if left.is_zero() {
                return self.tell(Event::LeaseOver);
            }
            let answer = self.session.host.within(left, self.session.ask(RENEW, &renew)).await;
            wait = match answer {
                Ok(Ok(RenewAnswer::Lease)) => {
                    self.runtime.lease(self.lease.extend(asked, length));
                    length / RENEWALS
                }
                Ok(Ok(RenewAnswer::Revoked)) => {
                    return self.tell(Event::Refused("its attempt was revoked".into()));
                }
                Ok(Err(Failure::Refused(why))) => return self.tell(Event::Refused(why)),
                Ok(Err(Failure::Transient(_))) | Err(_) => RETRY_FIRST.max(length / (10 * RENEWALS)),
            };
        }
    }

    async fn report(&self, telling: Telling) {
        let Telling { seq, status, last, timings } = telling;
        let (speaker, attempt) = (self.session.speaker.clone(), self.order.attempt.clone());
        let report = Report { speaker, attempt, seq, status, last, timings };
        match self.session.ask::<_, Desired>(REPORT, &report).await {
            Ok(desired) => self.tell(Event::Reported(desired)),
            Err(Failure::Transient(why)) => {
                tracing::debug!(why, "a report is not answered");
                self.tell(Event::ReportLost);
            }
            Err(Failure::Refused(why)) => self.tell(Event::Refused(why)),
        }
    }

    async fn watch(&self, seen: Desired) {
        let (speaker, attempt) = (self.session.speaker.clone(), self.order.attempt.clone());
        let watch = Watch { speaker, attempt, seen, wait_ms: WATCH_MS };
        match self.session.insist::<_, Desired>(WATCH, &watch).await {
            Ok(desired) => self.tell(Event::Watched(desired)),
            Err(why) => self.tell(Event::Refused(why)),
        }
    }

    /// Sends a container's log as it grows, from where the cell is.
    async fn ship(&self, container: String) {
        let Speaker { machine, nonce } = &self.session.speaker;
        let path = format!("{LOGS}/{machine}/{nonce}/{}/{container}", self.order.attempt);
        let (mut offset, mut wait) = (0, RETRY_FIRST);
        loop {
            self.runtime.log_grown(&container, offset).await;
            let chunk = self.runtime.log(&container, offset);
            if chunk.bytes.is_empty() {
                if chunk.complete {
                    break;
                }
                continue;
            }
            let end = offset + chunk.bytes.len() as u64;
            match self.session.call::<LogAnswer>(&format!("{path}?offset={offset}"), chunk.bytes).await {
                Ok(answer) => {
                    wait = RETRY_FIRST;
                    offset = answer.next;
                    if chunk.complete && offset == end {
                        break;
                    }
                }
                Err(Failure::Transient(why)) => {
                    tracing::debug!(container, why, "a log is not taken");
                    self.session.host.clock.sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(Failure::Refused(why)) => {
                    tracing::warn!(container, why, "the cell does not take this log");
                    break;
                }
            }
        }
        self.tell(Event::Delivered(container));
    }
}

#[cfg(test)]
mod tests;
