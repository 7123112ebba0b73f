//! Serves logs to gateways: [`tenancy::peer::LOGS`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::host::race;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use store::cell::machine_id;

use super::{LogError, LogId};
use crate::Inner;

const CHUNK_MAX: usize = 256 << 10;
/// A signal is a hint; a reader looks again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Signals reach one process: where another replica may write the log, a reader looks this often.
const LOOK_AGAIN_SHARED: Duration = Duration::from_millis(100);

/// Query of a log request.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    follow: bool,
}

/// Handler of a log request.
pub(crate) async fn logs(
    State(cell): State<Arc<Inner>>,
    Path((tenant, namespace, pod, container)): Path<(String, String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let log = LogId { tenant, namespace, pod, container };
    // Asked before the log is read: what ends in between has left its log behind.
    let begins = wanted.follow && cell.is_live(&log).await;
    match cell.sink.read(&log, wanted.offset, 0).await {
        Ok(Some(chunk)) => {
            let ended = if chunk.ended { "true" } else { "false" };
            let body = body(cell, log, wanted);
            ([("x-cella-log-ended", ended), ("content-type", "text/plain")], body).into_response()
        }
        // It may begin yet.
        Ok(None) if begins => {
            ([("x-cella-log-ended", "false"), ("content-type", "text/plain")], body(cell, log, wanted))
                .into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => refused(&error),
    }
}

impl Inner {
    /// The Pod of this log still has its machine.
    async fn is_live(&self, log: &LogId) -> bool {
        // The machine's name follows from the Pod's uid; when the store doesn't answer, waiting does no harm.
        !matches!(self.store.machine(&machine_id(&log.pod)).await, Ok(None))
    }
}

fn refused(error: &LogError) -> Response {
    match error {
        LogError::Name(_) => StatusCode::NOT_FOUND.into_response(),
        LogError::Gap { .. } | LogError::Disk(_) => {
            tracing::error!(%error, "a log cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The bytes from `offset`; with `follow` until the log has ended.
fn body(cell: Arc<Inner>, log: LogId, wanted: Wanted) -> Body {
    let state = (cell, log, wanted.offset, false);
    Body::from_stream(stream::try_unfold(state, move |(cell, log, offset, over)| async move {
        if over {
            return Ok(None);
        }
        let mut last_look = false;
        loop {
            let signal = cell.sink.signal(&log);
            let mut changed = std::pin::pin!(signal.notified());
            changed.as_mut().enable();
            let chunk = cell.sink.read(&log, offset, CHUNK_MAX).await.map_err(std::io::Error::other)?;
            match chunk {
                Some(chunk) if !chunk.bytes.is_empty() => {
                    let next = offset + chunk.bytes.len() as u64;
                    let state = (cell, log, next, chunk.ended);
                    return Ok::<Option<(Bytes, _)>, std::io::Error>(Some((chunk.bytes, state)));
                }
                Some(chunk) if chunk.ended || !wanted.follow => return Ok(None),
                None if !wanted.follow || last_look => return Ok(None),
                // It may have begun and ended since it was looked for.
                None if !cell.is_live(&log).await => {
                    last_look = true;
                    continue;
                }
                Some(_) | None => {}
            }
            let again = if cell.replicas.any() { LOOK_AGAIN_SHARED } else { LOOK_AGAIN };
            race(changed, cell.host.clock.sleep(again)).await;
        }
    }))
}
