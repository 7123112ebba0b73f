//! What the server says of itself: discovery, OpenAPI, version, health.

use std::sync::Arc;

use apimachinery::status::Status;
use apimachinery::{discovery, openapi};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::answer::{self, Outcome, Refused};
use crate::app::App;
use crate::entry::Ask;
use crate::route::Route;

/// Version of Kubernetes that clients are told.
const KUBERNETES: (&str, &str) = ("1", "33");

/// Answers a route that is not about objects.
///
/// # Errors
/// A Status.
pub async fn serve(app: &Arc<App>, ask: &Ask, route: &Route) -> Outcome {
    if !matches!(ask.method.as_str(), "GET" | "HEAD") {
        return Err(Box::new(Status::method_not_allowed()));
    }
    match route {
        Route::Api | Route::Apis => {
            let form = discovery::Form::negotiate(ask.accept())?;
            let value =
                if matches!(route, Route::Api) { discovery::api(form) } else { discovery::apis(form) };
            Ok(answer::bytes(StatusCode::OK, form.content_type(), value.to_string().into_bytes()))
        }
        Route::Group(group) => {
            Ok(discovery::group(group).map_or_else(answer::nowhere, |v| answer::json(StatusCode::OK, &v)))
        }
        Route::Resources(group, version) => {
            let found = discovery::resources(group, version);
            Ok(found.map_or_else(answer::nowhere, |v| answer::json(StatusCode::OK, &v)))
        }
        Route::OpenApiV2 => {
            let form = openapi::V2Form::negotiate(ask.accept()).ok_or_else(|| {
                Box::new(Status::not_acceptable(&[openapi::V2_PROTOBUF_TYPE, openapi::V2_JSON_TYPE]))
            })?;
            let (kind, body) = match form {
                openapi::V2Form::Protobuf => (openapi::V2_PROTOBUF_TYPE, openapi::v2_protobuf()),
                openapi::V2Form::Json => (openapi::V2_JSON_TYPE, openapi::v2_json()),
            };
            Ok(answer::bytes(StatusCode::OK, kind, body))
        }
        Route::OpenApiIndex => Ok(answer::json(StatusCode::OK, &openapi::index(&ask.prefix))),
        Route::OpenApi(path) => Ok(open_api(ask, path)),
        Route::Version => Ok(answer::json(StatusCode::OK, &version())),
        Route::Statusz => Ok(answer::json(StatusCode::OK, &statusz(app, ask).await?)),
        Route::Why(namespace, name) => crate::why::serve(app, ask, namespace, name).await,
        Route::Health
        | Route::Metrics
        | Route::Admin(_)
        | Route::Objects(_)
        | Route::NoPart(..)
        | Route::Nowhere => Ok(answer::nowhere()),
    }
}

/// One document of OpenAPI v3. Under its hash it never changes; under another one it is somewhere else.
fn open_api(ask: &Ask, path: &str) -> Response<Body> {
    let Some(document) = openapi::document(path) else { return answer::nowhere() };
    let asked = ask.params.get("hash").filter(|hash| !hash.is_empty());
    if asked.is_some_and(|hash| hash != document.hash) {
        let place = format!("{}/openapi/v3/{path}?hash={}", ask.prefix, document.hash);
        let mut response = answer::bytes(StatusCode::MOVED_PERMANENTLY, "text/plain", Vec::new());
        if let Ok(place) = HeaderValue::from_str(&place) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        return response;
    }
    let mut response = answer::bytes(StatusCode::OK, answer::JSON, document.body.clone());
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", document.hash)) {
        headers.insert(header::ETAG, tag);
    }
    if asked.is_some() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

/// What the gateway is doing, for somebody whose credential holds.
async fn statusz(app: &Arc<App>, ask: &Ask) -> Result<serde_json::Value, Refused> {
    let cells = app.tenants.cells().await.map_err(|error| answer::read_failed(&error))?;
    let now_us = app.host.clock.utc().0;
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| {
            json!({
                "cell": cell.cell,
                "region": cell.region,
                "draining": cell.draining,
                "heard_s_ago": now_us.saturating_sub(cell.at_us) / 1_000_000,
            })
        })
        .collect();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": app.host.clock.mono().since(app.began).as_secs(),
        "store": "answers",
        "cells": cells,
        "tenant": ask.caller.tenant.as_str(),
        "watches": app.counts.watches.get(),
    }))
}

fn version() -> serde_json::Value {
    let (major, minor) = KUBERNETES;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+cella"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

/// Ready when the store answers.
///
/// # Errors
/// 503 when it does not.
pub async fn health(app: &Arc<App>) -> Outcome {
    app.tenants.ping().await.map_err(|error| answer::read_failed(&error))?;
    Ok(answer::bytes(StatusCode::OK, "text/plain; charset=utf-8", b"ok".to_vec()))
}
