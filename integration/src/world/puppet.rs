//! The pod of a machine: a puppet that is prepared, runs for a while and ends, sometimes badly; and the count of what
//! was begun, kept where no process of ours can forget it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::runtime::fake::Fake;
use agent::runtime::{LogChunk, PodRuntime, Prepared, Seen};
use base::host::{BoxFuture, Clock, Either, Host, Mono, race};
use k8s_openapi::api::core::v1::PodStatus;
use protocol::order::Order;
use serde_json::{Value, json};
use store::cell::RERUN;

use super::ledger::{Ending, Ledger};
use super::{NodeId, World, locked};

/// Every start of user code, by Try.
#[derive(Default)]
pub struct Starts(Mutex<BTreeMap<String, Vec<Start>>>);

/// One start of user code.
struct Start {
    fake: Arc<Fake>,
    /// The boot clock of its machine.
    clock: Arc<dyn Clock>,
    /// The machine's boot.
    who: String,
    node: NodeId,
    life: u32,
    over: bool,
}

impl Starts {
    /// How often user code was started.
    pub fn count(&self) -> u64 {
        locked(&self.0).values().map(|starts| starts.len() as u64).sum()
    }

    /// Notes a start. A Try starts at most once; one that may be run again is never alive twice.
    fn note(&self, world: &World, tried: &str, again: bool, start: Start) {
        let mut all = locked(&self.0);
        let starts = all.entry(tried.to_owned()).or_default();
        // What ends a pod with its lease is not the agent, and does not sleep with it.
        let leased = |start: &Start| start.fake.state().leased.is_none_or(|until| start.clock.mono() < until);
        let alive = |start: &Start| !start.over && world.lives(start.node, start.life) && leased(start);
        let bad = if again { starts.iter().any(alive) } else { !starts.is_empty() };
        if again && !starts.is_empty() {
            world.note("user code starts again", tried);
        }
        starts.push(start);
        if bad {
            let who: Vec<_> = starts.iter().map(|start| start.who.clone()).collect();
            world.fail(|| format!("{tried}: started on {}", who.join(" and on ")));
        }
    }

    /// User code that was started there has ended.
    fn over(&self, node: NodeId, life: u32) {
        for start in locked(&self.0).values_mut().flatten() {
            start.over |= start.node == node && start.life == life;
        }
    }
}

/// Where a pod is.
#[derive(Clone)]
pub struct Spot {
    /// The world.
    pub world: Arc<World>,
    /// What was committed.
    pub ledger: Arc<Ledger>,
    /// What was started.
    pub starts: Arc<Starts>,
    /// The machine's process.
    pub node: NodeId,
    /// The machine's boot.
    pub who: String,
}

/// A pod whose start is noted.
pub struct Watched {
    fake: Arc<Fake>,
    clock: Arc<dyn Clock>,
    spot: Spot,
}

impl Watched {
    /// The pod of a boot, played by a puppet.
    pub fn new(host: &Host, spot: Spot) -> Arc<Self> {
        let fake = Arc::new(Fake::default());
        let (puppet, played, at) = (host.clone(), fake.clone(), spot.clone());
        host.spawn("puppet", async move { play(puppet, &played, &at).await });
        Arc::new(Self { fake, clock: host.clock.clone(), spot })
    }
}

impl PodRuntime for Watched {
    fn capabilities(&self) -> BTreeMap<String, String> {
        self.fake.capabilities()
    }
    fn prepare(&self, order: Arc<Order>) -> BoxFuture<'_, Prepared> {
        self.fake.prepare(order)
    }
    fn go(&self) -> BoxFuture<'_, ()> {
        if let Some(order) = &self.fake.state().order {
            let Spot { world, ledger, starts, node, who } = &self.spot;
            let asked = ledger.begins(world, &order.attempt, who);
            let (node, life) = (*node, world.state().nodes[*node].life);
            let (fake, clock) = (self.fake.clone(), self.clock.clone());
            let start = Start { fake, clock, who: who.clone(), node, life, over: false };
            starts.note(world, &tried(order), asked || again(order), start);
            world.note("user code starts", &order.attempt);
        }
        self.fake.go()
    }
    fn seen(&self) -> Seen {
        self.fake.seen()
    }
    fn changed(&self, seen: u64) -> BoxFuture<'_, ()> {
        self.fake.changed(seen)
    }
    fn log(&self, container: &str, offset: u64) -> LogChunk {
        self.fake.log(container, offset)
    }
    fn log_grown<'a>(&'a self, container: &'a str, offset: u64) -> BoxFuture<'a, ()> {
        self.fake.log_grown(container, offset)
    }
    fn lease(&self, until: Mono) {
        self.fake.lease(until);
    }
    fn annotate(&self, annotations: &BTreeMap<String, String>) {
        self.fake.annotate(annotations);
    }
    fn stop(&self, grace_ms: u64) -> BoxFuture<'_, ()> {
        self.fake.stop(grace_ms)
    }
    fn remove(&self) -> BoxFuture<'_, ()> {
        let life = self.spot.world.state().nodes[self.spot.node].life;
        self.spot.starts.over(self.spot.node, life);
        self.fake.remove()
    }
}

/// A Try is a TaskRun's uid and a retry; the Pod's name has the retry in it.
fn tried(order: &Order) -> String {
    let meta = &order.pod.metadata;
    let of_run = meta.labels.as_ref().and_then(|labels| labels.get("tekton.dev/taskRunUID"));
    format!("{} {}", of_run.map_or("", String::as_str), meta.name.as_deref().unwrap_or_default())
}

/// The run allows that a lost machine's Try is run again.
fn again(order: &Order) -> bool {
    let annotations = order.pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(RERUN)).is_some_and(|value| value == "true")
}

async fn play(host: Host, fake: &Fake, spot: &Spot) {
    let draw = |below: u128| u64::try_from(host.id() % below.max(1)).unwrap_or(0);
    fake.until(|state| state.order.is_some()).await;
    let Some(order) = fake.state().order.clone() else { return };
    host.clock.sleep(Duration::from_millis(10 + draw(300))).await;
    if draw(24) == 0 {
        spot.world.note("image cannot be had", "");
        spot.ledger.ends(&order.attempt, Ending::Unpullable);
        let waiting = json!({"waiting": {"reason": "InvalidImageName", "message": "no such image"}});
        fake.show(status(&order, &waiting, "Pending"));
        fake.prepare_ends(Prepared::Stuck);
        fake.until(|state| !state.stops.is_empty()).await;
        let ended = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        return fake.show(status(&order, &ended, "Failed"));
    }
    fake.show(status(&order, &json!({"waiting": {"reason": "PodInitializing"}}), "Pending"));
    fake.prepare_ends(Prepared::Ready);
    fake.until(|state| state.goes > 0 || !state.stops.is_empty()).await;
    let started = fake.state().goes > 0;
    let mut code = 137;
    if started {
        fake.show(status(&order, &json!({"running": {"startedAt": now(&host)}}), "Running"));
        let most_ms = if draw(6) == 0 { 25_000 } else { 5000 };
        let work = host.clock.sleep(Duration::from_millis(50 + draw(most_ms)));
        let told = race(fake.until(|state| !state.stops.is_empty()), starve(&host, fake));
        match race(work, told).await {
            Either::Left(()) => {
                code = i32::from(draw(6) == 0);
                spot.ledger.ends(&order.attempt, Ending::Exit(code));
            }
            Either::Right(_) => {
                spot.ledger.ends(&order.attempt, Ending::Stopped);
                // Some take all the grace that they are given.
                let grace = fake.state().stops.last().copied().unwrap_or(0);
                if draw(4) == 0 {
                    host.clock.sleep(Duration::from_millis(grace)).await;
                }
            }
        }
    }
    let life = spot.world.state().nodes[spot.node].life;
    spot.starts.over(spot.node, life);
    let containers = order.pod.spec.iter().flat_map(|spec| &spec.containers);
    for container in containers {
        fake.say(&container.name, b"2030-01-01T00:00:00Z stdout F hello\n", true);
    }
    let message = json!([{"key": "StartedAt", "value": now(&host), "type": 3}]).to_string();
    let reason = if code == 0 { "Completed" } else { "Error" };
    let ended = json!({"terminated": {
        "exitCode": code, "reason": reason, "startedAt": now(&host), "finishedAt": now(&host), "message": message,
    }});
    fake.show(status(&order, &ended, if code == 0 { "Succeeded" } else { "Failed" }));
}

/// Completes at the end of the pod's lease, if it has one: as its supervisor would end it.
async fn starve(host: &Host, fake: &Fake) {
    loop {
        fake.until(|state| state.leased.is_some()).await;
        let Some(until) = fake.state().leased else { continue };
        let left = until.since(host.clock.mono());
        if left.is_zero() {
            return;
        }
        host.clock.sleep(left).await;
    }
}

fn now(host: &Host) -> String {
    apimachinery::time::Micros(host.clock.utc().0).rfc3339()
}

/// A status in which all containers are in `state`.
fn status(order: &Order, state: &Value, phase: &str) -> PodStatus {
    let containers = order.pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "sha256:1", "ready": phase == "Running",
            "restartCount": 0, "state": state,
        })
    });
    let status = json!({"phase": phase, "containerStatuses": containers.collect::<Vec<_>>(), "startTime": "2030-01-01T00:00:00Z"});
    serde_json::from_value(status).unwrap_or_default()
}
