//! Machines that can be had, and what runs on them: the agent's own session and engine, on a pod that a puppet plays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::runtime::fake::Fake;
use agent::runtime::{LogChunk, PodRuntime, Prepared, Seen};
use agent::session::Session;
use axum::Router;
use axum::body::Body;
use base::host::{BoxFuture, Host, Mono, Net, NetError, race};
use cell::provider::{MachineProvider, MachineSpec, MachineState, ProviderError};
use http::{Request, Response};
use k8s_openapi::api::core::v1::PodStatus;
use protocol::message::{START, StartAnswer};
use protocol::order::Order;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{NodeId, World, locked};

const HOP_US: (u64, u64) = (500, 20_000);
const BOOT_US: (u64, u64) = (5_000, 2_000_000);
const REBOOT_US: (u64, u64) = (200_000, 8_000_000);
/// One call in so many fails.
const FAULTY: u32 = 40;

/// Every start of user code: by Try, the machines' boots that did it.
#[derive(Default)]
pub struct Starts(Mutex<BTreeMap<String, Vec<String>>>);

impl Starts {
    /// Notes a start of what `order` asks for.
    fn note(&self, order: &Order, who: &str) {
        let meta = &order.pod.metadata;
        let of_run = meta.labels.as_ref().and_then(|labels| labels.get("tekton.dev/taskRunUID"));
        // A Try is a TaskRun's uid and a retry; the Pod's name has the retry in it.
        let tried =
            format!("{} {}", of_run.map_or("", String::as_str), meta.name.as_deref().unwrap_or_default());
        locked(&self.0).entry(tried).or_default().push(who.to_owned());
    }

    /// How often user code was started, and the Tries for which that was more than once.
    pub fn result(&self) -> (u64, Vec<String>) {
        let starts = locked(&self.0);
        let twice = starts.iter().filter(|(_, who)| who.len() > 1);
        let twice = twice.map(|(tried, who)| format!("{tried}: started on {}", who.join(" and on ")));
        (starts.values().map(|who| who.len() as u64).sum(), twice.collect())
    }
}

/// The provider of one cell. It is no process of ours: it lives on when the cell dies.
pub struct Cloud {
    world: Arc<World>,
    cell: String,
    machines: Mutex<BTreeMap<String, Vm>>,
    changed: Arc<Notify>,
    starts: Arc<Starts>,
    /// A mistake that is made on purpose: agents do not ask at the start gate.
    skips_gate: bool,
}

#[derive(Clone)]
struct Vm {
    node: NodeId,
    state: MachineState,
}

impl Cloud {
    /// A provider of machines for `cell`.
    pub fn new(world: &Arc<World>, cell: &str, starts: Arc<Starts>, skips_gate: bool) -> Arc<Self> {
        let (world, cell) = (world.clone(), cell.to_owned());
        Arc::new(Self {
            world,
            cell,
            machines: Mutex::default(),
            changed: Arc::default(),
            starts,
            skips_gate,
        })
    }

    fn make(self: &Arc<Self>, spec: &MachineSpec) {
        if locked(&self.machines).contains_key(&spec.id) {
            return;
        }
        let (cloud, starts, spec) = (Arc::downgrade(self), self.starts.clone(), spec.clone());
        let (cell, skips) = (format!("local:{}", self.cell), self.skips_gate);
        let id = spec.id.clone();
        let program = Arc::new(move |mut host: Host| -> BoxFuture<'static, ()> {
            let (cloud, starts, spec, cell) = (cloud.clone(), starts.clone(), spec.clone(), cell.clone());
            if skips {
                host.net = Arc::new(GateSkipped(host.net.clone()));
            }
            Box::pin(async move {
                let fake = Arc::new(Fake::default());
                let who = format!("{} in boot {:08x}", spec.id, host.id() as u32);
                let runtime = Arc::new(Watched { fake: fake.clone(), starts, who });
                let (puppet, clock) = (host.clone(), host.clone());
                host.spawn("puppet", async move { play(puppet, &fake).await });
                let session = Session::new(host.clone(), cell, spec.id.clone(), spec.token.clone());
                session.live(runtime, std::future::pending()).await;
                clock.clock.sleep(Duration::from_millis(1)).await;
                if let Some(cloud) = cloud.upgrade() {
                    cloud.exited(&spec.id, "the agent has left");
                }
            })
        });
        let node = self.world.node(&format!("machine {id}"), true, 0, program);
        locked(&self.machines).insert(id.clone(), Vm { node, state: MachineState::Running });
        let (cloud, name) = (Arc::downgrade(self), id);
        self.world.when_dead(
            node,
            Arc::new(move |world: &Arc<World>| {
                let Some(cloud) = cloud.upgrade() else { return };
                if world.draw_us(0, 2) == 0 {
                    world.note("reboot", &name);
                    let pause = world.draw_us(REBOOT_US.0, REBOOT_US.1);
                    let (cloud, name) = (Arc::downgrade(&cloud), name.clone());
                    world.after(pause, move |world| {
                        let there = cloud.upgrade().is_some_and(|c| locked(&c.machines).contains_key(&name));
                        if there {
                            world.start(node);
                        }
                    });
                } else {
                    world.note("machine lost", &name);
                    cloud.exited(&name, "it was preempted");
                }
            }),
        );
        let boot = self.world.draw_us(BOOT_US.0, BOOT_US.1);
        self.world.after(boot, move |world| world.start(node));
    }

    fn exited(&self, id: &str, why: &str) {
        if let Some(vm) = locked(&self.machines).get_mut(id) {
            vm.state = MachineState::Exited(why.to_owned());
        }
        self.changed.notify_one();
    }

    fn trouble(&self) -> Option<ProviderError> {
        self.world.fault(FAULTY).then(|| {
            self.world.note("provider fails", &self.cell);
            ProviderError::Failed("internal error".into())
        })
    }

    /// Something that happens at the provider after a hop, and is answered after another.
    fn remote<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Arc<World>) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, ProviderError>> {
        if let Some(trouble) = self.trouble() {
            return Box::pin(async move { Err(trouble) });
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        let (there, back) = (self.world.draw_us(HOP_US.0, HOP_US.1), self.world.draw_us(HOP_US.0, HOP_US.1));
        self.world.after(there, move |world| {
            let done = act(world);
            world.after(back, move |_| drop(answer.send(done)));
        });
        Box::pin(async move { answered.await.map_err(|_| ProviderError::Failed("no answer".into())) })
    }
}

/// The provider as a cell holds it.
pub struct Provider(pub Arc<Cloud>);

impl MachineProvider for Provider {
    fn create(&self, spec: MachineSpec) -> BoxFuture<'_, Result<(), ProviderError>> {
        let cloud = self.0.clone();
        self.0.remote(move |_| cloud.make(&spec))
    }

    fn delete(&self, id: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let (cloud, id) = (self.0.clone(), id.to_owned());
        self.0.remote(move |world| {
            let vm = locked(&cloud.machines).remove(&id);
            if let Some(vm) = vm {
                world.kill(vm.node);
            }
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<BTreeMap<String, MachineState>, ProviderError>> {
        let cloud = self.0.clone();
        self.0.remote(move |_| {
            locked(&cloud.machines).iter().map(|(id, vm)| (id.clone(), vm.state.clone())).collect()
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let changed = self.0.changed.clone();
        Box::pin(async move { changed.notified().await })
    }
}

/// A network in which the start gate always says go, without being asked.
struct GateSkipped(Arc<dyn Net>);

impl Net for GateSkipped {
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, NetError>> {
        if request.uri().path() == START {
            let go = serde_json::to_vec(&StartAnswer::Go).unwrap_or_default();
            return Box::pin(async move { Ok(Response::new(Body::from(go))) });
        }
        self.0.call(to, request)
    }

    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, std::io::Result<()>> {
        self.0.serve(at, router)
    }
}

/// A pod whose start is noted where no process of ours can forget it.
struct Watched {
    fake: Arc<Fake>,
    starts: Arc<Starts>,
    who: String,
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
            self.starts.note(order, &self.who);
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
        self.fake.remove()
    }
}

/// Plays the containers of a pod: they are prepared, they run for a while, they end, sometimes badly.
async fn play(host: Host, fake: &Fake) {
    let draw = |below: u128| host.id() % below.max(1);
    fake.until(|state| state.order.is_some()).await;
    let Some(order) = fake.state().order.clone() else { return };
    host.clock.sleep(Duration::from_millis(10 + draw(300) as u64)).await;
    fake.show(status(&order, &json!({"waiting": {"reason": "PodInitializing"}}), "Pending"));
    fake.prepare_ends(Prepared::Ready);
    fake.until(|state| state.goes > 0 || !state.stops.is_empty()).await;
    let started = fake.state().goes > 0;
    let mut code = 137;
    if started {
        fake.show(status(&order, &json!({"running": {"startedAt": now(&host)}}), "Running"));
        let work = host.clock.sleep(Duration::from_millis(50 + draw(6000) as u64));
        let told = race(fake.until(|state| !state.stops.is_empty()), starve(&host, fake));
        if let base::host::Either::Left(()) = race(work, told).await {
            code = i32::from(draw(8) == 0);
        }
    }
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
        let leased = fake.state().leased;
        let Some(until) = leased else { return std::future::pending().await };
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
