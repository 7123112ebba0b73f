//! Who may call the paths of [`tenancy::peer`], in one place: the caller's token is verified for this cell, this
//! method and this path; the version is agreed; the answer carries the proof that it is this cell's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tenancy::peer::{self, Call, Peer};

use crate::Inner;

/// Tokens that are meant to be used again (they have no nonce) are believed without checking the signature again.
const BELIEVED_MAX: usize = 64;

/// Calls that were verified, by token.
#[derive(Default)]
pub(crate) struct Believed(Mutex<BTreeMap<String, (String, Call)>>);

impl Believed {
    fn get(&self, token: &str, request: &str, now_us: i64) -> Option<Call> {
        let believed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (for_request, call) = believed.get(token)?;
        (for_request == request && now_us < call.until_us).then(|| call.clone())
    }

    fn put(&self, token: &str, request: &str, call: &Call, now_us: i64) {
        let mut believed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= BELIEVED_MAX {
            believed.retain(|_, (_, call)| now_us < call.until_us);
        }
        if believed.len() < BELIEVED_MAX {
            believed.insert(token.to_owned(), (request.to_owned(), call.clone()));
        }
    }
}

/// The layer around the paths that peers call.
pub(crate) async fn admit(State(cell): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let version = match peer::agree(text(request.headers(), peer::VERSION_HEADER)) {
        Ok(version) => version,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let asked = format!("{} {path}", request.method());
    let token =
        text(request.headers(), header::AUTHORIZATION.as_str()).and_then(|v| v.strip_prefix("Bearer "));
    let call = match token.map(|token| verify(&cell, token, &asked)) {
        Some(Some(call)) if may(&cell, &call.from, request.uri().path()) => call,
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    let mut response = next.run(request).await;
    response.headers_mut().insert(peer::VERSION_HEADER, HeaderValue::from(version));
    if !call.nonce.is_empty() {
        let me = &cell.config.peers.me;
        let proof = me.proof(&call.from, response.status().as_u16(), &call.nonce, cell.host.clock.utc().0);
        match proof.map(HeaderValue::try_from) {
            Ok(Ok(proof)) => drop(response.headers_mut().insert(peer::PROOF, proof)),
            Ok(Err(_)) | Err(_) => tracing::error!("this cell cannot prove who it is; look at its key"),
        }
    }
    response
}

fn verify(cell: &Inner, token: &str, asked: &str) -> Option<Call> {
    let now_us = cell.host.clock.utc().0;
    if let Some(call) = cell.believed.get(token, asked, now_us) {
        return Some(call);
    }
    let peers = &cell.config.peers;
    match peers.trust.verify_call(token, peers.me.peer(), asked, now_us) {
        Ok(call) => {
            if call.nonce.is_empty() {
                cell.believed.put(token, asked, &call, now_us);
            }
            Some(call)
        }
        Err(why) => {
            tracing::debug!(%why, "a peer's token is not believed");
            None
        }
    }
}

/// The rule: gateways ask for logs and wake; replicas of this very cell wake and ring.
fn may(cell: &Inner, from: &Peer, path: &str) -> bool {
    match from {
        Peer::Gateway => path != peer::RING,
        other => other == cell.config.peers.me.peer() && (path == peer::RING || path == peer::WAKE),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
