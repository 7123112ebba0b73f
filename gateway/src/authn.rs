//! Who asks: the credential, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use apimachinery::status::Status;
use http::{HeaderMap, header};
use tenancy::access::{Caller, Operator};

use crate::answer::Refused;
use crate::app::App;

/// Tokens that were verified are believed without checking the signature again, until they expire; at most so many.
const BELIEVED_MAX: usize = 4096;

/// Audience of operators' tokens.
pub const OPERATORS: &str = "cella-admin";

/// Verified tokens: caller, and until when (µs since 1970).
#[derive(Default)]
pub struct Believed(Mutex<BTreeMap<String, (Caller, i64)>>);

/// The caller of a request.
///
/// # Errors
/// 401 without any detail.
pub fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Refused> {
    let unauthorized = || Box::new(Status::unauthorized());
    let token = bearer(headers).ok_or_else(unauthorized)?;
    let now = app.host.clock.utc().0;
    let caller = match app.believed.get(token, now) {
        Some(caller) => caller,
        None => {
            let (caller, until) = app.keys.verify(token, &app.audience, now).map_err(|why| {
                tracing::debug!(%why, "a credential is not believed");
                unauthorized()
            })?;
            app.believed.put(token, caller.clone(), until, now);
            caller
        }
    };
    Ok(caller)
}

/// The operator who makes a request of the admin API. Tenants' tokens are none.
///
/// # Errors
/// 401 without any detail.
pub fn operator(app: &App, headers: &HeaderMap) -> Result<Operator, Refused> {
    let unauthorized = || Box::new(Status::unauthorized());
    let token = bearer(headers).ok_or_else(unauthorized)?;
    app.keys.verify_operator(token, OPERATORS, app.host.clock.utc().0).map_err(|why| {
        tracing::debug!(%why, "an operator's credential is not believed");
        unauthorized()
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "))?;
    Some(token.trim()).filter(|token| !token.is_empty())
}

/// The request asks to be somebody else. It is refused: it would otherwise run with the caller's own rights.
pub fn impersonates(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

impl Believed {
    fn get(&self, token: &str, now: i64) -> Option<Caller> {
        let believed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        believed.get(token).filter(|(_, until)| now < *until).map(|(caller, _)| caller.clone())
    }

    fn put(&self, token: &str, caller: Caller, until: i64, now: i64) {
        let mut believed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= BELIEVED_MAX {
            believed.retain(|_, (_, until)| now < *until);
        }
        if believed.len() < BELIEVED_MAX {
            believed.insert(token.to_owned(), (caller, until));
        }
    }
}
