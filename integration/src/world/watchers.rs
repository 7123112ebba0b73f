//! A client that watches a kind of a tenant, through whatever gateway answers, and goes on where it was when its
//! connection breaks. What it is shown must be the store's log: every change, once, in order.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, StatusCode};
use serde_json::Value;
use store::backend::{ChangeKind, Revision};
use store::object;

use super::ledger::Ledger;
use super::users::User;
use super::{World, locked};

/// A connection that is silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(400);

/// How far a watcher is.
pub struct Watcher {
    world: Arc<World>,
    ledger: Arc<Ledger>,
    scope: String,
    path: String,
    /// What it has seen last.
    seen: Mutex<Option<Revision>>,
}

impl Watcher {
    /// A watcher of `kind` (as `taskruns.tekton.dev`) of `tenant`.
    pub fn new(world: &Arc<World>, ledger: &Arc<Ledger>, tenant: &str, kind: &str) -> Arc<Self> {
        let path = match kind.split_once('.') {
            Some((plural, group)) => format!("/apis/{group}/v1/{plural}"),
            None => format!("/api/v1/{kind}"),
        };
        Arc::new(Self {
            world: world.clone(),
            ledger: ledger.clone(),
            scope: object::scope(tenant, kind),
            path,
            seen: Mutex::default(),
        })
    }

    /// It has seen everything that there was to see.
    pub fn is_through(&self) -> bool {
        let facts = self.ledger.facts();
        let last = facts.logs.get(&self.scope).and_then(|log| log.last()).map(|entry| entry.0);
        let seen = *locked(&self.seen);
        seen.is_some_and(|seen| last.is_none_or(|last| last <= seen))
    }

    /// What it has not seen.
    pub fn missing(&self) -> String {
        let facts = self.ledger.facts();
        let last = facts.logs.get(&self.scope).and_then(|log| log.last()).map(|entry| entry.0);
        format!("a watcher of {} is at {:?}, and the log at {last:?}", self.scope, *locked(&self.seen))
    }

    /// Watches for ever.
    pub async fn watch(self: Arc<Self>, user: User) {
        loop {
            let seen = *locked(&self.seen);
            match seen {
                None => self.list(&user).await,
                Some(seen) => self.follow(&user, seen).await,
            }
            user.host.clock.sleep(AGAIN).await;
        }
    }

    async fn list(&self, user: &User) {
        let Some((StatusCode::OK, body)) = user.ask(Method::GET, &self.path, "", None).await else { return };
        let list: Value = serde_json::from_str(&body).unwrap_or_default();
        list["items"].as_array().into_iter().flatten().for_each(|item| user.own(item));
        *locked(&self.seen) = revision(&list);
    }

    async fn follow(&self, user: &User, from: Revision) {
        // Now and then it comes back with something so old that it is no longer kept.
        let from = if user.draw(12) == 0 { Revision(1) } else { from };
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion={from}",
            self.path
        );
        let Some(response) = user.open(Method::GET, &path, "", None).await else { return };
        if response.status() != StatusCode::OK {
            if response.status() == StatusCode::GONE {
                *locked(&self.seen) = None;
            }
            return;
        }
        let (mut pieces, mut buffer) = (response.into_body().into_data_stream(), Vec::new());
        while let Ok(Some(Ok(piece))) = user.host.within(SILENCE, pieces.next()).await {
            buffer.extend_from_slice(&piece);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if !self.line(user, &line) {
                    return;
                }
            }
        }
        self.world.note("watch resumed", "");
    }

    /// Takes in an event; false when the watch is over.
    fn line(&self, user: &User, line: &[u8]) -> bool {
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or_default();
        let Some(at) = revision(&event["object"]) else {
            // It was told that what it has seen is no longer kept.
            self.world.note("watch expired", "");
            *locked(&self.seen) = None;
            return false;
        };
        let seen = locked(&self.seen).unwrap_or_default();
        let facts = self.ledger.facts();
        let log = facts.logs.get(&self.scope).map_or(&[][..], Vec::as_slice);
        let next = log.get(log.partition_point(|entry| entry.0 <= seen));
        let right = match (kind, next) {
            ("BOOKMARK", next) => next.is_none_or(|next| at < next.0),
            (kind, Some((revision, change, key))) => {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                at == *revision && kind == word(change) && key.ends_with(&format!("/{name}"))
            }
            (_, None) => false,
        };
        let next = next.cloned();
        drop(facts);
        if !right {
            self.world.fail(|| {
                format!("a watcher of {} at {seen} is shown {kind} at {at}, and next is {next:?}", self.scope)
            });
        }
        if kind != "BOOKMARK" {
            user.own(&event["object"]);
            self.world.note("change watched", "");
        }
        *locked(&self.seen) = Some(at.max(seen));
        true
    }
}

fn word(change: &ChangeKind) -> &'static str {
    match change {
        ChangeKind::Created => "ADDED",
        ChangeKind::Updated => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    }
}

fn revision(object: &Value) -> Option<Revision> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok().map(Revision)
}
