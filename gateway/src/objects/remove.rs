//! Delete one, delete many.

use apimachinery::accept as types;
use apimachinery::meta::{self, Deletion, Propagation};
use apimachinery::options::{DeleteOptions, ListOptions};
use apimachinery::selector::Selector;
use apimachinery::status::Status;
use apimachinery::time::Micros;
use apimachinery::{decode, protobuf};
use axum::body::Body;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use store::backend::{At as Moment, Row};
use store::tenant::WriteError;

use super::{At, Shown};
use crate::answer::{self, Outcome, Refused};

const TRIES: usize = 30;
const CHUNK: usize = 500;

fn options(at: &At<'_>) -> Result<DeleteOptions, Refused> {
    let body = if at.ask.body.is_empty() {
        None
    } else if at.ask.header(header::CONTENT_TYPE).is_some_and(|t| t.starts_with(types::PROTOBUF)) {
        Some(protobuf::decode(&at.ask.body).map_err(|e| Box::new(Status::bad_request(e.0)))?)
    } else {
        Some(decode::json(&at.ask.body).map_err(|e| Box::new(Status::bad_request(e.0)))?.value)
    };
    DeleteOptions::parse(&at.ask.params, body.as_ref()).map_err(Box::new)
}

pub(super) async fn one(at: &At<'_>) -> Outcome {
    let options = options(at)?;
    for _ in 0..TRIES {
        let row = at.row().await?;
        match remove(at, &row, &options).await? {
            Some(Removed::Gone(object)) => {
                let kind = at.target.kind;
                let status =
                    Status::deleted(kind.group, kind.plural, meta::name(&object), meta::uid(&object));
                return Ok(answer::json(StatusCode::OK, &status.to_value()));
            }
            Some(Removed::Marked(object)) => return shown(at, object),
            None => {}
        }
    }
    Err(Box::new(Status::modified(at.target.kind.group, at.target.kind.plural, at.name())))
}

fn shown(at: &At<'_>, object: Value) -> Result<Response<Body>, Refused> {
    let shown = Shown::of(at)?;
    Ok(shown.respond(StatusCode::OK, &shown.one(object, true)))
}

enum Removed {
    Gone(Value),
    Marked(Value),
}

/// `None` when somebody else was faster.
async fn remove(at: &At<'_>, row: &Row, options: &DeleteOptions) -> Result<Option<Removed>, Refused> {
    let kind = at.target.kind;
    let mut object = at.open(row)?;
    let (name, uid) = (meta::name(&object).to_owned(), meta::uid(&object).to_owned());
    if let Some(sent) = options.preconditions.uid.as_deref().filter(|sent| *sent != uid) {
        return Err(Box::new(Status::delete_uid_mismatch(kind.group, kind.plural, &name, sent, &uid)));
    }
    let version = row.revision.to_string();
    if let Some(sent) = options.preconditions.resource_version.as_deref().filter(|sent| *sent != version) {
        return Err(Box::new(Status::delete_version_mismatch(
            kind.group,
            kind.plural,
            &name,
            sent,
            &version,
        )));
    }
    // A namespace's content goes first: a cell empties it and removes it then.
    let id = kind.id();
    let emptied_first = id == "namespaces";
    let propagation = options.propagation.or(emptied_first.then_some(Propagation::Foreground));
    let now = Micros(at.app.host.clock.utc().0);
    let deletion = meta::mark_for_deletion(kind, &mut object, propagation, now);
    if options.dry_run {
        return Ok(Some(Removed::Gone(object)));
    }
    if emptied_first {
        object["status"] = json!({"phase": "Terminating"});
    }
    let outcome = match deletion {
        Deletion::Unchanged => return Ok(Some(Removed::Marked(object))),
        Deletion::Remove => {
            let mut last = object.clone();
            at.seal(&mut last)?;
            at.app.tenants.object_delete(at.grant, row, &last).await
        }
        Deletion::Marked => {
            let mut stored = object.clone();
            at.seal(&mut stored)?;
            at.app.tenants.object_terminate(at.grant, row, &stored).await
        }
    };
    match outcome {
        Ok(revision) => {
            super::change::wake(at, &object);
            meta::set(&mut object, "resourceVersion", revision.to_string());
            Ok(Some(if deletion == Deletion::Remove {
                Removed::Gone(object)
            } else {
                Removed::Marked(object)
            }))
        }
        Err(WriteError::Changed) => Ok(None),
        Err(error) => Err(answer::write_failed(&error)),
    }
}

pub(super) async fn many(at: &At<'_>) -> Outcome {
    let deletes = options(at)?;
    let lists = ListOptions::parse(&at.ask.params).map_err(Box::new)?;
    let selector =
        Selector::parse(at.target.kind, &lists.label_selector, &lists.field_selector).map_err(Box::new)?;
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
            if let Some(Removed::Gone(object) | Removed::Marked(object)) = remove(at, row, &deletes).await? {
                gone.push(object);
            }
        }
        if !page.more {
            let api_version = at.target.kind.api_version(at.target.version.name);
            let shown = Shown::of(at)?;
            let meta = json!({"resourceVersion": page.revision.to_string()});
            let list = shown.list(at.target.kind.kind, &api_version, meta, &gone);
            return Ok(shown.respond(StatusCode::OK, &list));
        }
    }
}
