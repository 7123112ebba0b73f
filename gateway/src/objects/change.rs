//! Create, update and patch. What a write does to an object is `apimachinery::write`'s; reading what is there, asking
//! admission, storing, and trying again when somebody else was faster is done here.

use apimachinery::meta;
use apimachinery::names::SUFFIX_LEN;
use apimachinery::status::Status;
use apimachinery::time::Micros;
use apimachinery::write::{Admission, Effect, Prepared, Request};
use http::{StatusCode, header};
use serde_json::Value;
use store::backend::Row;
use store::cell::CELL;
use store::quota::COUNTED;
use store::tenant::{Surroundings, WriteError};

use super::{At, Shown};
use crate::admit::{self, Admit};
use crate::answer::{self, Outcome, Refused};

/// A generated name that is taken is tried again so often.
const NAME_TRIES: usize = 8;
/// A write that may be meant for whatever is there is prepared again so often.
const TRIES: usize = 50;

/// What a tenant's limit on runs is called.
const QUOTA: &str = "cella-runs";

/// Which write it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Create,
    Update,
    Patch,
}

/// What a request gets that was not in it.
struct Fresh {
    uid: String,
    random: [u8; SUFFIX_LEN],
    now: Micros,
}

pub(super) async fn create(at: &At<'_>) -> Outcome {
    write(at, Write::Create).await
}

pub(super) async fn update(at: &At<'_>) -> Outcome {
    write(at, Write::Update).await
}

pub(super) async fn patch(at: &At<'_>) -> Outcome {
    write(at, Write::Patch).await
}

async fn write(at: &At<'_>, write: Write) -> Outcome {
    let shown = Shown::of(at)?;
    let mut names = 0;
    for _ in 0..TRIES {
        let row = if write == Write::Create { None } else { at.find(at.name()).await? };
        let stored = row.as_ref().map(|row| at.open_stored(row)).transpose()?;
        let old = match &stored {
            Some(stored) if !at.is_stored_version() => Some(at.shown(stored.clone())?),
            _ => None,
        };
        let around = at.surroundings().await?;
        let mut prepared = prepare(at, write, old.as_ref().or(stored.as_ref()), &around)?;
        if prepared.effect == Effect::Create {
            beside_its_volume(at, &mut prepared.object, &around).await?;
        }
        match carry_out(at, row.as_ref(), stored.as_ref(), prepared, &around).await? {
            Done::Answer { code, object, row, warnings } => {
                let mut response = match row.filter(|_| shown.as_stored()) {
                    Some(row) => {
                        let body = store::object::to_json(&row.body, row.revision);
                        answer::bytes(code, answer::JSON, body.map_err(|_| super::damaged())?)
                    }
                    None => shown.respond(code, &shown.one(object, true)),
                };
                answer::warn(&mut response, &warnings);
                return Ok(response);
            }
            Done::Taken { name, generated } => {
                names += 1;
                if write == Write::Create && (!generated || names == NAME_TRIES) {
                    return Err(taken(at, &name, generated).await);
                }
            }
            Done::Overtaken => {}
        }
    }
    Err(Box::new(Status::modified(at.target.kind.group, at.target.kind.plural, at.name())))
}

/// The object that the request asks for.
fn prepare(
    at: &At<'_>,
    write: Write,
    old: Option<&Value>,
    around: &Surroundings,
) -> Result<Prepared, Refused> {
    let host = &at.app.host;
    let mut fresh = Fresh { uid: host.uuid(), random: [0; SUFFIX_LEN], now: Micros(host.clock.utc().0) };
    host.entropy.fill(&mut fresh.random);
    let admit = Admit::new(at, around);
    let admission = Admission {
        change: &|object, old| admit.change(object, old),
        check: &|object, old| admit.check(object, old),
        required: admit.required(),
    };
    let request = Request {
        kind: at.target.kind,
        version: at.target.version.name,
        namespace: at.namespace(),
        name: at.name(),
        part: at.part(),
        params: &at.ask.params,
        content_type: at.ask.header(header::CONTENT_TYPE),
        user_agent: at.ask.user_agent(),
        body: &at.ask.body,
        uid: &fresh.uid,
        random: fresh.random,
        now: fresh.now,
    };
    let prepared = match write {
        Write::Create => request.create(&admission),
        Write::Update => request.update(old, &admission),
        Write::Patch => request.patch(old, &admission),
    };
    prepared.map_err(Box::new)
}

/// Places a run that names a claim again, when the claim's volume is in a cell already: it stays there.
async fn beside_its_volume(at: &At<'_>, run: &mut Value, around: &Surroundings) -> Result<(), Refused> {
    if meta::annotation(run, CELL).is_none() {
        return Ok(());
    }
    let names: Vec<String> = admit::claims(run).map(str::to_owned).collect();
    for claim in names {
        let found =
            at.app.tenants.object_get(at.grant, "persistentvolumeclaims", at.namespace(), &claim).await;
        let found = found.map_err(|error| answer::read_failed(&error))?;
        let found = found.as_ref().map(|row| at.open(row)).transpose()?;
        if let Some(cell) = found.as_ref().and_then(|claim| meta::annotation(claim, CELL)) {
            admit::place(at, run, around, Some((claim, cell.to_owned())))?;
            return Ok(());
        }
    }
    Ok(())
}

/// What became of a write.
enum Done {
    /// It is done, or there was nothing to do.
    Answer {
        code: StatusCode,
        object: Value,
        /// Its row, where that has the object as it is.
        row: Option<Row>,
        warnings: Vec<String>,
    },
    /// There is one of that name.
    Taken { name: String, generated: bool },
    /// Somebody else was faster.
    Overtaken,
}

/// `old` is what is in `row`, as it is stored.
async fn carry_out(
    at: &At<'_>,
    row: Option<&Row>,
    old: Option<&Value>,
    prepared: Prepared,
    around: &Surroundings,
) -> Result<Done, Refused> {
    let Prepared { mut object, effect, dry_run, generates_name: generated, warnings } = prepared;
    let code = if effect == Effect::Create { StatusCode::CREATED } else { StatusCode::OK };
    let name = meta::name(&object).to_owned();
    if dry_run {
        if effect == Effect::Create {
            if at.find(&name).await?.is_some() {
                return Ok(Done::Taken { name, generated });
            }
            has_room(at, &object, around).await?;
        }
        return Ok(Done::Answer { code, object, row: None, warnings });
    }
    let began_us = at.app.host.clock.utc().0;
    let sealed = at.sealed(&object, old)?;
    let stored = sealed.as_ref().unwrap_or(&object);
    let tenants = &at.app.tenants;
    let written = match (effect, row, old) {
        (Effect::Nothing, _, _) => return Ok(Done::Answer { code, object, row: None, warnings }),
        (Effect::Create, _, _) => {
            tenants.object_create(at.grant, &at.target.kind.id(), stored, around).await.map(Some)
        }
        (Effect::Replace, Some(row), Some(old)) => {
            tenants.object_replace(at.grant, row, old, stored).await.map(Some)
        }
        (Effect::Remove, Some(row), Some(old)) => {
            tenants.object_delete(at.grant, row, old).await.map(|_| None)
        }
        (Effect::Replace | Effect::Remove, _, _) => Err(WriteError::Changed),
    };
    match written {
        Ok(row) => {
            wake(at, &object);
            if effect == Effect::Create {
                crate::trace::submitted(at, &object, began_us);
            }
            if let Some(row) = &row {
                meta::set(&mut object, "resourceVersion", row.revision.to_string());
            }
            Ok(Done::Answer { code, object, row: row.filter(|_| sealed.is_none()), warnings })
        }
        Err(WriteError::Exists) => Ok(Done::Taken { name, generated }),
        Err(WriteError::Changed) => Ok(Done::Overtaken),
        Err(WriteError::Quota) => Err(exceeded(at, &name, around, counted(at).await?)),
        Err(error) => Err(answer::write_failed(&error)),
    }
}

/// Whether a run that is only tried would have a place.
async fn has_room(at: &At<'_>, object: &Value, around: &Surroundings) -> Result<(), Refused> {
    if meta::annotation(object, COUNTED).is_none() {
        return Ok(());
    }
    let used = counted(at).await?;
    if used < limit(around) { Ok(()) } else { Err(exceeded(at, meta::name(object), around, used)) }
}

async fn counted(at: &At<'_>) -> Result<i64, Refused> {
    at.app.tenants.runs_counted(at.grant).await.map_err(|error| answer::read_failed(&error))
}

fn limit(around: &Surroundings) -> i64 {
    around.tenant.as_ref().and_then(|tenant| tenant.runs_max).map_or(i64::MAX, i64::from)
}

/// The refusal of a run beyond what the tenant may have, in the words of a ResourceQuota.
fn exceeded(at: &At<'_>, name: &str, around: &Surroundings, used: i64) -> Refused {
    let limited = limit(around);
    let what =
        format!("exceeded quota: {QUOTA}, requested: runs=1, used: runs={used}, limited: runs={limited}");
    let status = Status::forbidden(at.target.kind.group, at.target.kind.plural, name, &what);
    let way_out =
        "it counts runs that have not ended; wait for one, cancel or delete one, or ask the operator";
    Box::new(status.hinting("", way_out))
}

/// The refusal of a create whose name is taken.
async fn taken(at: &At<'_>, name: &str, generated: bool) -> Refused {
    let (group, plural) = (at.target.kind.group, at.target.kind.plural);
    if generated {
        return Box::new(Status::generated_name_exists(group, plural, name));
    }
    let there = match at.find(name).await {
        Ok(row) => row.and_then(|row| at.open(&row).ok()),
        Err(refused) => return refused,
    };
    Box::new(if there.is_some_and(|object| meta::is_deleting(&object)) {
        Status::exists_being_deleted(group, plural, name)
    } else {
        Status::already_exists(group, plural, name)
    })
}

/// The cell that a write concerns looks at once.
pub(super) fn wake(at: &At<'_>, object: &Value) {
    if let Some(cell) = meta::annotation(object, CELL) {
        at.app.wake(cell);
    }
}
