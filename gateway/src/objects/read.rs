//! Get and list.

use apimachinery::options::{ListOptions, VersionMatch};
use apimachinery::selector::Selector;
use apimachinery::status::Status;
use apimachinery::table::list_meta;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use ring::hmac;
use serde_json::json;
use store::backend::{At as Moment, ReadError, Revision, Row};
use store::object;

use super::{At, Shown, damaged};
use crate::answer::{self, Outcome, Refused};

/// Rows read at once, so that a list with a selector does not hold everything.
const CHUNK: usize = 2000;

pub(super) async fn one(at: &At<'_>) -> Outcome {
    let shown = Shown::of(at)?;
    let row = at.row().await?;
    let asked = ListOptions::parse(&at.ask.params).map_err(Box::new)?.resource_version;
    check_version_floor(at, asked, row.revision)?;
    if shown.as_stored() && !super::is_secret(at.target) {
        let body = object::to_json(&row.body, row.revision).map_err(|_| damaged())?;
        return Ok(answer::bytes(StatusCode::OK, answer::JSON, body));
    }
    let object = at.open(&row)?;
    Ok(shown.respond(StatusCode::OK, &shown.one(object, true)))
}

/// A read that asks for at least a revision that is still to come must wait; it is told when to come back.
fn check_version_floor(at: &At<'_>, asked: Option<u64>, seen: Revision) -> Result<(), Refused> {
    let Some(asked) = asked else { return Ok(()) };
    // Compared in whole microseconds: a JavaScript client rounds what it was given.
    let now = at.app.host.clock.utc().0;
    if revision(asked).micros() > seen.micros().max(now) + 1 {
        return Err(Box::new(Status::too_large_version(&asked.to_string(), &seen.to_string())));
    }
    Ok(())
}

fn revision(version: u64) -> Revision {
    Revision(i64::try_from(version).unwrap_or(i64::MAX))
}

pub(super) async fn many(at: &At<'_>) -> Outcome {
    let shown = Shown::of_list(at)?;
    let options = ListOptions::parse(&at.ask.params).map_err(Box::new)?;
    let selector = Selector::parse(at.target.kind, &options.label_selector, &options.field_selector)
        .map_err(Box::new)?;
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let token = Token::read(at, &options.continue_token)?;
    check_version_floor(at, options.resource_version, Revision(0))?;
    let (moment, mut after) = match (&token, options.version_match, options.resource_version) {
        (Some(token), _, _) => (Moment::Exact(token.revision), token.after.clone()),
        (None, Some(VersionMatch::Exact), Some(version)) => (Moment::Exact(revision(version)), String::new()),
        _ => (Moment::Latest, String::new()),
    };
    let mut found: Vec<Row> = Vec::new();
    let mut seen = None;
    let mut moment = moment;
    let more = loop {
        let want = if limit == 0 { CHUNK } else { (limit - found.len()).min(CHUNK) };
        let kind = at.target.kind.id();
        let page = at
            .app
            .tenants
            .object_list(at.grant, &kind, at.target.namespace.as_deref(), moment, &after, want)
            .await
            .map_err(|error| match error {
                ReadError::Expired => expired(),
                other => answer::read_failed(&other),
            })?;
        moment = Moment::Exact(*seen.get_or_insert(page.revision));
        after = page.rows.last().map_or(after, |row| row.key.key.clone());
        for row in page.rows {
            if selector.is_empty() || selector.matches(&at.open(&row)?) {
                found.push(row);
            }
        }
        if !page.more {
            break false;
        }
        if limit != 0 && found.len() >= limit {
            break true;
        }
    };
    let revision = token.map_or(seen.unwrap_or_default(), |token| token.revision);
    let next = if more { Token { revision, after }.write(at) } else { String::new() };
    answer_list(at, &shown, &found, revision, &next)
}

fn expired() -> Refused {
    Box::new(Status::expired(
        "The provided continue parameter is too old to display a consistent list result.",
    ))
}

fn answer_list(at: &At<'_>, shown: &Shown, rows: &[Row], revision: Revision, next: &str) -> Outcome {
    let meta = list_meta(&revision.to_string(), next, None);
    let api_version = at.target.kind.api_version(at.target.version.name);
    if shown.as_stored() && !super::is_secret(at.target) {
        // The stored documents are put together without being parsed.
        let head = json!({"kind": format!("{}List", at.target.kind.kind), "apiVersion": api_version, "metadata": meta});
        let mut out = head.to_string().into_bytes();
        out.pop();
        out.extend_from_slice(b",\"items\":[");
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend(object::to_json(&row.body, row.revision).map_err(|_| damaged())?);
        }
        out.extend_from_slice(b"]}");
        return Ok(answer::bytes(StatusCode::OK, answer::JSON, out));
    }
    let objects = rows.iter().map(|row| at.open(row)).collect::<Result<Vec<_>, _>>()?;
    Ok(shown.respond(StatusCode::OK, &shown.list(at.target.kind.kind, &api_version, meta, &objects)))
}

/// Where a list goes on. Signed, and bound to tenant, kind and namespace: it cannot be made up or carried over.
struct Token {
    revision: Revision,
    after: String,
}

impl Token {
    fn key(at: &At<'_>) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &at.app.page_key)
    }

    fn bound(&self, at: &At<'_>) -> String {
        let namespace = at.target.namespace.as_deref().unwrap_or("*");
        format!(
            "{}\n{}\n{namespace}\n{}\n{}",
            at.grant.tenant(),
            at.target.kind.id(),
            self.revision,
            self.after
        )
    }

    fn write(&self, at: &At<'_>) -> String {
        let tag = hmac::sign(&Self::key(at), self.bound(at).as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(tag.as_ref());
        URL_SAFE_NO_PAD.encode(json!([self.revision.0, self.after, tag]).to_string())
    }

    fn read(at: &At<'_>, text: &str) -> Result<Option<Self>, Refused> {
        if text.is_empty() {
            return Ok(None);
        }
        let bad = || {
            Box::new(Status::bad_request(
                "continue key is not valid: it was not made by this server for this list",
            ))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let (revision, after, tag): (i64, String, String) =
            serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let token = Self { revision: Revision(revision), after };
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| bad())?;
        hmac::verify(&Self::key(at), token.bound(at).as_bytes(), &tag).map_err(|_| bad())?;
        Ok(Some(token))
    }
}
