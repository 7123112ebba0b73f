//! One run of the world from one seed: two tenants submit and cancel while everything fails, then there is peace, and
//! everything that was accepted must come to its end.
//!
//! Two checkers look at what cannot lie: the store's log (a run ends, and ends once) and the machines themselves (user
//! code of one Try starts at most once).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use base::host::{BoxFuture, Host};
use cell::logs::memory::Memory as Logs;
use futures_util::FutureExt;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::backend::{Backend, ChangeKind, Revision, Store};
use store::memory::Memory;
use store::object;
use store::tenant::TenantStore;
use store::vault::Vault;
use tekton::engine::decide::Installation;
use tenancy::access::{Caller, Role};
use tenancy::id::{CellId, TenantId};
use tenancy::peer::{Peer, Peers};
use tenancy::token::KeySet;

use super::cloud::{Cloud, Provider, Starts};
use super::remote::Remote;
use super::{World, locked};

const CELLS: [(&str, &str); 2] = [("us-central1", "us-central1"), ("europe-west1", "europe-west1")];
const TENANTS: [&str; 2] = ["acme", "globex"];
const GATEWAY: &str = "gateway";
const AUDIENCE: &str = "world";
const KINDS: [&str; 2] = ["taskruns", "pipelineruns"];
/// Runs of each tenant.
const RUNS: usize = 4;
/// Faults happen until then, µs; the submits come in the first part of it.
const FAULTS_US: u64 = 30_000_000;
const SUBMITS_US: u128 = 20_000_000;
/// And by then everything has ended, µs.
const END_US: u64 = 900_000_000;
const TOKEN_S: i64 = 86_400;
const CLOCK_SKEW_US: u64 = 400_000;

/// A mistake that is made on purpose, to see that it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// None.
    Nothing,
    /// Agents start without asking at the start gate.
    GateSkipped,
    /// Now and then a transaction is done without the Due row in it.
    DueDropped,
}

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

/// What users know: the runs whose acceptance they were told of.
#[derive(Default)]
struct Book {
    accepted: Mutex<BTreeSet<(String, &'static str, String)>>,
    refused: Mutex<Vec<String>>,
    submitted: Mutex<usize>,
}

/// Plays a seed.
pub fn play(seed: u64, plant: Plant, tells: bool) -> Outcome {
    let world = World::new(seed, tells);
    let nobody: super::Program = Arc::new(|_| Box::pin(std::future::ready(())));
    let clock = world.host(world.node("store", false, 0, nobody)).clock;
    let memory = Memory::new(clock);
    let forgets = (plant == Plant::DueDropped).then_some(12);
    let store: Store = Remote::new(world.clone(), memory.clone(), forgets);
    let starts = Arc::new(Starts::default());
    let book = Arc::new(Book::default());
    let keys = KeySet::new([7; 32]);
    for (cell, region) in CELLS {
        let cloud = Cloud::new(&world, cell, starts.clone(), plant == Plant::GateSkipped);
        let program = cell_program(cell, region, &store, &cloud);
        let skew = i64::try_from(world.draw_us(0, 2 * CLOCK_SKEW_US)).unwrap_or(0) - CLOCK_SKEW_US as i64;
        world.start(world.node(&format!("cell {cell}"), true, skew, program));
    }
    world.start(world.node(GATEWAY, true, 0, gateway_program(&store, &keys)));
    for tenant in TENANTS {
        let program = user_program(tenant, &memory, &keys, &book);
        world.start(world.node(&format!("user of {tenant}"), false, 0, program));
    }
    world.set_faults(true);
    let mut ends = Ends::default();
    let look = |ends: &mut Ends| {
        ends.look(&memory);
        ends.failure.is_some()
    };
    world.run(FAULTS_US, || look(&mut ends));
    world.note("peace", "");
    world.set_faults(false);
    let quiet = world.run(END_US, || {
        look(&mut ends)
            || (*locked(&book.submitted) == TENANTS.len() * RUNS && ends.all_ended(&locked(&book.accepted)))
    });
    ends.look(&memory);
    let accepted = locked(&book.accepted).clone();
    let (started, twice) = starts.result();
    let refused = locked(&book.refused).first().cloned();
    let unfinished = || {
        let missing: Vec<_> =
            accepted.iter().filter(|run| !ends.ended(run)).map(|run| run.2.clone()).collect();
        format!("never ended: {}", missing.join(", "))
    };
    let failure = (ends.failure.clone())
        .or_else(|| twice.first().cloned())
        .or(refused)
        .or_else(|| (!quiet).then(unfinished));
    let outcome = Outcome {
        failure,
        hash: world.hash(),
        story: world.story(),
        counts: world.counts(),
        accepted: accepted.len(),
        starts: started,
    };
    world.close();
    outcome
}

fn cell_program(cell: &str, region: &str, store: &Store, cloud: &Arc<Cloud>) -> super::Program {
    let config = cell::Config {
        cell: cell.to_owned(),
        region: region.to_owned(),
        address: format!("local:{cell}"),
        machines_max: 6,
        arch: vec!["amd64".to_owned()],
        machine_key: [9; 32],
        replica: "1".to_owned(),
        agents: format!("local:{cell}"),
        peers: peers(&format!("cell/{cell}")),
        data: PathBuf::from("/nonexistent"),
        sleep_after: None,
    };
    // Logs are the region's: they outlive the process.
    let (store, cloud, sink) = (store.clone(), cloud.clone(), Arc::new(Logs::default()));
    Arc::new(move |host: Host| -> BoxFuture<'static, ()> {
        let parts = cell::Parts {
            host: host.clone(),
            store: store.clone(),
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
        let config = config.clone();
        Box::pin(async move {
            let at = config.address.clone();
            let (router, _cell) = cell::Cell::start(config, parts);
            drop(host.net.serve(&at, router).await);
        })
    })
}

/// Who gateway and cells are for each other; the same in every world.
fn peers(of: &str) -> Peers {
    let mut n = 0;
    let random = || {
        n += 1;
        [n; 32]
    };
    let cells = CELLS.iter().map(|(cell, _)| CellId::parse(cell).expect("cells of the world have names"));
    let mut all = tenancy::peer::found(cells, random).expect("any 32 bytes are a key");
    let of = Peer::try_from(of.to_owned()).expect("a peer of the world");
    all.remove(&of).expect("a peer of the world")
}

fn gateway_program(store: &Store, keys: &KeySet) -> super::Program {
    let (store, keys) = (store.clone(), keys.clone());
    Arc::new(move |host: Host| -> BoxFuture<'static, ()> {
        let (counted, commits) = store::counted::Counted::new(store.clone());
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
    })
}

fn user_program(tenant: &str, memory: &Arc<Memory>, keys: &KeySet, book: &Arc<Book>) -> super::Program {
    let (tenant, memory, keys, book) = (tenant.to_owned(), memory.clone(), keys.clone(), book.clone());
    Arc::new(move |host: Host| -> BoxFuture<'static, ()> {
        let (tenant, memory, keys, book) = (tenant.clone(), memory.clone(), keys.clone(), book.clone());
        Box::pin(async move {
            let Ok(id) = TenantId::parse(&tenant) else { return };
            let store: Store = memory;
            drop(store::tenant::found(&store, &host, &id, Vec::new()).await);
            let caller = Caller { tenant: id, user: "user".into(), groups: Vec::new(), role: Role::Admin };
            let now_us = host.clock.utc().0;
            let token = keys.issue(&caller, AUDIENCE, now_us, TOKEN_S).unwrap_or_default();
            // Cells have said what they are by then.
            host.clock.sleep(Duration::from_secs(1)).await;
            for n in 0..RUNS {
                let user = User {
                    host: host.clone(),
                    tenant: tenant.clone(),
                    token: token.clone(),
                    book: book.clone(),
                };
                host.spawn("submit", async move { user.submit(n).await });
            }
        })
    })
}

struct User {
    host: Host,
    tenant: String,
    token: String,
    book: Arc<Book>,
}

impl User {
    fn draw(&self, below: u128) -> u64 {
        u64::try_from(self.host.id() % below).unwrap_or(0)
    }

    async fn submit(self, n: usize) {
        self.host.clock.sleep(Duration::from_micros(self.draw(SUBMITS_US))).await;
        let (plural, run) = if self.draw(3) == 0 { self.pipelinerun(n) } else { self.taskrun(n) };
        let name = run["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let path = format!("/apis/tekton.dev/v1/namespaces/default/{plural}");
        loop {
            match self.ask(Method::POST, &path, "application/json", &run).await {
                // That it is there already is the answer to a question whose first answer was lost.
                Some((StatusCode::CREATED | StatusCode::CONFLICT, _)) => break,
                Some((status, body))
                    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS =>
                {
                    locked(&self.book.refused).push(format!("{name} was refused: {status} {body}"));
                    break;
                }
                _ => self.host.clock.sleep(Duration::from_millis(500)).await,
            }
        }
        locked(&self.book.accepted).insert((self.tenant.clone(), plural, name.clone()));
        *locked(&self.book.submitted) += 1;
        if self.draw(4) == 0 {
            self.host.clock.sleep(Duration::from_micros(self.draw(8_000_000))).await;
            let word = if plural == "taskruns" { "TaskRunCancelled" } else { "Cancelled" };
            let patch = json!({"spec": {"status": word}});
            for _ in 0..5 {
                let answer = self
                    .ask(Method::PATCH, &format!("{path}/{name}"), "application/merge-patch+json", &patch)
                    .await;
                if answer.is_some_and(|(status, _)| !status.is_server_error()) {
                    return;
                }
                self.host.clock.sleep(Duration::from_millis(500)).await;
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> Option<(StatusCode, String)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .body(Body::from(body.to_string()))
            .ok()?;
        let response = self.host.within(Duration::from_secs(20), self.host.net.call(GATEWAY, request)).await;
        let response = response.ok()?.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn metadata(&self, name: String) -> Value {
        let region = ["us-central1", "europe-west1", ""][usize::try_from(self.draw(3)).unwrap_or(0)];
        let mut metadata = json!({"name": name});
        if !region.is_empty() {
            metadata["annotations"] = json!({"cella.dev/regions": region});
        }
        metadata
    }

    fn taskrun(&self, n: usize) -> (&'static str, Value) {
        let retries = self.draw(3);
        let spec = json!({"retries": retries, "taskSpec": {"steps": [{"name": "a", "image": "busybox", "script": "true"}]}});
        let metadata = self.metadata(format!("task-{n}"));
        (
            "taskruns",
            json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata, "spec": spec}),
        )
    }

    fn pipelinerun(&self, n: usize) -> (&'static str, Value) {
        let task = |name: &str, after: &[&str]| json!({"name": name, "runAfter": after, "taskSpec": {"steps": [{"name": "a", "image": "busybox", "script": "true"}]}});
        let tasks = [task("one", &[]), task("two", &["one"]), task("three", &["one"])];
        let metadata = self.metadata(format!("pipe-{n}"));
        let spec = json!({"pipelineSpec": {"tasks": tasks}});
        (
            "pipelineruns",
            json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": metadata, "spec": spec}),
        )
    }
}

/// How each run ended, from the store's own log.
#[derive(Default)]
struct Ends {
    seen: BTreeMap<String, Revision>,
    /// Uid and outcome, by scope and name.
    ends: BTreeMap<(String, String), (String, String)>,
    failure: Option<String>,
}

impl Ends {
    /// Reads what has been committed since the last look.
    fn look(&mut self, memory: &Arc<Memory>) {
        for tenant in TENANTS {
            for kind in KINDS {
                let scope = object::scope(tenant, &format!("{kind}.tekton.dev"));
                let after = self.seen.get(&scope).copied().unwrap_or_default();
                let Some(Ok(changes)) = memory.changes(&scope, after, 10_000).now_or_never() else {
                    continue;
                };
                for change in changes.changes {
                    if change.kind != ChangeKind::Deleted
                        && let Ok(run) = object::to_value(&change.body, change.revision)
                    {
                        self.version(&scope, &change.key, &run);
                    }
                }
                self.seen.insert(scope, changes.progress);
            }
        }
    }

    fn version(&mut self, scope: &str, key: &str, run: &Value) {
        let conditions = run["status"]["conditions"].as_array().into_iter().flatten();
        let Some(succeeded) = conditions.clone().find(|c| c["type"] == "Succeeded") else { return };
        let uid = run["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let outcome = format!("{} {}", succeeded["status"], succeeded["reason"]);
        let place = (scope.to_owned(), key.to_owned());
        match self.ends.get(&place) {
            Some((ended, first)) if *ended == uid && *first != outcome => {
                self.failure.get_or_insert(format!("{key} ended twice: {first}, then {outcome}"));
            }
            Some(_) => {}
            None if succeeded["status"] == "Unknown" => {}
            None => drop(self.ends.insert(place, (uid, outcome))),
        }
    }

    fn ended(&self, (tenant, plural, name): &(String, &'static str, String)) -> bool {
        let scope = object::scope(tenant, &format!("{plural}.tekton.dev"));
        self.ends.contains_key(&(scope, format!("default/{name}")))
    }

    fn all_ended(&self, runs: &BTreeSet<(String, &'static str, String)>) -> bool {
        runs.iter().all(|run| self.ended(run))
    }
}

fn installation() -> Installation {
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
