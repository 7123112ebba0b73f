//! One run of the world from one seed: tenants submit, cancel, delete and watch while everything fails, then there is
//! peace, and everything that was accepted must come to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::host::{BoxFuture, Host};
use cell::logs::memory::Memory as Logs;
use store::memory::Memory;
use store::tenant::TenantStore;
use store::vault::Vault;
use tekton::engine::decide::Installation;
use tenancy::id::{CellId, TenantId};
use tenancy::peer::{Peer, Peers};
use tenancy::token::KeySet;

use super::cloud::{Cloud, Provider, Sky};
use super::ledger::Ledger;
use super::puppet::Starts;
use super::remote::Far;
use super::users::{AUDIENCE, Book, Common, GATEWAY, Plan, Tenant, User};
use super::verdict::Case;
use super::watchers::Watcher;
use super::weather::{self, CellSite, Sites, Weather};
use super::{HUB, NodeId, Place, World, locked};

pub use super::plants::Plant;

const REGIONS: [&str; 3] = ["us-central1", "europe-west1", "asia-east1"];
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
/// By then everything has ended, µs.
const END_US: u64 = 1_500_000_000;
/// How often it is asked whether everything has ended, µs.
const LOOK_US: u64 = 100_000;
/// So long after peace, and after its attempt, a machine may still be there, µs.
const OUTLIVES_US: u64 = 150_000_000;

/// What came of a seed.
pub struct Outcome {
    /// What a checker found.
    pub failure: Option<String>,
    /// See [`World::hash`].
    pub hash: u64,
    /// What happened, if it was asked for.
    pub story: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Runs that were accepted.
    pub accepted: usize,
    /// Starts of user code.
    pub starts: u64,
}

/// How large the world of a seed is.
struct Shape {
    cells: usize,
    replicas: usize,
    gateways: usize,
    tenants: Vec<Tenant>,
    runs: usize,
    room: usize,
    /// Faults happen until then, µs.
    faults_us: u64,
    /// How long something large may be broken, µs.
    long_us: u64,
    pace: cell::Pace,
    /// Some runs may be run again after a loss.
    reruns: bool,
    /// A cell that has nothing to do for so long sleeps.
    sleep_after: Option<Duration>,
}

impl Shape {
    fn draw(world: &World) -> Self {
        let below = |count: u64| usize::try_from(world.draw_us(0, count)).unwrap_or(0);
        let cells = 1 + below(3);
        let home = REGIONS[below(cells as u64)].to_owned();
        let pinned = below(3);
        let tenants = TENANTS[..1 + below(3)].iter().enumerate().map(|(n, id)| Tenant {
            id,
            residency: if n == pinned { vec![home.clone()] } else { Vec::new() },
        });
        let long = below(12) == 0;
        Self {
            cells,
            replicas: 1 + below(2),
            gateways: 1 + below(2),
            tenants: tenants.collect(),
            runs: 1 + below(3),
            room: 1 + below(4),
            faults_us: if long { 200_000_000 } else { world.draw_us(8_000_000, 40_000_000) },
            long_us: if long { 180_000_000 } else { 30_000_000 },
            pace: cell::Pace {
                heartbeat: Duration::from_secs(if below(2) == 0 { 2 } else { 5 }),
                forgotten: Duration::from_secs([12, 60, 600][below(3)]),
            },
            reruns: below(2) == 0,
            sleep_after: [None, Some(Duration::from_millis(800)), Some(Duration::from_secs(4))][below(3)],
        }
    }
}

/// Plays a seed.
pub fn play(seed: u64, plant: Plant, tells: bool) -> Outcome {
    let world = World::new(seed, tells);
    let shape = Shape::draw(&world);
    let nobody: super::Program = Arc::new(|_, _| Box::pin(std::future::ready(())));
    let clock = world.host(world.node("store", HUB, false, nobody)).clock;
    let (memory, ledger) = (Memory::new(clock), Ledger::new());
    let far = Far { world: world.clone(), memory: memory.clone(), ledger: ledger.clone(), plant };
    let starts = Arc::new(Starts::default());
    let sky = Sky { world: world.clone(), ledger: ledger.clone(), starts: starts.clone(), plant };
    let keys = KeySet::new([7; 32]);
    let sites: Vec<CellSite> = (0..shape.cells).map(|n| site(&sky, &far, &shape, n)).collect();
    let gateways: Vec<NodeId> = (0..shape.gateways).map(|n| gateway(&far, &keys, n, &sites)).collect();
    for node in sites.iter().flat_map(|site| &site.replicas).chain(&gateways) {
        weather::wind(&world, *node);
        world.start(*node);
    }
    let (book, watchers, users) = people(&world, &far, &shape, &keys);
    world.set_weather(Weather::draw(&world));
    let clouds: Vec<Arc<Cloud>> = sites.iter().map(|site| site.cloud.clone()).collect();
    let drains: Vec<_> = sites.iter().map(|site| site.drain.clone()).collect();
    let replicas: Vec<NodeId> = sites.iter().flat_map(|site| site.replicas.clone()).collect();
    let (until_us, long_us) = (shape.faults_us, shape.long_us);
    let jump_us = if shape.reruns { weather::STEP_US } else { weather::JUMP_MAX_US };
    weather::begin(&world, Sites { cells: sites, gateways, users, until_us, long_us, jump_us });
    world.run(shape.faults_us, || false);
    world.note("peace", "");
    world.heal();
    clouds.iter().for_each(|cloud| cloud.set_sold_out(false));
    drains.iter().for_each(|drain| drain(false));
    world.bring_all_back();
    replicas.iter().for_each(|replica| world.start(*replica));
    let mut end = End {
        world: &world,
        ledger: &ledger,
        book: &book,
        clouds: &clouds,
        watchers: &watchers,
        peace_us: world.now_us(),
        looked_us: 0,
    };
    let quiet = world.run(END_US, || end.is_quiet(shape.tenants.len() * shape.runs));
    end.judge(quiet);
    let outcome = Outcome {
        failure: world.failure(),
        hash: world.hash(),
        story: world.story(),
        counts: world.counts(),
        accepted: book.wishes().iter().filter(|wish| wish.accepted).count(),
        starts: starts.count(),
    };
    world.close();
    outcome
}

/// The users and watchers of the tenants.
fn people(
    world: &Arc<World>,
    far: &Far,
    shape: &Shape,
    keys: &KeySet,
) -> (Arc<Book>, Vec<Arc<Watcher>>, Vec<NodeId>) {
    let common = Common {
        world: world.clone(),
        ledger: far.ledger.clone(),
        book: Arc::default(),
        keys: keys.clone(),
        regions: REGIONS[..shape.cells].iter().map(|region| (*region).to_owned()).collect(),
        reruns: shape.reruns,
    };
    let plan = Plan { runs: shape.runs, submits_us: shape.faults_us.min(25_000_000) / 2 };
    let (mut watchers, mut users, cells) = (Vec::new(), Vec::new(), shape.cells);
    for tenant in &shape.tenants {
        let kinds = ["taskruns.tekton.dev", "pipelineruns.tekton.dev", "pods"];
        let own = kinds.map(|kind| Watcher::new(world, &far.ledger, tenant.id, kind));
        watchers.extend(own.iter().cloned());
        let (far, of, common) = (far.clone(), tenant.clone(), common.clone());
        let program: super::Program = Arc::new(move |host: Host, _| -> BoxFuture<'static, ()> {
            let user = User::new(&host, &of, &common);
            let (own, tenant, far) = (own.clone(), of.clone(), far.clone());
            Box::pin(async move {
                let Ok(id) = TenantId::parse(tenant.id) else { return };
                // A tenant is there before its users are.
                let store: store::backend::Store = far.memory.clone();
                drop(store::tenant::found(&store, &host, &id, tenant.residency.clone()).await);
                while far.ledger.facts().cells.len() < cells {
                    host.clock.sleep(Duration::from_millis(100)).await;
                }
                let Some(user) = user else { return };
                for watcher in own {
                    let user = user.clone();
                    host.spawn("watcher", async move { watcher.watch(user).await });
                }
                user.begin(plan);
            })
        });
        let user = world.node(&format!("user of {}", tenant.id), HUB, false, program);
        world.start(user);
        users.push(user);
    }
    (common.book, watchers, users)
}

struct End<'a> {
    world: &'a Arc<World>,
    ledger: &'a Arc<Ledger>,
    book: &'a Book,
    clouds: &'a [Arc<Cloud>],
    watchers: &'a [Arc<Watcher>],
    peace_us: u64,
    looked_us: u64,
}

impl End<'_> {
    fn regions() -> BTreeMap<String, String> {
        REGIONS.iter().map(|region| ((*region).to_owned(), (*region).to_owned())).collect()
    }

    /// Nothing is left to be done.
    fn is_quiet(&mut self, wishes: usize) -> bool {
        let now = self.world.now_us();
        if now < self.looked_us + LOOK_US {
            return false;
        }
        self.looked_us = now;
        self.outlives();
        self.book.done(wishes)
            && self.open().is_empty()
            && self.clouds.iter().all(|cloud| cloud.machines().is_empty())
            && self.ledger.facts().machines.is_empty()
            && self.watchers.iter().all(|watcher| watcher.is_through())
    }

    fn open(&self) -> Vec<String> {
        self.case(&self.ledger.facts(), &self.book.wishes(), |case| case.open())
    }

    fn case<T>(
        &self,
        facts: &super::ledger::Facts,
        wishes: &[super::users::Wish],
        ask: impl FnOnce(Case<'_>) -> T,
    ) -> T {
        let harmed = |id: &str| self.clouds.iter().any(|cloud| cloud.has_harmed(id));
        let jumped = self.world.count("clock jumps back") + self.world.count("clock jumps ahead") > 0;
        ask(Case { facts, wishes, regions: &Self::regions(), jumped, harmed: &harmed })
    }

    /// No machine outlives its attempt for long.
    fn outlives(&self) {
        let now = self.world.now_us();
        let facts = self.ledger.facts();
        for id in self.clouds.iter().flat_map(|cloud| cloud.machines()) {
            let attempt = facts.attempts.values().find(|seen| seen.row.machine == id);
            let over = attempt.and_then(|seen| seen.over_us);
            if let Some(over) = over
                && now > over.max(self.peace_us) + OUTLIVES_US
            {
                self.world.fail(|| format!("machine {id} outlives its attempt, which was over at {over}"));
            }
        }
    }

    fn judge(&self, quiet: bool) {
        if self.world.failure().is_some() {
            return;
        }
        let facts = self.ledger.facts();
        let wishes = self.book.wishes();
        if let Some(wrong) = self.case(&facts, &wishes, |case| case.wrong()) {
            return self.world.fail(|| wrong);
        }
        if quiet {
            return;
        }
        let open = self.case(&facts, &wishes, |case| case.open());
        drop(facts);
        self.world.fail(|| {
            if !open.is_empty() {
                return format!("never ended: {}", open.join(", "));
            }
            if let Some(watcher) = self.watchers.iter().find(|watcher| !watcher.is_through()) {
                return watcher.missing();
            }
            let machines: Vec<_> = self.clouds.iter().flat_map(|cloud| cloud.machines()).collect();
            let rows: Vec<_> = self.ledger.facts().machines.keys().cloned().collect();
            format!("left behind: machines {}, rows {}", machines.join(" "), rows.join(" "))
        });
    }
}

fn site(sky: &Sky, far: &Far, shape: &Shape, n: usize) -> CellSite {
    let region = REGIONS[n];
    let place = Place::try_from(n + 1).unwrap_or(Place::MAX);
    let cloud = Cloud::new(sky, region, place, shape.room);
    let cells: Arc<Mutex<BTreeMap<NodeId, cell::Cell>>> = Arc::default();
    // Logs are the region's: they outlive the process.
    let sink = Arc::new(Logs::default());
    let replicas = (0..shape.replicas).map(|replica| {
        let (far, cloud, sink, cells) = (far.clone(), cloud.clone(), sink.clone(), cells.clone());
        let (room, pace, sleep_after) = (shape.room, shape.pace, shape.sleep_after);
        let program: super::Program = Arc::new(move |host: Host, node: NodeId| -> BoxFuture<'static, ()> {
            let config = cell::Config { sleep_after, ..config(region, room, replica) };
            let store = far.of(node, host.clock.clone());
            let parts = cell::Parts {
                host: host.clone(),
                store,
                provider: Arc::new(Provider(cloud.clone())),
                sink: sink.clone(),
                images: Arc::new(cell::images::Fixed::default()),
                secrets: Arc::new(cell::secrets::InObject),
                fetch: cell::fetch::nowhere(),
                hubs: cell::resolve::hub::Hubs::default(),
                engine: cell::Engine {
                    taskrun: tekton::engine::taskrun::decide,
                    pipelinerun: tekton::engine::pipelinerun::decide,
                },
                installation: installation(),
            };
            let cells = cells.clone();
            Box::pin(async move {
                let at = config.address.clone();
                let (router, cell) = cell::Cell::start_at(config, parts, pace);
                let old = locked(&cells).insert(node, cell);
                drop(old);
                drop(host.net.serve(&at, router).await);
            })
        });
        let node = sky.world.node(&format!("cell {region}/{replica}"), place, true, program);
        sky.world.may_sleep(region, &replica.to_string(), node, &address(region));
        node
    });
    let replicas = replicas.collect();
    let drain = Arc::new(move |draining: bool| {
        let all: Vec<cell::Cell> = locked(&cells).values().cloned().collect();
        all.iter().for_each(|cell| cell.drain(draining));
    });
    CellSite { place, replicas, cloud, drain }
}

/// Where the replicas of a cell are called.
fn address(region: &str) -> String {
    format!("local:{region}")
}

fn config(region: &str, room: usize, replica: usize) -> cell::Config {
    cell::Config {
        cell: region.to_owned(),
        region: region.to_owned(),
        address: address(region),
        machines_max: room,
        arch: vec!["amd64".to_owned()],
        machine_key: [9; 32],
        replica: replica.to_string(),
        agents: address(region),
        peers: peers(&format!("cell/{region}")),
        data: PathBuf::from("/nonexistent"),
        sleep_after: None,
    }
}

/// Who gateway and cells are for each other; the same in every world.
fn peers(of: &str) -> Peers {
    let mut n = 0;
    let random = || {
        n += 1;
        [n; 32]
    };
    let cells = REGIONS.iter().map(|cell| CellId::parse(cell).expect("cells of the world have names"));
    let mut all = tenancy::peer::found(cells, random).expect("any 32 bytes are a key");
    let of = Peer::try_from(of.to_owned()).expect("a peer of the world");
    all.remove(&of).expect("a peer of the world")
}

/// A gateway is somewhere: in the region of a cell, or at the hub.
fn gateway(far: &Far, keys: &KeySet, n: usize, sites: &[CellSite]) -> NodeId {
    let place = if n == 0 { HUB } else { sites[0].place };
    let (far, keys, world) = (far.clone(), keys.clone(), far.world.clone());
    let program: super::Program = Arc::new(move |host: Host, node: NodeId| -> BoxFuture<'static, ()> {
        let store = far.of(node, host.clock.clone());
        let (counted, commits) = store::counted::Counted::new(store);
        let app = gateway::App::new(gateway::Parts {
            host: host.clone(),
            admin: store::tenant::admin::AdminStore::new(counted.clone(), host.clone()),
            tenants: TenantStore::new(counted, host.clone()),
            vault: Arc::new(Vault::new(&[3; 32])),
            keys: keys.clone(),
            audience: AUDIENCE.to_owned(),
            peers: peers("gateway"),
            page_key: [5; 32],
            admission: gateway::Admission::Tekton,
            commits,
        });
        app.cells.forward();
        Box::pin(async move { drop(host.net.serve(GATEWAY, gateway::router(app)).await) })
    });
    world.node(&format!("gateway {n}"), place, true, program)
}

/// An installation whose images are names only: nothing is run from them.
pub fn installation() -> Installation {
    let image = |name: &str| format!("example.com/{name}:v1");
    Installation {
        entrypoint_image: image("entrypoint"),
        nop_image: image("nop"),
        shell_image: image("shell"),
        shell_image_win: image("shell-win"),
        workingdirinit_image: image("workingdirinit"),
        sidecarlogresults_image: image("sidecarlogresults"),
        release: "v1.15.0".into(),
        kubernetes_minor: 33,
        resolvers: false,
    }
}
