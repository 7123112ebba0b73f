//! Delete one, delete many.

use apimachinery::decode;
use apimachinery::meta::{self, Propagation};
use apimachinery::options::{DeleteOptions, ListOptions};
use apimachinery::selector::Selector;
use apimachinery::status::Status;
use apimachinery::time::Micros;
use apimachinery::write::{self, Effect};
use http::{StatusCode, header};
use serde_json::{Value, json};
use store::backend::{At as Moment, Row};
use store::cell::CELL;
use store::tenant::WriteError;

use super::{At, Shown};
use crate::answer::{self, Outcome, Refused};

/// Until a pod's containers are killed, when nobody says otherwise, seconds.
const POD_GRACE_S: i64 = 30;
const TRIES: usize = 30;
const CHUNK: usize = 500;

fn options(at: &At<'_>) -> Result<DeleteOptions, Refused> {
    let body = decode::options(at.ask.header(header::CONTENT_TYPE), &at.ask.body).map_err(Box::new)?;
    DeleteOptions::parse(&at.ask.params, body.as_ref()).map_err(Box::new)
}

pub(super) async fn one(at: &At<'_>) -> Outcome {
    let options = options(at)?;
    let shown = Shown::of(at)?;
    for _ in 0..TRIES {
        let row = at.row().await?;
        if let Some(removed) = remove(at, &row, &options).await? {
            let body = match removed {
                Removed::Gone { status, .. } => status,
                Removed::Held(object) => shown.one(at.shown(object)?, true),
            };
            return Ok(shown.respond(StatusCode::OK, &body));
        }
    }
    Err(Box::new(Status::modified(at.target.kind.group, at.target.kind.plural, at.name())))
}

/// What became of an object that was to be removed.
enum Removed {
    /// It is gone; how that is said, and what it was.
    Gone { status: Value, last: Value },
    /// It is marked, and goes when nothing holds it any more.
    Held(Value),
}

/// `None` when somebody else was faster.
async fn remove(at: &At<'_>, row: &Row, options: &DeleteOptions) -> Result<Option<Removed>, Refused> {
    let kind = at.target.kind;
    let old = at.open_stored(row)?;
    let now = Micros(at.app.host.clock.utc().0);
    let id = kind.id();
    let mut options = options.clone();
    // A namespace's content goes first: a cell empties it and removes it then.
    if id == "namespaces" {
        options.propagation = Some(Propagation::Foreground);
    }
    let (mut effect, mut object) = write::delete(kind, &old, &options, now).map_err(Box::new)?;
    match id.as_str() {
        "namespaces" if effect == Effect::Replace => object["status"] = json!({"phase": "Terminating"}),
        "pods" if effect == Effect::Remove && is_working(&old) && options.grace_period_s != Some(0) => {
            (effect, object) = (Effect::Replace, graceful(&old, &options, now));
        }
        _ => {}
    }
    if options.dry_run || effect == Effect::Nothing {
        return Ok(Some(answered(effect, object, old)));
    }
    let outcome = if effect == Effect::Remove {
        at.app.tenants.object_delete(at.grant, row, &old).await
    } else {
        // Marking an object changes only its metadata: it stays in the version that is stored.
        let stored = if super::is_secret(at.target) { at.sealed(&object, None)? } else { None };
        at.app.tenants.object_terminate(at.grant, row, stored.as_ref().unwrap_or(&object)).await
    };
    match outcome {
        Ok(revision) => {
            super::change::wake(at, &old);
            if effect != Effect::Remove {
                meta::set(&mut object, "resourceVersion", revision.to_string());
            }
            Ok(Some(answered(effect, object, old)))
        }
        Err(WriteError::Changed) => Ok(None),
        Err(error) => Err(answer::write_failed(&error)),
    }
}

fn answered(effect: Effect, answer: Value, old: Value) -> Removed {
    match effect {
        Effect::Remove => Removed::Gone { status: answer, last: old },
        Effect::Create | Effect::Replace | Effect::Nothing => Removed::Held(answer),
    }
}

/// A pod whose containers may be running: its machine must stop them before it goes.
fn is_working(pod: &Value) -> bool {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    !ended && !meta::is_deleting(pod) && meta::annotation(pod, CELL).is_some()
}

/// The pod with the end of its grace.
fn graceful(pod: &Value, options: &DeleteOptions, now: Micros) -> Value {
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
    let grace_s = options.grace_period_s.or(own).unwrap_or(POD_GRACE_S).max(0);
    let mut pod = pod.clone();
    let end = now.0.saturating_add(grace_s.saturating_mul(1_000_000));
    meta::set(&mut pod, "deletionTimestamp", Micros(end).rfc3339());
    meta::set(&mut pod, "deletionGracePeriodSeconds", grace_s);
    pod
}

pub(super) async fn many(at: &At<'_>) -> Outcome {
    let deletes = options(at)?;
    let lists = ListOptions::parse(&at.ask.params).map_err(Box::new)?;
    let selector =
        Selector::parse(at.target.kind, &lists.label_selector, &lists.field_selector).map_err(Box::new)?;
    let shown = Shown::of_list(at)?;
    let kind = at.target.kind.id();
    let (mut after, mut gone) = (String::new(), Vec::new());
    loop {
        let namespace = at.target.namespace.as_deref();
        let page =
            at.app.tenants.object_list(at.grant, &kind, namespace, Moment::Latest, &after, CHUNK).await;
        let page = page.map_err(|e| answer::read_failed(&e))?;
        after = page.rows.last().map_or(after, |row| row.key.key.clone());
        for row in &page.rows {
            if !selector.matches(&at.open(row)?) {
                continue;
            }
            if let Some(Removed::Gone { last: object, .. } | Removed::Held(object)) =
                remove_now(at, row, &deletes).await?
            {
                gone.push(at.shown(object)?);
            }
        }
        if !page.more {
            let api_version = at.target.kind.api_version(at.target.version.name);
            let meta = json!({"resourceVersion": page.revision.to_string()});
            let list = shown.list(at.target.kind.kind, &api_version, meta, &gone);
            return Ok(shown.respond(StatusCode::OK, &list));
        }
    }
}

/// Removes what is in `row`, or what has become of it in between.
async fn remove_now(at: &At<'_>, row: &Row, options: &DeleteOptions) -> Result<Option<Removed>, Refused> {
    let mut now = Some(row.clone());
    for _ in 0..TRIES {
        let Some(row) = now else { return Ok(None) };
        if let Some(removed) = remove(at, &row, options).await? {
            return Ok(Some(removed));
        }
        now = at.find(row.key.key.rsplit('/').next().unwrap_or_default()).await?;
    }
    Ok(None)
}
