//! `pods/log`: the cell's log in the CRI format, turned into what clients expect.

mod lines;

use std::sync::Arc;

use apimachinery::meta;
use apimachinery::status::Status;
use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use store::cell::CELL;
use tenancy::access::Grant;

use crate::answer::{self, Outcome, Refused};
use crate::app::App;
use crate::cells::Away;
use crate::entry::Ask;
use crate::objects;
use crate::route::Objects;
use lines::{Lines, Options};

/// Serves a container's log.
///
/// # Errors
/// A Status.
pub async fn serve(app: &Arc<App>, grant: &Grant, ask: &Ask, target: &Objects) -> Outcome {
    if ask.method != http::Method::GET {
        return Err(Box::new(Status::method_not_allowed()));
    }
    let (namespace, name) = (target.namespace.as_deref().unwrap_or(""), target.name.as_deref().unwrap_or(""));
    let row =
        app.tenants.object_get(grant, "pods", namespace, name).await.map_err(|e| answer::read_failed(&e))?;
    let row = row.ok_or_else(|| Box::new(Status::not_found("", "pods", name)))?;
    let pod = objects::open(app, grant, target, &row)?;
    let container = container(ask, &pod)?;
    let follow = ask.params.flag("follow") == Some(true);
    if ask.params.flag("previous") == Some(true) {
        let message = format!("previous terminated container {container:?} in pod {name:?} not found");
        return Err(Box::new(Status::bad_request(message)));
    }
    if !follow && waits(&pod, &container) {
        let why = waiting_reason(&pod, &container);
        let message = format!("container {container:?} in pod {name:?} is waiting to start: {why}");
        return Err(Box::new(Status::bad_request(message)));
    }
    let options = Options::parse(&ask.params, app.host.clock.utc().0)?;
    let body = open(app, grant, &pod, &container, follow).await?;
    let mut response = answer::bytes(StatusCode::OK, "text/plain", Vec::new());
    *response.body_mut() = match body {
        Some(body) if options.tail.is_some() && !follow => {
            let whole = body.collect().await.map_err(|_| away())?.to_bytes();
            let mut lines = Lines::new(options);
            Body::from(lines.tail(&whole))
        }
        Some(body) => Body::from_stream(stream(body, Lines::new(options))),
        None => Body::empty(),
    };
    Ok(response)
}

fn away() -> Refused {
    Box::new(Status::unavailable("the cell that holds this log cannot be reached", 2))
}

/// The container that is meant.
fn container(ask: &Ask, pod: &Value) -> Result<String, Refused> {
    let names = |list: &str| -> Vec<String> {
        let all = pod["spec"][list].as_array().into_iter().flatten();
        all.filter_map(|c| c["name"].as_str()).map(str::to_owned).collect()
    };
    let (plain, init) = (names("containers"), names("initContainers"));
    let pod_name = meta::name(pod);
    match ask.params.get("container").filter(|c| !c.is_empty()) {
        Some(asked) if plain.iter().chain(&init).any(|c| c == asked) => Ok(asked.to_owned()),
        Some(asked) => {
            Err(Box::new(Status::bad_request(format!("container {asked} is not valid for pod {pod_name}"))))
        }
        None if plain.len() == 1 => Ok(plain[0].clone()),
        None => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                plain.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Box::new(Status::bad_request(message)))
        }
    }
}

fn status_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let lists = ["containerStatuses", "initContainerStatuses"];
    lists.iter().find_map(|list| pod["status"][list].as_array()?.iter().find(|c| c["name"] == container))
}

fn waits(pod: &Value, container: &str) -> bool {
    let state = status_of(pod, container).map(|status| &status["state"]);
    state.is_none_or(|state| state["running"].is_null() && state["terminated"].is_null())
}

fn waiting_reason(pod: &Value, container: &str) -> String {
    let reason = status_of(pod, container).and_then(|s| s["state"]["waiting"]["reason"].as_str());
    reason.unwrap_or("PodInitializing").to_owned()
}

/// The log at the pod's cell; `None` when there is none.
async fn open(
    app: &Arc<App>,
    grant: &Grant,
    pod: &Value,
    container: &str,
    follow: bool,
) -> Result<Option<Body>, Refused> {
    let Some(cell) = meta::annotation(pod, CELL) else { return Ok(None) };
    let path = format!(
        "{}/{}/{}/{}/{container}?offset=0&follow={follow}",
        tenancy::peer::LOGS,
        grant.tenant(),
        meta::namespace(pod),
        meta::uid(pod),
    );
    let response = app.cells.get(cell, &path).await.map_err(|away| match away {
        Away::Store(error) => answer::read_failed(&error),
        Away::Silent(_) | Away::Refused { .. } => self::away(),
    })?;
    match response.status() {
        StatusCode::OK => Ok(Some(response.into_body())),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(away()),
    }
}

fn stream(body: Body, lines: Lines) -> impl futures_util::Stream<Item = Result<Bytes, axum::Error>> {
    futures_util::stream::unfold((body, lines, false), |(mut body, mut lines, ended)| async move {
        if ended {
            return None;
        }
        loop {
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Some((Err(error), (body, lines, true))),
                None => {
                    let rest = lines.finish();
                    return (!rest.is_empty()).then_some((Ok(rest.into()), (body, lines, true)));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            let out = lines.feed(&data);
            if lines.is_full() {
                return Some((Ok(out.into()), (body, lines, true)));
            }
            if !out.is_empty() {
                return Some((Ok(out.into()), (body, lines, false)));
            }
        }
    })
}
