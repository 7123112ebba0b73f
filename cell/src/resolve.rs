//! The resolve loop, store to network to store: a ResolutionRequest that nobody has answered → what it asks for,
//! fetched under limits and an egress policy → its status.
//!
//! Level-triggered like the runs loop, and fed by the same Due rows. What is fetched changes nothing outside, so any
//! replica may do it, twice as well. Reading order: [`ask`] (what a resolver is), [`settings`], then the resolvers
//! ([`http`], [`git`], [`hub`], [`bundles`], [`cluster`]), and [`cache`].

pub mod ask;
pub mod bundles;
pub mod cache;
pub mod cluster;
pub mod git;
pub mod http;
pub mod hub;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apimachinery::meta;
use apimachinery::time::Micros;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use store::backend::RowKey;
use store::cell::requests::{KIND, RequestWrite};
use store::cell::view::{Look, View, Wanted};
use store::cell::{CellError, owner_key};
use store::object::ObjectKey;
use store::records::due;
use tekton::engine::condition::{self, Truth};
use tekton::engine::time::go_duration;

use crate::queue::Queue;
use crate::{Inner, runs};
pub use ask::Resolver;
use ask::{Ask, Found, Params, Trouble};
use cache::{Cache, Mode};
use settings::Settings;

/// Requests that are worked on at the same time, in all and of one tenant: a tenant whose servers are slow keeps
/// nobody else waiting.
const AT_ONCE: usize = 32;
const AT_ONCE_TENANT: usize = 4;
/// Whoever works on a request is taken for dead after this, and the request is looked at again.
const LEASE: Duration = Duration::from_secs(15);

/// State of the loop. All of it may be lost: it only saves work.
#[derive(Default)]
pub(crate) struct Resolve {
    pub(crate) queue: Queue<ObjectKey>,
    shares: Mutex<Shares>,
    left: tokio::sync::Notify,
    cache: Cache,
}

/// Who works, and who waits for a tenant's other requests to be done.
#[derive(Default)]
struct Shares {
    running: usize,
    tenants: BTreeMap<String, (usize, VecDeque<ObjectKey>)>,
}

impl Shares {
    /// Takes a share for `key`, or lets it wait for one.
    fn take(&mut self, key: &ObjectKey) -> bool {
        let (running, waiting) = self.tenants.entry(key.tenant.clone()).or_default();
        if *running >= AT_ONCE_TENANT {
            waiting.push_back(key.clone());
            return false;
        }
        *running += 1;
        self.running += 1;
        true
    }

    /// Gives a share back; says who is next.
    fn give_back(&mut self, tenant: &str) -> Option<ObjectKey> {
        self.running -= 1;
        let (running, waiting) = self.tenants.get_mut(tenant)?;
        *running -= 1;
        let next = waiting.pop_front();
        if *running == 0 && next.is_none() {
            self.tenants.remove(tenant);
        }
        next
    }
}

/// Starts the loop.
pub(crate) fn start(cell: &Arc<Inner>) {
    let cell = cell.clone();
    cell.host.clone().spawn("resolve", async move {
        loop {
            while shares(&cell).running >= AT_ONCE {
                cell.resolve.left.notified().await;
            }
            let key = cell.resolve.queue.next().await;
            begin(&cell, key);
        }
    });
}

/// Works on `key` if its tenant has a share left; else whoever gives one back does.
fn begin(cell: &Arc<Inner>, key: ObjectKey) {
    if !shares(cell).take(&key) {
        return;
    }
    let cell = cell.clone();
    cell.host.clone().spawn("resolve one", async move {
        let rows = runs::rows_of(&cell, &key);
        let keys = rows.keys().cloned().collect();
        runs::after(&cell, &key, &rows, pass(&cell, &key, &keys).await);
        cell.resolve.queue.done(&key);
        let next = shares(&cell).give_back(&key.tenant);
        cell.resolve.left.notify_one();
        if let Some(next) = next {
            begin(&cell, next);
        }
    });
}

fn shares(cell: &Inner) -> MutexGuard<'_, Shares> {
    cell.resolve.shares.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One pass over one request.
async fn pass(cell: &Arc<Inner>, key: &ObjectKey, rows: &BTreeSet<RowKey>) -> Result<(), CellError> {
    let Some(view) = look(cell, key, rows).await? else { return Ok(()) };
    let request = &view.run.value;
    let (status, now_us) = (&request["status"], cell.host.clock.utc().0);
    let settings = Settings::of(view.objects.iter().map(|(k, seen)| (k, seen.as_ref().map(|s| &s.value))));
    let created = Micros::parse(meta::text(request, "creationTimestamp")).map_or(now_us, |t| t.0);
    let longest = i64::try_from(settings.timeout().as_micros()).unwrap_or(i64::MAX);
    let deadline_us = created.saturating_add(longest);
    if condition::is_done(status) {
        return write(cell, &view, None, None).await;
    }
    if !status["data"].as_str().unwrap_or("").is_empty() {
        // Somebody else's resolver has answered.
        return write(cell, &view, Some(succeeded(status, now_us)), None).await;
    }
    let late = || {
        let why = format!("resolution took longer than global timeout of {}", go_duration(longest));
        failed(status, "ResolutionTimedOut", &why, now_us)
    };
    if now_us >= deadline_us {
        return write(cell, &view, Some(late()), None).await;
    }
    let kind = request["metadata"]["labels"]["resolution.tekton.dev/type"].as_str().unwrap_or("");
    let Some(resolver) = Resolver::of(kind) else {
        // Not one of ours: whoever runs that resolver has until the deadline.
        return write(cell, &view, Some(in_progress(status, now_us)), Some(deadline_us)).await;
    };
    let work = Work { cell, key, request, resolver, settings: &settings };
    let (params, map) = (work.params(), settings.map(resolver));
    let kept = work.kept(&params, &map);
    let view = match &kept {
        Some(_) => view.clone(),
        None => {
            let lease = i64::try_from(LEASE.as_micros()).unwrap_or(0);
            let timer = deadline_us.min(now_us.saturating_add(lease));
            write(cell, &view, Some(in_progress(status, now_us)), Some(timer)).await?;
            let timer = BTreeSet::from([due::key(cell.store.cell(), key, timer)]);
            let Some(view) = look(cell, key, &timer).await? else { return Ok(()) };
            view
        }
    };
    let answer = match kept {
        Some(found) => Ok(found),
        None => {
            let left = u64::try_from(deadline_us.saturating_sub(now_us)).unwrap_or(0);
            match cell.host.within(Duration::from_micros(left), work.answer(&params, &map)).await {
                Ok(answer) => answer,
                Err(_) => return finish(cell, key, &view, late()).await,
            }
        }
    };
    let now_us = cell.host.clock.utc().0;
    let status = match answer {
        Ok(found) => found_status(&view.run.value["status"], &found, now_us),
        Err(Trouble::Store(error)) => return Err(error),
        Err(Trouble::Answer(why) | Trouble::Passing(why)) => {
            failed(&view.run.value["status"], "ResolutionFailed", &why, now_us)
        }
    };
    finish(cell, key, &view, status).await
}

/// Looks at a request that is there; what names one that is not is consumed.
async fn look(cell: &Inner, key: &ObjectKey, rows: &BTreeSet<RowKey>) -> Result<Option<View>, CellError> {
    let mut wanted = Wanted { objects: settings::keys(&key.tenant).collect(), ..Wanted::default() };
    loop {
        let view = match cell.store.run_view(key, &wanted, rows).await? {
            Look::Found(view) => *view,
            Look::Gone(due) => {
                let timers = runs::forget_timers(cell, key);
                cell.store.due_consume(key, &due, &timers).await?;
                return Ok(None);
            }
        };
        if view.due.is_empty() {
            return Ok(None);
        }
        // Whose run it is, and in which cell, is told after the answer.
        match owner_key(&key.tenant, &view.run.value) {
            Some((owner, _)) if !view.objects.contains_key(&owner) => drop(wanted.objects.insert(owner)),
            _ => return Ok(Some(view)),
        }
    }
}

/// Writes an answer, unless the request is another one by now.
async fn finish(cell: &Inner, key: &ObjectKey, before: &View, status: Value) -> Result<(), CellError> {
    let rows = before.due.iter().map(|(row, _)| row.clone()).collect();
    let Some(view) = look(cell, key, &rows).await? else { return Ok(()) };
    let same = meta::uid(&view.run.value) == meta::uid(&before.run.value)
        && view.run.value["spec"] == before.run.value["spec"];
    if !same || condition::is_done(&view.run.value["status"]) {
        return Err(CellError::Conflict { what: "the request".into() });
    }
    write(cell, &view, Some(status), None).await
}

async fn write(
    cell: &Inner,
    view: &View,
    status: Option<Value>,
    timer_us: Option<i64>,
) -> Result<(), CellError> {
    let key = &view.run.key;
    let write = RequestWrite { status, timer_us, timers_known_us: runs::timers_of(cell, key) };
    cell.store.request_apply(view, write).await?;
    runs::know_timer(cell, key, timer_us);
    Ok(())
}

/// A request to one of our resolvers.
struct Work<'a> {
    cell: &'a Inner,
    key: &'a ObjectKey,
    request: &'a Value,
    resolver: Resolver,
    settings: &'a Settings,
}

impl Work<'_> {
    /// The params: texts; what is none counts as empty.
    fn params(&self) -> Params {
        let given = self.request["spec"]["params"].as_array().into_iter().flatten();
        let given = given.filter_map(|param| {
            Some((param["name"].as_str()?.to_owned(), param["value"].as_str().unwrap_or("").to_owned()))
        });
        given.collect()
    }

    fn caches(&self, params: &Params, map: &settings::Map) -> bool {
        match cache::mode(params, map) {
            Ok(Mode::Always) => true,
            Ok(Mode::Auto) => self.resolver.is_immutable(params),
            Ok(Mode::Never) | Err(_) => false,
        }
    }

    /// The answer, if it is kept.
    fn kept(&self, params: &Params, map: &settings::Map) -> Option<Found> {
        if !self.caches(params, map) || self.resolver.check(params, self.settings, &self.cell.hubs).is_err() {
            return None;
        }
        let key = cache::key(&self.key.tenant, &self.key.namespace, self.resolver, params);
        let mut found = self.cell.resolve.cache.get(&key, self.cell.host.clock.mono())?;
        cache::annotate(&mut found, self.resolver, "retrieve", self.cell.host.clock.utc().0);
        Some(found)
    }

    /// Resolves, in the reference's words.
    async fn answer(&self, params: &Params, map: &settings::Map) -> Result<Found, Trouble> {
        let name = format!("{}/{}", self.key.namespace, self.key.name);
        let invalid = |why: String| Trouble::Answer(format!("invalid resource request {name:?}: {why}"));
        cache::mode(params, map).map_err(invalid)?;
        self.resolver.check(params, self.settings, &self.cell.hubs).map_err(invalid)?;
        let timeout = self.resolver.timeout(params, map).map_err(Trouble::Answer)?;
        let trying = self.try_often(params, map);
        let found = match timeout {
            // As the reference says it when a resolver's own time is over.
            Some(timeout) => match self.cell.host.within(timeout, trying).await {
                Ok(found) => found,
                Err(_) => return Err(Trouble::Answer("context deadline exceeded".into())),
            },
            None => trying.await,
        };
        let resolver = self.resolver.name();
        let getting = |why: String| Trouble::Answer(format!("error getting {resolver:?} {name:?}: {why}"));
        let mut found = found.map_err(|trouble| match trouble {
            Trouble::Answer(why) | Trouble::Passing(why) => getting(why),
            store => store,
        })?;
        if self.caches(params, map) {
            cache::annotate(&mut found, self.resolver, "store", self.cell.host.clock.utc().0);
            let key = cache::key(&self.key.tenant, &self.key.namespace, self.resolver, params);
            let (most, life) = self.settings.cache(self.resolver);
            self.cell.resolve.cache.put(key, found.clone(), self.cell.host.clock.mono(), most, life);
        }
        Ok(found)
    }

    /// Asks again when a server, or the way to it, was not well.
    async fn try_often(&self, params: &Params, map: &settings::Map) -> Result<Found, Trouble> {
        let ask =
            Ask { cell: self.cell, tenant: &self.key.tenant, namespace: &self.key.namespace, params, map };
        let backoff = settings::backoff(map);
        let mut step = 1;
        loop {
            match self.resolver.resolve(&ask).await {
                Err(Trouble::Passing(why)) if step < backoff.steps => {
                    tracing::debug!(request = %self.key.name, why, "a resolver tries again");
                    step += 1;
                    self.cell.host.clock.sleep(backoff.before(step)).await;
                }
                answer => return answer,
            }
        }
    }
}

fn found_status(status: &Value, found: &Found, now_us: i64) -> Value {
    let mut status = status.clone();
    status["data"] = json!(STANDARD.encode(&found.data));
    status["refSource"] = found.source();
    // The same under its old name.
    status["source"] = found.source();
    if !found.annotations.is_empty() {
        status["annotations"] = json!(found.annotations);
    }
    succeeded(&status, now_us)
}

fn succeeded(status: &Value, now_us: i64) -> Value {
    let mut status = status.clone();
    condition::set(&mut status, Truth::True, "", "", now_us);
    status
}

fn failed(status: &Value, reason: &str, message: &str, now_us: i64) -> Value {
    let mut status = status.clone();
    condition::set(&mut status, Truth::False, reason, message, now_us);
    status
}

fn in_progress(status: &Value, now_us: i64) -> Value {
    let mut status = if status.is_null() { json!({}) } else { status.clone() };
    condition::set(&mut status, Truth::Unknown, "ResolutionInProgress", "waiting for resolver", now_us);
    status
}

/// Whether a key is a request's.
pub(crate) fn is_request(key: &ObjectKey) -> bool {
    key.kind == KIND
}
