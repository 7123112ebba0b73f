//! The simulated world: the gateway's router, two cells and the agents' engine on the memory store, on one thread,
//! with one seed that decides everything: who goes first, how long a message takes, what is lost, who dies and when.
//!
//! The parts are the product's own code. What they may ask of the world is a [`base::host::Host`], a
//! [`store::backend::Backend`], a [`cell::provider::MachineProvider`] and an [`agent::runtime::PodRuntime`]; this
//! module gives each of them one of its own. No async runtime is used: the executor below polls jobs, in an order
//! drawn from the seed, and when nothing can go on it moves the time to the next timer.
//!
//! Reading order: this file (executor), [`seat`] (a process's view) with [`net`] (messages), [`remote`] (the store,
//! from afar), [`cloud`] and [`puppet`] (machines and what runs on them), `platform` (processes that sleep), [`users`]
//! and [`watchers`] (clients), [`weather`] (what goes wrong when), [`play`] (a whole run of the world). The checkers are
//! [`ledger`] (what was committed, change by change), [`verdict`] (how it all ended), and the watchers. [`plants`] are
//! mistakes made on purpose, to see that the checkers find them; [`table`] says what must have been met.

pub mod cloud;
pub mod ledger;
pub mod net;
pub mod plants;
mod platform;
pub mod play;
pub mod puppet;
pub mod remote;
pub mod seat;
pub mod table;
pub mod users;
pub mod verdict;
pub mod watchers;
pub mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use axum::Router;
use base::host::{BoxFuture, Host};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::platform::Platform;
use self::weather::Weather;

/// The world's beginning, µs since 1970: 2030-01-01.
pub const EPOCH_US: i64 = 1_893_456_000_000_000;
/// More polls than this are a livelock.
const POLLS_MAX: u64 = 1_500_000;
/// A process that dies rests for at most so long, µs.
const REST_MAX_US: u64 = 3_000_000;

/// A process of the world.
pub type NodeId = usize;
/// Where a process is: links between two places can be cut.
pub type Place = u8;
/// Where the store and the users are.
pub const HUB: Place = 0;
/// What a process does from its start.
pub type Program = Arc<dyn Fn(Host, NodeId) -> BoxFuture<'static, ()> + Send + Sync>;
/// What follows the death of a process.
pub type Died = Arc<dyn Fn(&Arc<World>) + Send + Sync>;
type JobId = u64;
/// Something that happens by itself.
type Happening = Box<dyn FnOnce(&Arc<World>) + Send>;

/// Everything there is.
pub struct World {
    state: Mutex<State>,
    woken: Arc<Mutex<Vec<JobId>>>,
}

struct State {
    now_us: u64,
    order: u64,
    schedule: SmallRng,
    fault: SmallRng,
    /// How often what goes wrong; all zero: nothing does.
    weather: Weather,
    /// The store answers nobody.
    store_away: bool,
    /// Pairs of places, the smaller one first, between which nothing gets through.
    cuts: BTreeSet<(Place, Place)>,
    queue: BTreeMap<(u64, u64), What>,
    ready: Vec<JobId>,
    jobs: BTreeMap<JobId, Job>,
    nodes: Vec<Node>,
    services: BTreeMap<String, Vec<(NodeId, Router)>>,
    platform: Platform,
    failure: Option<String>,
    hash: DefaultHasher,
    story: Option<Vec<String>>,
    counts: BTreeMap<&'static str, u64>,
    polls: u64,
}

enum What {
    Wake(Waker),
    Happen(Happening),
}

struct Job {
    node: NodeId,
    life: u32,
    name: &'static str,
    work: BoxFuture<'static, ()>,
}

struct Node {
    name: String,
    place: Place,
    life: u32,
    up: bool,
    /// It is there, and nothing of it goes on.
    paused: bool,
    /// Jobs that would go on if it were not paused.
    parked: Vec<JobId>,
    /// Nothing reaches it, and it reaches nothing.
    alone: bool,
    /// How wrong its clock is, µs, and how much too fast it goes, millionths.
    skew_us: i64,
    rate_ppm: i64,
    booted_us: u64,
    /// It may die.
    mortal: bool,
    entropy: SmallRng,
    program: Program,
    /// What follows its death; a restart when there is nothing.
    died: Option<Died>,
}

struct Wakeup {
    job: JobId,
    woken: Arc<Mutex<Vec<JobId>>>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        locked(&self.woken).push(self.job);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// An empty world. With `tells` it keeps a story in words.
    pub fn new(seed: u64, tells: bool) -> Arc<Self> {
        let state = State {
            now_us: 0,
            order: 0,
            schedule: SmallRng::seed_from_u64(seed),
            fault: SmallRng::seed_from_u64(seed ^ 0xfa17),
            weather: Weather::CALM,
            store_away: false,
            cuts: BTreeSet::new(),
            queue: BTreeMap::new(),
            ready: Vec::new(),
            jobs: BTreeMap::new(),
            nodes: Vec::new(),
            services: BTreeMap::new(),
            platform: Platform::default(),
            failure: None,
            hash: DefaultHasher::new(),
            story: tells.then(Vec::new),
            counts: BTreeMap::new(),
            polls: 0,
        };
        Arc::new(Self { state: Mutex::new(state), woken: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// µs since the beginning.
    pub fn now_us(&self) -> u64 {
        self.state().now_us
    }

    /// How often what goes wrong from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// How often what goes wrong.
    pub fn weather(&self) -> Weather {
        self.state().weather
    }

    /// A checker has found something: the first finding ends the world.
    pub fn fail(&self, what: impl FnOnce() -> String) {
        let failed = self.state().failure.is_some();
        if !failed {
            let what = what();
            self.note("FAILURE", &what);
            self.state().failure = Some(what);
        }
    }

    /// What a checker has found.
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Notes what happens: for the trace, the story and the table.
    pub fn note(&self, kind: &'static str, detail: &str) {
        let mut state = self.state();
        *state.counts.entry(kind).or_default() += 1;
        (kind, detail).hash(&mut state.hash);
        let now = state.now_us;
        if let Some(story) = &mut state.story {
            story.push(format!("{:>12.6} {kind:<18} {detail}", now as f64 / 1e6));
        }
    }

    /// How often each kind of thing was noted.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// How often that was noted.
    pub fn count(&self, kind: &str) -> u64 {
        self.state().counts.get(kind).copied().unwrap_or(0)
    }

    /// What happened, in words.
    pub fn story(&self) -> Vec<String> {
        self.state().story.clone().unwrap_or_default()
    }

    /// A number that is the same when, and only when, the same happened in the same order.
    pub fn hash(&self) -> u64 {
        self.state().hash.finish()
    }

    /// Draws whether a fault happens that has a chance of `one_in`; 0: never.
    pub fn fault(&self, one_in: u32) -> bool {
        one_in > 0 && self.state().fault.random_ratio(1, one_in)
    }

    /// Draws a time, µs.
    pub fn draw_us(&self, from: u64, to: u64) -> u64 {
        self.state().fault.random_range(from..to)
    }

    /// Lets something happen `after_us` from now.
    pub fn after(&self, after_us: u64, happening: impl FnOnce(&Arc<World>) + Send + 'static) {
        let mut state = self.state();
        let key = state.key(after_us);
        state.queue.insert(key, What::Happen(Box::new(happening)));
    }

    /// Adds a process, which begins to live with [`World::start`].
    pub fn node(&self, name: &str, place: Place, mortal: bool, program: Program) -> NodeId {
        let mut state = self.state();
        let entropy = SmallRng::seed_from_u64(state.schedule.random());
        state.nodes.push(Node {
            name: name.to_owned(),
            place,
            life: 0,
            up: false,
            paused: false,
            parked: Vec::new(),
            alone: false,
            skew_us: 0,
            rate_ppm: 0,
            booted_us: 0,
            mortal,
            entropy,
            program,
            died: None,
        });
        state.nodes.len() - 1
    }

    /// Says what follows the death of a process, instead of its restart.
    pub fn when_dead(&self, node: NodeId, died: Died) {
        self.state().nodes[node].died = Some(died);
    }

    /// Its clock is so wrong from now on.
    pub fn set_clock(&self, node: NodeId, skew_us: i64, rate_ppm: i64) {
        let mut state = self.state();
        state.nodes[node].skew_us = skew_us;
        state.nodes[node].rate_ppm = rate_ppm;
    }

    /// How wrong its clock is, µs.
    pub fn skew_us(&self, node: NodeId) -> i64 {
        let state = self.state();
        let now = i64::try_from(state.now_us).unwrap_or(i64::MAX);
        state.nodes.get(node).map_or(0, |node| node.skew_us + now / 1_000_000 * node.rate_ppm)
    }

    /// Starts a process.
    pub fn start(self: &Arc<Self>, node: NodeId) {
        let (program, name) = {
            let mut state = self.state();
            let now = state.now_us;
            let started = &mut state.nodes[node];
            if started.up {
                return;
            }
            started.life += 1;
            started.up = true;
            started.booted_us = now;
            (started.program.clone(), started.name.clone())
        };
        self.note("start", &name);
        let host = self.host(node);
        let work = program(host, node);
        let life = self.state().nodes[node].life;
        self.spawn(node, life, "main", work);
    }

    /// Ends a process at once, between two of its awaits; nothing of it is left but what it has told others.
    pub fn kill(self: &Arc<Self>, node: NodeId) {
        let mut gone = Vec::new();
        let mut services = Vec::new();
        {
            let mut state = self.state();
            let dead = &mut state.nodes[node];
            (dead.up, dead.paused, dead.life) = (false, false, dead.life + 1);
            dead.parked.clear();
            let of_node: Vec<_> =
                state.jobs.iter().filter(|(_, j)| j.node == node).map(|(id, _)| *id).collect();
            gone.extend(of_node.into_iter().filter_map(|id| state.jobs.remove(&id)));
            for served in state.services.values_mut() {
                services.extend(served.extract_if(.., |(at, _)| *at == node));
            }
        }
        // Dropped without the lock: what is dropped may ask for it.
        drop((gone, services));
    }

    /// A process dies of a fault.
    pub fn crash(self: &Arc<Self>, node: NodeId) {
        let (name, died) = {
            let state = self.state();
            if !state.nodes[node].up {
                return;
            }
            (state.nodes[node].name.clone(), state.nodes[node].died.clone())
        };
        self.note(crash_of(&name), &name);
        self.kill(node);
        match died {
            Some(died) => died(self),
            None => {
                let rest = self.draw_us(10_000, REST_MAX_US);
                self.after(rest, move |world| world.start(node));
            }
        }
    }

    fn spawn(&self, node: NodeId, life: u32, name: &'static str, work: BoxFuture<'static, ()>) {
        let mut state = self.state();
        let living = state.nodes[node].up && state.nodes[node].life == life;
        if living {
            state.order += 1;
            let id = state.order;
            state.jobs.insert(id, Job { node, life, name, work });
            state.ready.push(id);
            return;
        }
        drop(state);
        drop(work);
    }

    /// Lets the world go on until `done`, or `until_us`. True: it is done. `done` is asked whenever time moves.
    pub fn run(self: &Arc<Self>, until_us: u64, mut done: impl FnMut() -> bool) -> bool {
        let mut last = (0, "");
        loop {
            let next = self.next();
            match next {
                Some((id, job)) => {
                    last = (job.node, job.name);
                    self.poll(id, job);
                }
                None if self.failed() || done() => return true,
                None => {
                    if !self.advance(until_us) {
                        return done();
                    }
                }
            }
            if self.state().polls > POLLS_MAX {
                let node = self.state().nodes[last.0].name.clone();
                self.fail(|| format!("livelock: {} of {node}", last.1));
                return false;
            }
        }
    }

    fn failed(&self) -> bool {
        self.state().failure.is_some()
    }

    fn next(&self) -> Option<(JobId, Job)> {
        let mut woken = std::mem::take(&mut *locked(&self.woken));
        // Some of tokio's primitives wake in an order that differs from process to process.
        woken.sort_unstable();
        let mut state = self.state();
        for id in woken {
            let State { jobs, nodes, ready, .. } = &mut *state;
            let parked = jobs.get(&id).is_none_or(|job| nodes[job.node].parked.contains(&id));
            if !parked && !ready.contains(&id) {
                ready.push(id);
            }
        }
        while !state.ready.is_empty() {
            let count = state.ready.len();
            let index = state.schedule.random_range(0..count);
            let id = state.ready.swap_remove(index);
            let Some(job) = state.jobs.remove(&id) else { continue };
            let node = &mut state.nodes[job.node];
            if node.paused {
                node.parked.push(id);
                state.jobs.insert(id, job);
                continue;
            }
            return Some((id, job));
        }
        None
    }

    fn poll(self: &Arc<Self>, id: JobId, mut job: Job) {
        let waker = Waker::from(Arc::new(Wakeup { job: id, woken: self.woken.clone() }));
        let ended = job.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let node = job.node;
        let dies = {
            let mut state = self.state();
            state.polls += 1;
            let now = state.now_us;
            (now, id, job.name).hash(&mut state.hash);
            let living = state.nodes[node].up && state.nodes[node].life == job.life;
            let chance = state.weather.dies;
            let dies =
                living && state.nodes[node].mortal && chance > 0 && state.fault.random_ratio(1, chance);
            if living && !ended {
                state.jobs.insert(id, job);
            } else {
                drop(state);
                drop(job);
            }
            dies
        };
        if dies {
            self.crash(node);
        }
    }

    /// Moves the time to the next thing that happens, if that is before `until_us`.
    fn advance(self: &Arc<Self>, until_us: u64) -> bool {
        let what = {
            let mut state = self.state();
            let Some(((at, order), what)) = state.queue.pop_first() else { return false };
            if at > until_us {
                state.queue.insert((at, order), what);
                return false;
            }
            state.now_us = at;
            what
        };
        match what {
            What::Wake(waker) => waker.wake(),
            What::Happen(happening) => happening(self),
        }
        true
    }

    /// Ends everything. A world that is only dropped would keep itself alive.
    pub fn close(&self) {
        let (jobs, services, queue, nodes) = {
            let mut state = self.state();
            let nodes = std::mem::take(&mut state.nodes);
            (
                std::mem::take(&mut state.jobs),
                std::mem::take(&mut state.services),
                std::mem::take(&mut state.queue),
                nodes,
            )
        };
        drop((jobs, services, queue, nodes));
    }
}

/// What the death of a process is called in the table.
fn crash_of(name: &str) -> &'static str {
    match name.split(' ').next() {
        Some("cell") => "cell crashes",
        Some("gateway") => "gateway crashes",
        _ => "machine crashes",
    }
}

impl State {
    fn key(&mut self, after_us: u64) -> (u64, u64) {
        self.order += 1;
        (self.now_us.saturating_add(after_us), self.order)
    }
}
