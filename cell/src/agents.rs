//! The sessions of agents: the paths of [`protocol::message`]. An agent shows its machine's token; which attempt
//! it may have, whether it may start, and what it shall do next is read from the store on every request, so any
//! replica can answer any of them.

mod desired;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base::host::race;
use protocol::message::{
    self, Desired, Hello, HelloAnswer, LogAnswer, Refused, Renew, RenewAnswer, Report, Speaker, Start,
    StartAnswer, Watch,
};
use serde::Deserialize;
use serde_json::Value;
use store::cell::CellError;
use store::cell::session::{Claim, Gate, Observation, Session};
use store::records::attempt::{Attempt, Phase};
use tekton::engine::taskrun::{READY, sidecars_ready};

use crate::logs::{LogError, LogId};
use crate::lower::{self, Lowered};
use crate::{Inner, same_secret};

/// Longest JSON body: a Pod status with results of many steps.
const BODY_MAX: usize = 4 << 20;
/// Longest chunk of a log.
const LOG_CHUNK_MAX: usize = 4 << 20;
/// How long a hello without an attempt is held open.
const HELLO_WAIT: Duration = Duration::from_secs(20);
/// Longest time that a watch is held open, whatever the agent asks for.
const WATCH_MAX: Duration = Duration::from_secs(60);
/// Signals are hints: a held request looks again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Lost races in a row before an agent is told to ask again.
const RACES_MAX: usize = 8;

/// The paths that agents call.
pub(crate) fn router() -> axum::Router<Arc<Inner>> {
    let logs = format!("{}/{{machine}}/{{nonce}}/{{attempt}}/{{container}}", message::LOGS);
    axum::Router::new()
        .route(message::HELLO, post(hello))
        .route(message::START, post(start))
        .route(message::REPORT, post(report))
        .route(message::WATCH, post(watch))
        .route(message::RENEW, post(renew))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .merge(axum::Router::new().route(&logs, post(append)).layer(DefaultBodyLimit::max(LOG_CHUNK_MAX)))
}

/// Why an agent gets no answer.
enum Refusal {
    /// Not the machine's token.
    Stranger,
    /// The store, for now.
    Store(CellError),
    /// Nonsense.
    Bad(String),
}

impl From<CellError> for Refusal {
    fn from(error: CellError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, message) = match self {
            Self::Stranger => (StatusCode::UNAUTHORIZED, "no machine has this token".to_owned()),
            Self::Store(error) => {
                tracing::warn!(%error, "an agent's request cannot be answered");
                (StatusCode::SERVICE_UNAVAILABLE, "ask again".to_owned())
            }
            Self::Bad(why) => (StatusCode::BAD_REQUEST, why),
        };
        (code, Json(Refused { message })).into_response()
    }
}

async fn hello(
    State(cell): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(hello): Json<Hello>,
) -> Result<Json<HelloAnswer>, Refusal> {
    authenticate(&cell, &headers, &hello.speaker.machine)?;
    // Before anything is claimed: an agent that is not understood must not own an attempt.
    let version = protocol::agree(hello.version, hello.oldest).map_err(Refusal::Bad)?;
    let Speaker { machine, nonce } = &hello.speaker;
    let leases = hello.capabilities.get(message::CAPABILITY_LEASE).is_some_and(|can| can == "true");
    let until = cell.host.clock.mono();
    loop {
        let signal = cell.signals.of(machine);
        let mut changed = pin!(signal.notified());
        changed.as_mut().enable();
        match repeat(|| cell.store.claim(machine, nonce, leases)).await? {
            Claim::Mine(session) => match order(&cell, &session).await? {
                Some(HelloAnswer::Order(mut order)) => {
                    order.version = version;
                    if version >= 2 {
                        order.cells = cell.replicas.for_agents();
                        order.cells.insert(0, cell.config.agents.clone());
                    }
                    return Ok(Json(HelloAnswer::Order(order)));
                }
                Some(answer) => return Ok(Json(answer)),
                None => tracing::debug!(%machine, "an order waits"),
            },
            Claim::Wait => {}
            Claim::Burn(reason) => return Ok(Json(HelloAnswer::Burn { reason: reason.into() })),
        }
        if cell.host.clock.mono().since(until) >= HELLO_WAIT {
            return Ok(Json(HelloAnswer::Wait));
        }
        race(changed, cell.host.clock.sleep(LOOK_AGAIN)).await;
    }
}

/// The Order of a claimed attempt; `None` when it cannot be made now, which the Pod's status then says.
async fn order(cell: &Arc<Inner>, session: &Session) -> Result<Option<HelloAnswer>, Refusal> {
    match lower::order(cell, session).await? {
        Lowered::Order(order) => Ok(Some(HelloAnswer::Order(order))),
        Lowered::Gone => Ok(Some(HelloAnswer::Burn { reason: "its pod is gone".into() })),
        Lowered::Waits(status) => match cell.store.pod_status(session, *status).await {
            Ok(()) | Err(CellError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        },
    }
}

async fn start(
    State(cell): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(start): Json<Start>,
) -> Result<Json<StartAnswer>, Refusal> {
    authenticate(&cell, &headers, &start.speaker.machine)?;
    let status = document(&start.status)?;
    let Speaker { machine, nonce } = &start.speaker;
    let gate =
        repeat(|| cell.store.start(machine, nonce, &start.attempt, &start.volumes, status.clone())).await?;
    cell.due_written();
    Ok(Json(match gate {
        Gate::Go => StartAnswer::Go,
        Gate::Revoked => {
            cell.machines.wake.notify_one();
            StartAnswer::Revoked
        }
        Gate::Burn(reason) => StartAnswer::Burn { reason: reason.into() },
    }))
}

async fn report(
    State(cell): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> Result<Json<Desired>, Refusal> {
    authenticate(&cell, &headers, &report.speaker.machine)?;
    let Speaker { machine, nonce } = &report.speaker;
    let status = document(&report.status)?;
    let seen = Observation {
        seq: report.seq,
        annotations: announced(&status),
        status,
        last: report.last,
        timings: report.timings,
    };
    let mut session = current(&cell, machine).await?;
    end_logs(&cell, &session, &report.attempt, nonce, &seen).await;
    for round in 0.. {
        match cell.store.report(&session, nonce, &report.attempt, seen.clone()).await {
            Ok(written) => {
                if written {
                    cell.due_written();
                }
                break;
            }
            Err(CellError::Conflict { .. }) if round < RACES_MAX => session = current(&cell, machine).await?,
            Err(error) => return Err(error.into()),
        }
    }
    if report.last {
        cell.machines.wake.notify_one();
    }
    Ok(Json(desired::of(&session, &report.attempt, nonce, Some(&seen.status))))
}

async fn watch(
    State(cell): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(watch): Json<Watch>,
) -> Result<Json<Desired>, Refusal> {
    authenticate(&cell, &headers, &watch.speaker.machine)?;
    let Speaker { machine, nonce } = &watch.speaker;
    let wait = WATCH_MAX.min(Duration::from_millis(watch.wait_ms));
    let since = cell.host.clock.mono();
    loop {
        let signal = cell.signals.of(&watch.attempt);
        let mut changed = pin!(signal.notified());
        changed.as_mut().enable();
        let session = current(&cell, machine).await?;
        let desired = desired::of(&session, &watch.attempt, nonce, None);
        let left = wait.saturating_sub(cell.host.clock.mono().since(since));
        if desired != watch.seen || left.is_zero() {
            return Ok(Json(desired));
        }
        race(changed, cell.host.clock.sleep(left.min(LOOK_AGAIN))).await;
    }
}

async fn renew(
    State(cell): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(renew): Json<Renew>,
) -> Result<Json<RenewAnswer>, Refusal> {
    authenticate(&cell, &headers, &renew.speaker.machine)?;
    let Speaker { machine, nonce } = &renew.speaker;
    // Read now: an answer from memory could be older than a revocation.
    let goes_on = cell.store.lease_renew(machine, nonce, &renew.attempt).await?;
    Ok(Json(if goes_on { RenewAnswer::Lease } else { RenewAnswer::Revoked }))
}

#[derive(Deserialize)]
struct Offset {
    offset: u64,
}

async fn append(
    State(cell): State<Arc<Inner>>,
    Path((machine, nonce, attempt, container)): Path<(String, String, String, String)>,
    Query(Offset { offset }): Query<Offset>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<LogAnswer>, Refusal> {
    authenticate(&cell, &headers, &machine)?;
    let claimed = cell.store.claimed(&machine, &nonce, &attempt).await?;
    // Whoever was revoked or is taken for lost has nothing to say any more.
    let speaks = |a: &Attempt| matches!(a.phase, Phase::Claimed | Phase::Started | Phase::Done);
    let Some(claimed) = claimed.filter(speaks) else { return Err(Refusal::Stranger) };
    let log = LogId {
        tenant: claimed.tenant.clone(),
        namespace: claimed.namespace.clone(),
        pod: claimed.id.clone(),
        container,
    };
    match cell.sink.append(&log, offset, bytes).await {
        Ok(next) | Err(LogError::Gap { next }) => Ok(Json(LogAnswer { next })),
        Err(LogError::Name(name)) => Err(Refusal::Bad(format!("{name:?} is no container"))),
        Err(error @ LogError::Disk(_)) => {
            tracing::error!(%error, "a log cannot be kept");
            Err(Refusal::Store(CellError::Full))
        }
    }
}

/// What a Pod with this status tells its first step, which its agent has told it already.
fn announced(status: &Value) -> BTreeMap<String, String> {
    let begun = status["phase"].as_str().is_some_and(|phase| phase != "Pending");
    let told = (begun && sidecars_ready(status)).then(|| (READY.0.to_owned(), READY.1.to_owned()));
    told.into_iter().collect()
}

/// The logs of containers that have ended get no more bytes.
async fn end_logs(cell: &Inner, session: &Session, attempt: &str, nonce: &str, seen: &Observation) {
    let Some((attempt, _)) = session.claimed(attempt, nonce) else { return };
    let mut ended = Ok(());
    for container in ended_containers(&seen.status) {
        let log = LogId {
            tenant: attempt.tenant.clone(),
            namespace: attempt.namespace.clone(),
            pod: attempt.id.clone(),
            container,
        };
        ended = ended.and(cell.sink.end(&log).await);
    }
    if seen.last {
        ended = ended.and(cell.sink.end_pod(&attempt.tenant, &attempt.namespace, &attempt.id).await);
    }
    if let Err(error) = ended {
        tracing::warn!(attempt = %attempt.id, %error, "logs cannot be ended");
    }
}

fn ended_containers(status: &Value) -> impl Iterator<Item = String> {
    let all = status["containerStatuses"].as_array().into_iter().flatten();
    let ended = all.filter(|c| {
        c["state"]["terminated"].is_object() && c["state"]["terminated"]["startedAt"].is_string()
    });
    ended.filter_map(|c| c["name"].as_str().map(str::to_owned))
}

async fn current(cell: &Inner, machine: &str) -> Result<Session, Refusal> {
    // A machine whose row is gone has nothing to say any more.
    cell.store.session(machine).await?.ok_or(Refusal::Stranger)
}

/// Repeats what lost a race: it looks again by itself.
async fn repeat<T, F>(mut work: impl FnMut() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, CellError>>,
{
    let mut races = 0;
    loop {
        match work().await {
            Err(CellError::Conflict { .. }) if races < RACES_MAX => races += 1,
            outcome => return Ok(outcome?),
        }
    }
}

fn authenticate(cell: &Inner, headers: &HeaderMap, machine: &str) -> Result<(), Refusal> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    // Tokens are derived from the machine's name: comparing needs no row, and no row tells a token.
    match shown {
        Some(token) if same_secret(token, &cell.store.machine_token(machine)) => {
            // A cell with a machine has work, if only to delete it: it may have come late, when nobody waited for it.
            cell.sleep.wake();
            Ok(())
        }
        _ => Err(Refusal::Stranger),
    }
}

fn document(status: &k8s_openapi::api::core::v1::PodStatus) -> Result<Value, Refusal> {
    serde_json::to_value(status).map_err(|error| Refusal::Bad(error.to_string()))
}

/// Annotations that agents show to containers.
pub(crate) fn shown_annotations(pod: &Value) -> BTreeMap<String, String> {
    let all = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let shown = all.filter(|(key, _)| key.starts_with("tekton.dev/"));
    shown.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
