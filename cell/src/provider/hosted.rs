//! Machines of a host that several replicas of a cell share: the provider is a server of its own ([`router`]), asked
//! over a Unix socket ([`Hosted`]), so that machines outlive the replica that asked for them, as they do in a cloud.
//!
//! ```text
//! POST /machines/v1/create   {id, token, millicpu, memory}    204, 507: no room
//! POST /machines/v1/delete   {id}                             204 when it surely runs no more
//! GET  /machines/v1/list                                      {id: why it has stopped, or null}
//! GET  /machines/v1/changed?after=N                           a number, when it is another one than N
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::host::{BoxFuture, Host, race};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{MachineProvider, MachineSpec, MachineState, ProviderError};

const CREATE: &str = "/machines/v1/create";
const DELETE: &str = "/machines/v1/delete";
const LIST: &str = "/machines/v1/list";
const CHANGED: &str = "/machines/v1/changed";
/// Longest time for an answer: an agent may take a while to leave.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a question for changes is held open.
const HELD: Duration = Duration::from_secs(20);
/// Pause after the host did not answer such a question.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest answer: a list of many machines.
const BODY_MAX: usize = 16 << 20;

/// A machine to be made, as it is sent. Holds a secret; the socket is for the cells' user alone.
#[derive(Serialize, Deserialize)]
struct Wanted {
    id: String,
    token: String,
    millicpu: u64,
    memory: u64,
}

#[derive(Serialize, Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct After {
    after: u64,
}

/// A provider behind a server.
struct Shared {
    host: Host,
    provider: Arc<dyn MachineProvider>,
    machines_max: usize,
    changes: AtomicU64,
    changed: Notify,
}

/// Serves a provider to the replicas of one cell, who together get at most `machines_max` machines.
pub fn router(host: &Host, provider: Arc<dyn MachineProvider>, machines_max: usize) -> Router {
    let shared = Arc::new(Shared {
        host: host.clone(),
        provider,
        machines_max,
        changes: AtomicU64::new(1),
        changed: Notify::new(),
    });
    let watched = shared.clone();
    host.spawn("machines changed", async move {
        loop {
            watched.provider.changed().await;
            watched.changes.fetch_add(1, Ordering::Relaxed);
            watched.changed.notify_waiters();
        }
    });
    Router::new()
        .route(CREATE, post(create))
        .route(DELETE, post(delete))
        .route(LIST, get(list))
        .route(CHANGED, get(changed))
        .with_state(shared)
}

async fn create(State(shared): State<Arc<Shared>>, Json(wanted): Json<Wanted>) -> Response {
    let listed = match shared.provider.list().await {
        Ok(listed) => listed,
        Err(error) => return failed(&error),
    };
    if listed.len() >= shared.machines_max && !listed.contains_key(&wanted.id) {
        return failed(&ProviderError::Exhausted(format!("all {} machines are busy", shared.machines_max)));
    }
    let Wanted { id, token, millicpu, memory } = wanted;
    match shared.provider.create(MachineSpec { id, token, millicpu, memory }).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failed(&error),
    }
}

async fn delete(State(shared): State<Arc<Shared>>, Json(named): Json<Named>) -> Response {
    match shared.provider.delete(&named.id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failed(&error),
    }
}

async fn list(State(shared): State<Arc<Shared>>) -> Response {
    match shared.provider.list().await {
        Ok(listed) => {
            let why = |state| match state {
                MachineState::Running => None,
                MachineState::Exited(why) => Some(why),
            };
            let all: BTreeMap<String, Option<String>> =
                listed.into_iter().map(|(id, state)| (id, why(state))).collect();
            Json(all).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn changed(State(shared): State<Arc<Shared>>, Query(After { after }): Query<After>) -> Json<u64> {
    let mut told = std::pin::pin!(shared.changed.notified());
    told.as_mut().enable();
    if shared.changes.load(Ordering::Relaxed) == after {
        race(told, shared.host.clock.sleep(HELD)).await;
    }
    Json(shared.changes.load(Ordering::Relaxed))
}

fn failed(error: &ProviderError) -> Response {
    match error {
        ProviderError::Exhausted(why) => (StatusCode::INSUFFICIENT_STORAGE, why.clone()).into_response(),
        ProviderError::Failed(why) => (StatusCode::BAD_GATEWAY, why.clone()).into_response(),
    }
}

/// Machines of another process on this host.
pub struct Hosted {
    host: Host,
    address: String,
    seen: AtomicU64,
}

impl Hosted {
    /// Machines of the server at `address`, as [`base::host::Net`] takes it.
    pub fn new(host: Host, address: String) -> Arc<Self> {
        Arc::new(Self { host, address, seen: AtomicU64::new(0) })
    }

    async fn ask(&self, path: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>, ProviderError> {
        let away =
            |why: String| ProviderError::Failed(format!("the machines' host at {}: {why}", self.address));
        let request = match body {
            Some(_) => Request::post(path).header("content-type", "application/json"),
            None => Request::get(path),
        };
        let request = request.body(Body::from(body.unwrap_or_default())).map_err(|e| away(e.to_string()))?;
        let exchange = async {
            let response = self.host.net.call(&self.address, request).await.map_err(|e| e.to_string())?;
            let status = response.status();
            let body =
                axum::body::to_bytes(response.into_body(), BODY_MAX).await.map_err(|e| e.to_string())?;
            Ok::<_, String>((status, body))
        };
        let answer = self.host.within(ANSWER_MAX, exchange).await.map_err(|e| away(e.to_string()))?;
        let (status, body) = answer.map_err(away)?;
        let text = || String::from_utf8_lossy(&body).into_owned();
        match status {
            StatusCode::INSUFFICIENT_STORAGE => Err(ProviderError::Exhausted(text())),
            status if status.is_success() => Ok(body.to_vec()),
            status => Err(away(format!("{status} {}", text()))),
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProviderError> {
        let body = self.ask(path, None).await?;
        serde_json::from_slice(&body).map_err(|e| ProviderError::Failed(e.to_string()))
    }

    async fn send(&self, path: &str, body: &impl Serialize) -> Result<(), ProviderError> {
        let body = serde_json::to_vec(body).map_err(|e| ProviderError::Failed(e.to_string()))?;
        self.ask(path, Some(body)).await.map(drop)
    }
}

impl MachineProvider for Hosted {
    fn create(&self, spec: MachineSpec) -> BoxFuture<'_, Result<(), ProviderError>> {
        let MachineSpec { id, token, millicpu, memory } = spec;
        let wanted = Wanted { id, token, millicpu, memory };
        Box::pin(async move { self.send(CREATE, &wanted).await })
    }

    fn delete(&self, id: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let named = Named { id: id.to_owned() };
        Box::pin(async move { self.send(DELETE, &named).await })
    }

    fn list(&self) -> BoxFuture<'_, Result<BTreeMap<String, MachineState>, ProviderError>> {
        Box::pin(async move {
            let all: BTreeMap<String, Option<String>> = self.read(LIST).await?;
            let state = |why: Option<String>| why.map_or(MachineState::Running, MachineState::Exited);
            Ok(all.into_iter().map(|(id, why)| (id, state(why))).collect())
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let before = self.seen.load(Ordering::Relaxed);
                match self.read::<u64>(&format!("{CHANGED}?after={before}")).await {
                    Ok(now) if now != before => {
                        self.seen.store(now, Ordering::Relaxed);
                        return;
                    }
                    Ok(_) => {}
                    Err(_) => self.host.clock.sleep(PAUSE).await,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
