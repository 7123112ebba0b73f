//! Create, update and patch.

use apimachinery::accept as types;
use apimachinery::meta::{self, Birth, Part};
use apimachinery::options::{Write, WriteOptions};
use apimachinery::patch::{JsonPatch, apply_merge, apply_strategic};
use apimachinery::schema::{self, Required};
use apimachinery::status::Status;
use apimachinery::time::Micros;
use apimachinery::{accept, decode};
use axum::body::Body;
use http::{Response, StatusCode, header};
use serde_json::Value;
use store::backend::Revision;
use store::cell::CELL;
use store::tenant::WriteError;

use super::{At, Shown};
use crate::admit;
use crate::answer::{self, Outcome, Refused};

/// A generated name that is taken is tried again so often.
const NAME_TRIES: usize = 8;
/// A patch without a resourceVersion is applied again to what is there now so often.
const PATCH_TRIES: usize = 30;

pub(super) async fn create(at: &At<'_>) -> Outcome {
    let kind = at.target.kind;
    if let Some(sub) = &at.target.subresource {
        return Err(Box::new(Status::method_not_supported(
            kind.group,
            &format!("{}/{sub}", kind.plural),
            "create",
        )));
    }
    if kind.namespaced() && at.namespace().is_empty() {
        return Err(Box::new(Status::method_not_allowed()));
    }
    let options = WriteOptions::parse(Write::Create, &at.ask.params).map_err(Box::new)?;
    let (mut object, mut warnings) = decoded(at, &options)?;
    let asked = meta::name(&object).to_owned();
    for attempt in 1.. {
        let mut candidate = object.clone();
        birth(at, &mut candidate)?;
        let around = at
            .app
            .tenants
            .surroundings(at.grant, at.namespace())
            .await
            .map_err(|e| answer::read_failed(&e))?;
        if kind.namespaced() && !around.namespace {
            return Err(Box::new(Status::not_found("", "namespaces", at.namespace())));
        }
        warnings.extend(admit::create(at, &mut candidate, &around)?);
        schema::validate(kind, at.target.version.name, &candidate, Part::Main, Required::Loose)
            .map_err(Box::new)?;
        if options.dry_run {
            return respond(at, StatusCode::CREATED, candidate, None, &warnings);
        }
        let mut stored = candidate.clone();
        at.seal(&mut stored)?;
        match at.app.tenants.object_create(at.grant, &kind.id(), &stored).await {
            Ok(revision) => {
                wake(at, &candidate);
                return respond(at, StatusCode::CREATED, candidate, Some(revision), &warnings);
            }
            Err(WriteError::Exists) if asked.is_empty() && attempt < NAME_TRIES => {}
            Err(WriteError::Exists) => {
                let name = meta::name(&candidate);
                return Err(Box::new(Status::already_exists(kind.group, kind.plural, name)));
            }
            Err(error) => return Err(answer::write_failed(&error)),
        }
        meta::unset(&mut object, "uid");
        warnings.clear();
    }
    Err(Box::new(Status::internal("no name is free")))
}

/// The body, in stored form.
fn decoded(at: &At<'_>, options: &WriteOptions) -> Result<(Value, Vec<String>), Refused> {
    crate::reviews::body_or(at.ask)?;
    let content_type = at.ask.header(header::CONTENT_TYPE);
    let decoded = decode::object(at.target.kind, content_type, &at.ask.body).map_err(Box::new)?;
    let mut object = decoded.value;
    let version = at.target.version.name;
    meta::check_type(at.target.kind, version, &object).map_err(Box::new)?;
    admit::fold(at.target.kind, &mut object)?;
    let warnings =
        schema::conform(at.target.kind, version, &mut object, &decoded.duplicates, options.field_validation)
            .map_err(Box::new)?;
    Ok((object, warnings))
}

fn birth(at: &At<'_>, object: &mut Value) -> Result<(), Refused> {
    let host = &at.app.host;
    let mut random = [0; 5];
    host.entropy.fill(&mut random);
    let uid = host.uuid();
    let birth = Birth { namespace: at.namespace(), uid: &uid, now: Micros(host.clock.utc().0), random };
    meta::prepare_create(at.target.kind, object, &birth).map_err(Box::new)
}

pub(super) async fn update(at: &At<'_>) -> Outcome {
    let options = WriteOptions::parse(Write::Update, &at.ask.params).map_err(Box::new)?;
    let (object, warnings) = decoded(at, &options)?;
    let name = meta::name(&object);
    if !name.is_empty() && name != at.name() {
        return Err(Box::new(Status::name_mismatch(name, at.name())));
    }
    let row = at.row().await?;
    let old = at.open(&row)?;
    let custom = at.target.kind.custom;
    meta::check_version(at.target.kind, &object, &old, custom).map_err(Box::new)?;
    match replace(at, &row, &old, object, &options, warnings).await? {
        Some(response) => Ok(response),
        None => Err(Box::new(Status::modified(at.target.kind.group, at.target.kind.plural, at.name()))),
    }
}

pub(super) async fn patch(at: &At<'_>) -> Outcome {
    let kind = at.target.kind;
    let content_type = at.ask.header(header::CONTENT_TYPE).and_then(accept::clause).map(|c| c.media_type);
    let content_type = content_type.unwrap_or_default();
    let known = if kind.custom { types::PATCH_TYPES } else { types::CORE_PATCH_TYPES };
    if !known.contains(&content_type.as_str()) || content_type == types::APPLY_PATCH {
        return Err(Box::new(Status::unsupported_media_type(known)));
    }
    let options = WriteOptions::parse(Write::Patch, &at.ask.params).map_err(Box::new)?;
    let body = decode::patch(&at.ask.body, false).map_err(Box::new)?.value;
    for _ in 0..PATCH_TRIES {
        let row = at.row().await?;
        let old = at.open(&row)?;
        let mut new = old.clone();
        match content_type.as_str() {
            types::JSON_PATCH => JsonPatch::parse(&body).and_then(|p| p.apply(&mut new)).map_err(Box::new)?,
            types::MERGE_PATCH => apply_merge(&mut new, &body).map_err(Box::new)?,
            _ => apply_strategic(&mut new, &body).map_err(Box::new)?,
        }
        // A patch that names a resourceVersion is meant for that one.
        meta::check_version(kind, &new, &old, false).map_err(Box::new)?;
        let version = at.target.version.name;
        meta::check_type(kind, version, &new).map_err(Box::new)?;
        admit::fold(kind, &mut new)?;
        let warnings =
            schema::conform_patched(kind, version, &mut new, options.field_validation).map_err(Box::new)?;
        if let Some(response) = replace(at, &row, &old, new, &options, warnings).await? {
            return Ok(response);
        }
    }
    Err(Box::new(Status::modified(kind.group, kind.plural, at.name())))
}

/// Puts `new` in the place of `old`; `None` when somebody else was faster.
async fn replace(
    at: &At<'_>,
    row: &store::backend::Row,
    old: &Value,
    mut new: Value,
    options: &WriteOptions,
    mut warnings: Vec<String>,
) -> Result<Option<Response<Body>>, Refused> {
    let kind = at.target.kind;
    let part = if at.target.subresource.as_deref() == Some("status") { Part::Status } else { Part::Main };
    meta::prepare_update(kind, &mut new, old, part).map_err(Box::new)?;
    if part == Part::Main {
        let around = at
            .app
            .tenants
            .surroundings(at.grant, at.namespace())
            .await
            .map_err(|e| answer::read_failed(&e))?;
        warnings.extend(admit::update(at, &mut new, old, &around)?);
    }
    schema::validate(kind, at.target.version.name, &new, part, Required::Loose).map_err(Box::new)?;
    if options.dry_run || meta::unchanged(&new, old) {
        return respond(at, StatusCode::OK, new, Some(row.revision), &warnings).map(Some);
    }
    let mut stored = new.clone();
    at.seal(&mut stored)?;
    let written = if meta::is_finished(&new) {
        at.app.tenants.object_delete(at.grant, row, &stored).await
    } else {
        at.app.tenants.object_replace(at.grant, row, &stored).await
    };
    match written {
        Ok(revision) => {
            wake(at, &new);
            respond(at, StatusCode::OK, new, Some(revision), &warnings).map(Some)
        }
        Err(WriteError::Changed) => Ok(None),
        Err(error) => Err(answer::write_failed(&error)),
    }
}

/// The cell that a write concerns looks at once.
pub(super) fn wake(at: &At<'_>, object: &Value) {
    if let Some(cell) = meta::annotation(object, CELL) {
        at.app.wake(cell);
    }
}

fn respond(
    at: &At<'_>,
    code: StatusCode,
    mut object: Value,
    revision: Option<Revision>,
    warnings: &[String],
) -> Outcome {
    if let Some(revision) = revision {
        meta::set(&mut object, "resourceVersion", revision.to_string());
    }
    let shown = Shown::of(at)?;
    let mut response = shown.respond(code, &shown.one(object, true));
    answer::warn(&mut response, warnings);
    Ok(response)
}
