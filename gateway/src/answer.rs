//! Answers: the only file that makes HTTP responses of what was found out.

use apimachinery::accept;
use apimachinery::status::Status;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use store::backend::ReadError;
use store::tenant::WriteError;

/// A refusal on its way to the client.
pub type Refused = Box<Status>;

/// Outcome of a handler.
pub type Outcome = Result<Response<Body>, Refused>;

/// Type of a JSON document.
pub const JSON: &str = "application/json";

/// A JSON document.
pub fn json(code: StatusCode, value: &Value) -> Response<Body> {
    // Writing a document into memory cannot fail.
    bytes(code, JSON, serde_json::to_vec(value).unwrap_or_default())
}

/// Bytes of a type.
pub fn bytes(code: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

/// A refusal.
pub fn refusal(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &status.to_value());
    if let Some(seconds) = status.retry_after_s() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    // kubectl prints warnings, and does not print the causes of most failures.
    warn(&mut response, &status.hints().collect::<Vec<_>>());
    response
}

/// The answer for a path that leads nowhere, as the reference gives it.
pub fn nowhere() -> Response<Body> {
    bytes(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", b"404 page not found\n".to_vec())
}

/// Adds a `Warning` header for each text.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = accept::warning(warning);
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// What a read that failed looks like from outside.
pub fn read_failed(error: &ReadError) -> Refused {
    Box::new(match error {
        ReadError::Expired => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        ),
        ReadError::Unavailable(_) => Status::unavailable("the store cannot be reached; try again", 1),
    })
}

/// What a write that failed looks like from outside, but for conflicts, which need names.
pub fn write_failed(error: &WriteError) -> Refused {
    Box::new(match error {
        WriteError::Full => Status::insufficient_storage("the store has no room left; nothing was written"),
        WriteError::Quota => Status::too_many_requests("the tenant's quota is used up", 10),
        WriteError::Unavailable(_) => {
            Status::unavailable("the store cannot be reached; nothing was written", 1)
        }
        WriteError::Exists | WriteError::Changed => Status::internal("an unexpected conflict"),
    })
}
