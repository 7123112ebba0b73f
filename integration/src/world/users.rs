//! What users do, and what they know of it: they submit runs, cancel and delete some, look at what they may see and at
//! what they may not. Everything they were told is in the [`Book`], for the checkers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use base::host::Host;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::cell::RERUN;
use tenancy::access::{Caller, Role};
use tenancy::id::TenantId;
use tenancy::token::KeySet;

use super::ledger::{Ledger, SUBMIT};
use super::{World, locked};

/// Address of the gateways.
pub const GATEWAY: &str = "gateway";
/// What tokens are for.
pub const AUDIENCE: &str = "world";
const TOKEN_S: i64 = 400_000;
/// Tokens are older than any clock is wrong.
const TOKEN_AGE_US: i64 = 100_000_000_000;
/// How long a user waits for an answer, and before asking again.
const ANSWER: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(700);

/// A tenant of the world.
#[derive(Clone)]
pub struct Tenant {
    /// Its id.
    pub id: &'static str,
    /// Regions of its residency; empty: any.
    pub residency: Vec<String>,
}

/// What a user wanted of one run, and was told.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Tenant.
    pub tenant: String,
    /// `taskruns`, `pipelineruns`.
    pub plural: &'static str,
    /// Which submit it is.
    pub submit: String,
    /// Its name, once that is known.
    pub name: Option<String>,
    /// The server makes the name.
    pub generated: bool,
    /// Regions where it may run; empty: any.
    pub regions: Vec<String>,
    /// It must be refused: no cell may ever take it.
    pub unplaceable: bool,
    /// Retries of a TaskRun.
    pub retries: usize,
    /// Its timeout, µs.
    pub timeout_us: Option<u64>,
    /// So often it was sent.
    pub sent: u32,
    /// It was accepted, or refused as it must be, or given up.
    pub settled: bool,
    /// It was accepted.
    pub accepted: bool,
    /// It was asked to be cancelled, or to be deleted.
    pub cancelled: bool,
    /// It was asked to be deleted.
    pub deleted: bool,
    /// Nothing more is wanted of it.
    pub done: bool,
}

/// What users know.
#[derive(Default)]
pub struct Book(Mutex<Vec<Wish>>);

impl Book {
    /// All that was wanted.
    pub fn wishes(&self) -> Vec<Wish> {
        locked(&self.0).clone()
    }

    /// Every user is through with what they wanted.
    pub fn done(&self, runs: usize) -> bool {
        let wishes = locked(&self.0);
        wishes.len() == runs && wishes.iter().all(|wish| wish.done)
    }

    fn add(&self, wish: Wish) -> usize {
        let mut wishes = locked(&self.0);
        wishes.push(wish);
        wishes.len() - 1
    }

    fn edit(&self, index: usize, edit: impl FnOnce(&mut Wish)) {
        if let Some(wish) = locked(&self.0).get_mut(index) {
            edit(wish);
        }
    }
}

/// A user of a tenant.
#[derive(Clone)]
pub struct User {
    /// The user's own process.
    pub host: Host,
    world: Arc<World>,
    tenant: Tenant,
    token: String,
    book: Arc<Book>,
    ledger: Arc<Ledger>,
    regions: Arc<[String]>,
    reruns: bool,
}

/// What users have in common.
#[derive(Clone)]
pub struct Common {
    /// The world.
    pub world: Arc<World>,
    /// What was committed.
    pub ledger: Arc<Ledger>,
    /// What users know.
    pub book: Arc<Book>,
    /// Whose tokens are believed.
    pub keys: KeySet,
    /// Regions that there are.
    pub regions: Arc<[String]>,
    /// Some runs may be run again after a loss: clocks are as right as the lease needs them to be.
    pub reruns: bool,
}

/// When users submit, µs.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Runs of each tenant.
    pub runs: usize,
    /// All of them are submitted by then.
    pub submits_us: u64,
}

impl User {
    /// A user with a token of `tenant`.
    pub fn new(host: &Host, tenant: &Tenant, common: &Common) -> Option<Self> {
        let id = TenantId::parse(tenant.id).ok()?;
        let caller = Caller { tenant: id, user: "user".into(), groups: Vec::new(), role: Role::Admin };
        let issued_us = host.clock.utc().0 - TOKEN_AGE_US;
        let token = common.keys.issue(&caller, AUDIENCE, issued_us, TOKEN_S).ok()?;
        let Common { world, ledger, book, regions, reruns, .. } = common.clone();
        Some(Self { host: host.clone(), world, tenant: tenant.clone(), token, book, ledger, regions, reruns })
    }

    /// Starts everything that this user wants.
    pub fn begin(&self, plan: Plan) {
        for n in 0..plan.runs {
            let user = self.clone();
            self.host.spawn("user", async move { user.want(n, plan).await });
        }
        let user = self.clone();
        self.host.spawn("user looks", async move { user.look(plan).await });
    }

    /// Below `below`, drawn.
    pub fn draw(&self, below: u64) -> u64 {
        u64::try_from(self.host.id() % u128::from(below.max(1))).unwrap_or(0)
    }

    /// The name of the tenant.
    pub fn tenant(&self) -> &'static str {
        self.tenant.id
    }

    async fn pause(&self, below_us: u64) {
        self.host.clock.sleep(Duration::from_micros(self.draw(below_us))).await;
    }

    async fn want(self, n: usize, plan: Plan) {
        self.pause(plan.submits_us).await;
        let (wish, run) = self.run(n);
        let path = format!("/apis/tekton.dev/v1/namespaces/default/{}", wish.plural);
        let index = self.book.add(wish.clone());
        let name = self.submit(index, &wish, &path, &run).await;
        if let Some(name) = name {
            let path = format!("{path}/{name}");
            match self.draw(12) {
                0..2 => self.cancel(index, &wish, &path).await,
                2 => self.delete(index, &path).await,
                3 if wish.plural == "taskruns" => self.delete_pod(&name).await,
                _ => {}
            }
        }
        self.book.edit(index, |wish| wish.done = true);
    }

    async fn submit(&self, index: usize, wish: &Wish, path: &str, run: &Value) -> Option<String> {
        loop {
            self.book.edit(index, |wish| wish.sent += 1);
            let answer = self.ask(Method::POST, path, "application/json", Some(run)).await;
            match answer {
                Some((StatusCode::CREATED, body)) => {
                    let made: Value = serde_json::from_str(&body).unwrap_or_default();
                    let name = made["metadata"]["name"].as_str().map(str::to_owned);
                    self.settle(index, name.clone(), true);
                    return name;
                }
                // That it is there already is the answer to a question whose first answer was lost.
                Some((StatusCode::CONFLICT, _)) if !wish.generated => {
                    self.settle(index, wish.name.clone(), true);
                    return wish.name.clone();
                }
                Some((
                    StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY,
                    _,
                )) if wish.unplaceable => {
                    self.world.note("unplaceable run refused", &wish.submit);
                    self.settle(index, None, false);
                    return None;
                }
                // A region whose cells have not been heard of yet is none: the user asks again.
                Some((StatusCode::BAD_REQUEST, body)) if body.contains("no cell can take this run") => {
                    self.host.clock.sleep(AGAIN).await;
                }
                Some((status, body))
                    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS =>
                {
                    self.world.fail(|| format!("{} was refused: {status} {body}", wish.submit));
                    return None;
                }
                _ => self.host.clock.sleep(AGAIN).await,
            }
        }
    }

    fn settle(&self, index: usize, name: Option<String>, accepted: bool) {
        self.book.edit(index, |wish| {
            (wish.settled, wish.accepted) = (true, accepted);
            wish.name = name;
        });
    }

    async fn cancel(&self, index: usize, wish: &Wish, path: &str) {
        self.pause(8_000_000).await;
        let word = if wish.plural == "taskruns" { "TaskRunCancelled" } else { "Cancelled" };
        let patch = json!({"spec": {"status": word}});
        self.book.edit(index, |wish| wish.cancelled = true);
        self.world.note("user cancels", &wish.submit);
        for _ in 0..5 {
            let answer = self.ask(Method::PATCH, path, "application/merge-patch+json", Some(&patch)).await;
            if answer.is_some_and(|(status, _)| !status.is_server_error()) {
                return;
            }
            self.host.clock.sleep(AGAIN).await;
        }
    }

    async fn delete(&self, index: usize, path: &str) {
        self.pause(12_000_000).await;
        let policy = ["Background", "Foreground"][usize::try_from(self.draw(2)).unwrap_or(0)];
        let path = format!("{path}?propagationPolicy={policy}");
        self.book.edit(index, |wish| wish.deleted = true);
        self.world
            .note(if policy == "Background" { "user deletes" } else { "user deletes, foreground" }, &path);
        for _ in 0..10 {
            let answer = self.ask(Method::DELETE, &path, "application/json", None).await;
            if answer.is_some_and(|(status, _)| !status.is_server_error()) {
                return;
            }
            self.host.clock.sleep(AGAIN).await;
        }
    }

    /// Deletes the Pod of a run: that asks for it to be run again, once the old one has ended.
    async fn delete_pod(&self, run: &str) {
        self.pause(12_000_000).await;
        let pod = format!("{run}-pod");
        let path = format!("/api/v1/namespaces/default/pods/{pod}");
        self.ledger.pod_deleted(&pod);
        let answer = self.ask(Method::DELETE, &path, "application/json", None).await;
        if answer.is_some_and(|(status, _)| status == StatusCode::OK) {
            self.world.note("user deletes a pod", &pod);
        }
    }

    /// Looks at all runs, and at those of others.
    async fn look(self, plan: Plan) {
        for _ in 0..2 {
            self.pause(plan.submits_us).await;
            let answer = self.ask(Method::GET, "/apis/tekton.dev/v1/taskruns", "", None).await;
            if let Some((StatusCode::OK, body)) = answer {
                let list: Value = serde_json::from_str(&body).unwrap_or_default();
                for run in list["items"].as_array().into_iter().flatten() {
                    self.own(run);
                }
                self.world.note("user lists", "");
            }
            let mut others = self.book.wishes().into_iter().filter(|wish| wish.tenant != self.tenant.id);
            let Some(other) = others.next_back() else { continue };
            let name = other.name.unwrap_or(other.submit);
            let path = format!("/apis/tekton.dev/v1/namespaces/default/{}/{name}", other.plural);
            let alias = if self.draw(2) == 0 { format!("/clusters/{}", other.tenant) } else { String::new() };
            if let Some((status, body)) = self.ask(Method::GET, &format!("{alias}{path}"), "", None).await {
                if status == StatusCode::OK {
                    self.world
                        .fail(|| format!("{} reads {name} of {}: {body}", self.tenant.id, other.tenant));
                } else if status == StatusCode::NOT_FOUND {
                    self.world.note("foreign run not found", "");
                }
            }
        }
    }

    /// What a user is shown is the tenant's.
    pub fn own(&self, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if !name.starts_with(self.tenant.id) {
            self.world.fail(|| format!("{} is shown {name}", self.tenant.id));
        }
    }

    /// Opens a request at a gateway.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Option<Response<Body>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .ok()?;
        self.host.within(ANSWER, self.host.net.call(GATEWAY, request)).await.ok()?.ok()
    }

    /// Asks a gateway.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Option<(StatusCode, String)> {
        let response = self.open(method, path, kind, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// What is wanted, drawn.
    fn run(&self, n: usize) -> (Wish, Value) {
        let task = self.draw(4) != 0;
        let (plural, kind) = if task { ("taskruns", "TaskRun") } else { ("pipelineruns", "PipelineRun") };
        let submit = format!("{}-{}{n}", self.tenant.id, if task { "t" } else { "p" });
        let generated = self.draw(4) == 0;
        let mut wish = Wish {
            tenant: self.tenant.id.to_owned(),
            plural,
            submit: submit.clone(),
            name: (!generated).then(|| submit.clone()),
            generated,
            regions: self.tenant.residency.clone(),
            ..Wish::default()
        };
        let mut metadata = json!({"labels": {SUBMIT: submit}, "annotations": self.place(&mut wish)});
        let (key, name) = if generated { ("generateName", format!("{submit}-")) } else { ("name", submit) };
        metadata[key] = json!(name);
        let spec = if task { self.taskrun(&mut wish) } else { self.pipelinerun(&mut wish) };
        (wish, json!({"apiVersion": "tekton.dev/v1", "kind": kind, "metadata": metadata, "spec": spec}))
    }

    /// Where it shall go.
    fn place(&self, wish: &mut Wish) -> Value {
        let mut annotations = json!({});
        let nth = |user: &Self| {
            user.regions[usize::try_from(user.draw(user.regions.len() as u64)).unwrap_or(0)].clone()
        };
        let (first, second) = (nth(self), nth(self));
        match self.draw(5) {
            0 => annotations["cella.dev/regions"] = json!(first),
            1 => {
                annotations["cella.dev/regions"] = json!(first);
                annotations["cella.dev/placement"] = json!("strict");
                let allowed = wish.regions.is_empty() || wish.regions.contains(&first);
                wish.unplaceable = !allowed;
                wish.regions = vec![first];
            }
            2 => {
                annotations["cella.dev/regions"] = json!(format!("{first},{second}"));
                annotations["cella.dev/placement"] = json!("prefer");
            }
            3 => annotations["cella.dev/placement"] = json!("any"),
            _ => {}
        }
        if self.reruns && self.draw(3) == 0 {
            annotations[RERUN] = json!("true");
        }
        annotations
    }

    fn taskrun(&self, wish: &mut Wish) -> Value {
        wish.retries = usize::try_from(self.draw(3)).unwrap_or(0);
        let mut spec = json!({"retries": wish.retries, "taskSpec": task()});
        if self.draw(5) == 0 {
            let seconds = 3 + self.draw(12);
            wish.timeout_us = Some(seconds * 1_000_000);
            spec["timeout"] = json!(format!("{seconds}s"));
        }
        spec
    }

    fn pipelinerun(&self, wish: &mut Wish) -> Value {
        let task = |name: &str, after: &[&str]| json!({"name": name, "runAfter": after, "taskSpec": task()});
        let tasks = [task("one", &[]), task("two", &["one"]), task("three", &["one"])];
        let count = 1 + usize::try_from(self.draw(3)).unwrap_or(0);
        let mut spec = json!({"pipelineSpec": {"tasks": tasks[..count]}});
        if self.draw(5) == 0 {
            let seconds = 5 + self.draw(20);
            wish.timeout_us = Some(seconds * 1_000_000);
            spec["timeouts"] = json!({"pipeline": format!("{seconds}s")});
        }
        spec
    }
}

fn task() -> Value {
    json!({"steps": [{"name": "a", "image": "busybox", "script": "true"}]})
}
