//! Serves logs to gateways: [`tenancy::peer::LOGS`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::host::race;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use super::{LogError, LogId};
use crate::Inner;

const CHUNK_MAX: usize = 256 << 10;
/// A signal is a hint; a reader looks again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
    headers: HeaderMap,
) -> Response {
    if !cell.is_peer(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let log = LogId { tenant, namespace, pod, container };
    match cell.sink.read(&log, wanted.offset, 0).await {
        Ok(Some(chunk)) => {
            let ended = if chunk.ended { "true" } else { "false" };
            let body = body(cell, log, wanted);
            ([("x-cella-log-ended", ended), ("content-type", "text/plain")], body).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => refused(&error),
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
        loop {
            let signal = cell.sink.signal(&log);
            let mut changed = std::pin::pin!(signal.notified());
            changed.as_mut().enable();
            let Some(chunk) = cell.sink.read(&log, offset, CHUNK_MAX).await.map_err(std::io::Error::other)?
            else {
                return Ok(None);
            };
            let next = offset + chunk.bytes.len() as u64;
            if !chunk.bytes.is_empty() {
                return Ok::<Option<(Bytes, _)>, std::io::Error>(Some((
                    chunk.bytes,
                    (cell, log, next, chunk.ended),
                )));
            }
            if chunk.ended || !wanted.follow {
                return Ok(None);
            }
            race(changed, cell.host.clock.sleep(LOOK_AGAIN)).await;
        }
    }))
}
