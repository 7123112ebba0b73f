//! The other replicas of this cell. Any replica may do any step; who goes first at what, and telling each other that
//! something has changed, only saves work and time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use store::records::cell::Replica;
use tenancy::peer::{RING, Reused, VERSION, VERSION_HEADER};
use tokio::sync::Notify;

use crate::{Inner, runs};

/// The name that means: there are new Due rows.
const DUE: &str = "due";
/// Names that are told at a time; more are found by looking.
const NAMES_MAX: usize = 1000;
/// How long telling may take.
const TELL_MAX: Duration = Duration::from_secs(2);
/// Hints that come in such a time are told together.
const GATHER: Duration = Duration::from_millis(2);

/// What is known of the other replicas.
#[derive(Default)]
pub(crate) struct Replicas {
    others: Mutex<Vec<Replica>>,
    names: Mutex<BTreeSet<String>>,
    told: Notify,
    tokens: Reused,
}

impl Replicas {
    /// These are awake.
    pub(crate) fn heard(&self, awake: Vec<Replica>) {
        *lock(&self.others) = awake;
    }

    /// There are others.
    pub(crate) fn any(&self) -> bool {
        !lock(&self.others).is_empty()
    }

    /// Addresses at which agents reach the others.
    pub(crate) fn for_agents(&self) -> Vec<String> {
        lock(&self.others).iter().map(|other| other.agents.clone()).collect()
    }

    /// Whether replica `me` goes first at `bucket`: every replica that is awake goes first at its share.
    pub(crate) fn goes_first(&self, me: &str, bucket: u32) -> bool {
        let others = lock(&self.others);
        let mut names: Vec<&str> = others.iter().map(|other| other.replica.as_str()).collect();
        names.push(me);
        names.sort_unstable();
        let turn = usize::try_from(bucket).unwrap_or(0) % names.len();
        names[turn] == me
    }

    fn tell(&self, name: &str) {
        if self.any() {
            let mut names = lock(&self.names);
            if names.len() < NAMES_MAX {
                names.insert(name.to_owned());
            }
            drop(names);
            self.told.notify_one();
        }
    }
}

impl Inner {
    /// Wakes whoever waits for `name`, in any replica.
    pub(crate) fn ring(&self, name: &str) {
        self.signals.ring(name);
        self.replicas.tell(name);
    }

    /// Says that there are new Due rows: this replica's own bells ring by themselves.
    pub(crate) fn due_written(&self) {
        self.replicas.tell(DUE);
    }
}

/// Starts the job that tells the others.
pub(crate) fn start(cell: &Arc<Inner>) {
    let cell = cell.clone();
    cell.host.clone().spawn("ring", async move {
        loop {
            cell.replicas.told.notified().await;
            cell.host.clock.sleep(GATHER).await;
            let names = std::mem::take(&mut *lock(&cell.replicas.names));
            let body = axum::body::Bytes::from(serde_json::to_vec(&names).unwrap_or_default());
            let others: Vec<_> = lock(&cell.replicas.others).iter().map(|o| o.address.clone()).collect();
            let told = others.iter().map(|address| tell(&cell, address, body.clone()));
            drop(cell.host.within(TELL_MAX, futures_util::future::join_all(told)).await);
        }
    });
}

async fn tell(cell: &Inner, address: &str, body: axum::body::Bytes) {
    let me = &cell.config.peers.me;
    let now_us = cell.host.clock.utc().0;
    let Ok(token) = cell.replicas.tokens.call(me, me.peer(), &format!("POST {RING}"), now_us) else { return };
    let request = Request::post(RING)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(VERSION_HEADER, VERSION)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body));
    if let Ok(request) = request
        && let Err(error) = cell.host.net.call(address, request).await
    {
        tracing::debug!(address, %error, "another replica cannot be told");
    }
}

/// Handler of [`RING`].
pub(crate) async fn rung(State(cell): State<Arc<Inner>>, Json(names): Json<Vec<String>>) -> StatusCode {
    for name in names.iter().take(NAMES_MAX) {
        match name.as_str() {
            DUE => runs::wake(&cell),
            name => cell.signals.ring(name),
        }
    }
    StatusCode::NO_CONTENT
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
