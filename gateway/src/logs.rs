//! `pods/log`: the cell's log in the CRI format, turned into what clients expect.

mod lines;

use std::sync::Arc;
use std::time::Duration;

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

/// How often, and with which pause, a Pod is looked for that takes the place of one that is gone: its run makes it at
/// once.
const SUCCESSOR_LOOKS: u32 = 20;
const SUCCESSOR_PAUSE: Duration = Duration::from_millis(50);

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
    let mut reader = Reader {
        app: app.clone(),
        grant: grant.clone(),
        target: target.clone(),
        uid: meta::uid(&pod).to_owned(),
        container,
        follow,
    };
    let mut body = reader.open(&pod).await?;
    if body.is_none() {
        body = reader.of_successor().await;
    }
    let mut response = answer::bytes(StatusCode::OK, "text/plain", Vec::new());
    *response.body_mut() = match body {
        Some(body) if options.tail.is_some() && !follow => {
            let whole = body.collect().await.map_err(|_| away())?.to_bytes();
            let mut lines = Lines::new(options);
            Body::from(lines.tail(&whole))
        }
        Some(body) => Body::from_stream(stream(reader, body, Lines::new(options))),
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

/// Somebody reads the log of a container.
struct Reader {
    app: Arc<App>,
    grant: Grant,
    target: Objects,
    /// The Pod that is read.
    uid: String,
    container: String,
    follow: bool,
}

impl Reader {
    /// The log at the Pod's cell; `None` when there is none.
    async fn open(&self, pod: &Value) -> Result<Option<Body>, Refused> {
        let Some(cell) = meta::annotation(pod, CELL) else { return Ok(None) };
        let path = format!(
            "{}/{}/{}/{}/{}?offset=0&follow={}",
            tenancy::peer::LOGS,
            self.grant.tenant(),
            meta::namespace(pod),
            meta::uid(pod),
            self.container,
            self.follow,
        );
        let response = self.app.cells.get(cell, &path).await.map_err(|away| match away {
            Away::Store(error) => answer::read_failed(&error),
            Away::Silent(_) | Away::Refused { .. } => self::away(),
        })?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.into_body())),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(away()),
        }
    }

    /// The log of the Pod that has taken the place of the one that was read, for who follows. A Pod whose machine is
    /// lost before anything of it has begun is made anew under its name, and a follower means the one that runs.
    async fn of_successor(&mut self) -> Option<Body> {
        let (namespace, name) = (self.target.namespace.clone()?, self.target.name.clone()?);
        let looks = if self.follow { SUCCESSOR_LOOKS } else { 0 };
        for _ in 0..looks {
            let row = self.app.tenants.object_get(&self.grant, "pods", &namespace, &name).await.ok()?;
            let Some(row) = row else {
                self.app.host.clock.sleep(SUCCESSOR_PAUSE).await;
                continue;
            };
            let pod = objects::open(&self.app, &self.grant, &self.target, &row).ok()?;
            if meta::uid(&pod) == self.uid {
                // It is still there: it has said nothing.
                return None;
            }
            meta::uid(&pod).clone_into(&mut self.uid);
            if let Some(body) = self.open(&pod).await.ok()? {
                return Some(body);
            }
        }
        None
    }
}

fn stream(
    reader: Reader,
    body: Body,
    lines: Lines,
) -> impl futures_util::Stream<Item = Result<Bytes, axum::Error>> {
    let state = (reader, body, lines, true, false);
    futures_util::stream::unfold(state, |(mut reader, mut body, mut lines, mut silent, ended)| async move {
        if ended {
            return None;
        }
        loop {
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Some((Err(error), (reader, body, lines, silent, true))),
                None => {
                    if silent && let Some(next) = reader.of_successor().await {
                        body = next;
                        continue;
                    }
                    let rest = lines.finish();
                    return (!rest.is_empty())
                        .then_some((Ok(rest.into()), (reader, body, lines, silent, true)));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            silent &= data.is_empty();
            let out = lines.feed(&data);
            if lines.is_full() {
                return Some((Ok(out.into()), (reader, body, lines, silent, true)));
            }
            if !out.is_empty() {
                return Some((Ok(out.into()), (reader, body, lines, silent, false)));
            }
        }
    })
}
