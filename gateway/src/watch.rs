//! Watches: the current state where asked for, then every change in order, a JSON object a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::options::ListOptions;
use apimachinery::selector::Selector;
use apimachinery::status::Status;
use axum::body::{Body, Bytes};
use base::host::{Either, Mono, race};
use http::StatusCode;
use serde_json::{Value, json};
use store::backend::{At, Bell, Change, ChangeKind, ReadError, Revision, RowKey, Table};
use store::object;
use tenancy::access::Grant;

use crate::answer::{self, Outcome};
use crate::app::App;
use crate::entry::Ask;
use crate::objects::{self, Shown};
use crate::route::Objects;

/// A watch that names no end lasts this long: tkn does not come back when its watch ends.
const DEFAULT_LIFE: Duration = Duration::from_secs(45 * 60);
/// Bookmarks keep an idle client from falling behind what is kept.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Should a bell be lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const CHANGES_AT_ONCE: usize = 200;
const LIST_AT_ONCE: usize = 500;
/// A last bookmark comes this long before the end, so that a client can go on from there.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// No revision is older (2020-01-01): what a client says that it has seen before is surely no longer kept.
const FIRST_REVISION: Revision = Revision(1_577_836_800_000_000_000);
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Opens a watch.
///
/// # Errors
/// A Status, when it is not opened.
pub async fn serve(app: &Arc<App>, grant: Grant, ask: &Ask, target: &Objects) -> Outcome {
    let options = ListOptions::parse(&ask.params).map_err(Box::new)?;
    let mut fields = options.field_selector.clone();
    if let Some(name) = &target.name {
        // An old-style path names the object; a selector says the same.
        fields = format!("metadata.name={name}");
    }
    let selector = Selector::parse(target.kind, &options.label_selector, &fields).map_err(Box::new)?;
    let now = app.host.clock.utc().0;
    let shown = Shown::negotiate(ask.accept(), ask.params.get("includeObject"), target, now)?;
    let from =
        options.resource_version.filter(|v| *v != 0).map(|v| Revision(i64::try_from(v).unwrap_or(i64::MAX)));
    let initial = options.send_initial_events == Some(true)
        || (from.is_none() && options.send_initial_events != Some(false));
    let life = options.timeout_s.map_or(DEFAULT_LIFE, Duration::from_secs);
    let as_stored = shown.as_stored() && selector.is_empty() && !objects::is_secret(target);
    let bell = app.tenants.bell(&grant, &target.kind.id());
    app.counts.watches.inc();
    let mono = app.host.clock.mono();
    let mut watch = Watch {
        app: app.clone(),
        grant,
        target: target.clone(),
        selector,
        shown,
        as_stored,
        bookmarks: options.bookmarks,
        bell,
        after: from.unwrap_or_default(),
        ready: VecDeque::new(),
        ends_after: life,
        began: mono,
        bookmarked: mono,
        headings: true,
        last_bookmark: false,
        ended: false,
    };
    if initial {
        watch.begin(options.send_initial_events == Some(true)).await?;
    } else if from.is_none() {
        watch.after = app
            .tenants
            .object_list(&watch.grant, &target.kind.id(), Some("\u{1}"), At::Latest, "", 1)
            .await
            .map_err(|e| answer::read_failed(&e))?
            .revision;
    }
    let stream = futures_util::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), watch))
    });
    let mut response = answer::bytes(StatusCode::OK, answer::JSON, Vec::new());
    *response.body_mut() = Body::from_stream(stream);
    Ok(response)
}

struct Watch {
    app: Arc<App>,
    grant: Grant,
    target: Objects,
    selector: Selector,
    shown: Shown,
    /// Everything is shown, as it is in its row: an informer's watch. Nothing needs to be parsed for it.
    as_stored: bool,
    bookmarks: bool,
    bell: Box<dyn Bell>,
    after: Revision,
    ready: VecDeque<Bytes>,
    ends_after: Duration,
    began: Mono,
    bookmarked: Mono,
    headings: bool,
    last_bookmark: bool,
    ended: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.app.counts.watches.dec();
    }
}

impl Watch {
    /// The current state, as ADDED events; with a bookmark at its end when the client asked for that.
    async fn begin(&mut self, marked: bool) -> Result<(), crate::answer::Refused> {
        let kind = self.target.kind.id();
        let (mut after, mut moment) = (String::new(), At::Latest);
        loop {
            let namespace = self.target.namespace.as_deref();
            let page = self
                .app
                .tenants
                .object_list(&self.grant, &kind, namespace, moment, &after, LIST_AT_ONCE)
                .await;
            let page = page.map_err(|e| answer::read_failed(&e))?;
            moment = At::Exact(page.revision);
            self.after = page.revision;
            after = page.rows.last().map_or(after, |row| row.key.key.clone());
            for row in &page.rows {
                if self.as_stored {
                    self.raw("ADDED", &row.body, row.revision).map_err(|_| objects::damaged())?;
                    continue;
                }
                let object = objects::open(&self.app, &self.grant, &self.target, row)?;
                if self.selector.matches(&object) {
                    self.push("ADDED", object);
                }
            }
            if !page.more {
                break;
            }
        }
        if marked {
            self.bookmark(true);
        }
        Ok(())
    }

    /// The next line; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let now = self.app.host.clock.mono();
            let left = self.ends_after.saturating_sub(now.since(self.began));
            if self.ended || left.is_zero() {
                return None;
            }
            if self.bookmarks && self.next_bookmark(left).is_zero() {
                self.last_bookmark |= left <= LAST_BOOKMARK;
                self.bookmark(false);
                continue;
            }
            if self.after < FIRST_REVISION {
                self.expire();
                continue;
            }
            match self
                .app
                .tenants
                .changes(&self.grant, &self.target.kind.id(), self.after, CHANGES_AT_ONCE)
                .await
            {
                Ok(changes) => {
                    for change in &changes.changes {
                        self.change(change);
                    }
                    self.after = self.after.max(changes.progress);
                    if self.ready.is_empty() {
                        let bookmark = if self.bookmarks { self.next_bookmark(left) } else { left };
                        let wait = self.app.host.clock.sleep(LOOK_EVERY.min(left).min(bookmark));
                        if let Either::Right(()) = race(self.bell.rung(), wait).await {}
                    }
                }
                Err(ReadError::Expired) => self.expire(),
                Err(ReadError::Unavailable(_)) => self.app.host.clock.sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Until the next bookmark.
    fn next_bookmark(&self, left: Duration) -> Duration {
        let regular = BOOKMARK_EVERY.saturating_sub(self.app.host.clock.mono().since(self.bookmarked));
        let last = left.saturating_sub(LAST_BOOKMARK);
        if self.last_bookmark { regular } else { regular.min(last) }
    }

    /// What the client has seen is no longer kept.
    fn expire(&mut self) {
        let oldest = self.app.host.clock.utc().0 * 1000;
        let status = Status::too_old(&self.after.to_string(), &oldest.to_string());
        self.line(&json!({"type": "ERROR", "object": status.to_value()}));
        self.ended = true;
    }

    fn change(&mut self, change: &Change) {
        if let Some(namespace) = &self.target.namespace
            && !change.key.starts_with(&format!("{namespace}/"))
        {
            return;
        }
        if self.as_stored {
            let kind = match change.kind {
                ChangeKind::Created => "ADDED",
                ChangeKind::Updated => "MODIFIED",
                ChangeKind::Deleted => "DELETED",
            };
            if let Err(error) = self.raw(kind, &change.body, change.revision) {
                tracing::error!(key = %change.key, %error, "a change cannot be read");
            }
            return;
        }
        let Some(object) = self.document(&change.body, change) else { return };
        let is = self.selector.matches(&object);
        let was = match (&change.kind, &change.prev) {
            (ChangeKind::Created, _) => false,
            (_, Some(prev)) => self.document(prev, change).is_some_and(|old| self.selector.matches(&old)),
            // Nothing that can be selected by has changed.
            (_, None) => is,
        };
        match (&change.kind, was, is) {
            (ChangeKind::Deleted, was, is) if was || is => self.push("DELETED", object),
            (ChangeKind::Created, _, true) | (ChangeKind::Updated, false, true) => self.push("ADDED", object),
            (ChangeKind::Updated, true, true) => self.push("MODIFIED", object),
            (ChangeKind::Updated, true, false) => {
                // It is shown as it was, under the revision at which it left.
                let old = change.prev.as_ref().and_then(|prev| self.document(prev, change));
                self.push("DELETED", old.unwrap_or(object));
            }
            _ => {}
        }
    }

    fn document(&self, body: &Bytes, change: &Change) -> Option<Value> {
        let row = store::backend::Row {
            key: RowKey::new(Table::Object, "", change.key.clone()),
            revision: change.revision,
            owner: None,
            body: body.clone(),
        };
        let opened = objects::open(&self.app, &self.grant, &self.target, &row);
        opened.ok().or_else(|| object::of_row(&row).ok())
    }

    fn push(&mut self, kind: &str, object: Value) {
        let object = self.shown.one(object, std::mem::take(&mut self.headings));
        self.line(&json!({"type": kind, "object": object}));
    }

    /// An event with an object as it is stored.
    fn raw(&mut self, kind: &str, body: &[u8], revision: Revision) -> Result<(), object::Damaged> {
        let object = object::to_json(body, revision)?;
        let line = [b"{\"type\":\"", kind.as_bytes(), b"\",\"object\":", &object, b"}\n"].concat();
        self.ready.push_back(line.into());
        Ok(())
    }

    fn bookmark(&mut self, initial_end: bool) {
        self.bookmarked = self.app.host.clock.mono();
        let mut metadata = json!({"resourceVersion": self.after.to_string()});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let api_version = self.target.kind.api_version(self.target.version.name);
        let object = json!({"kind": self.target.kind.kind, "apiVersion": api_version, "metadata": metadata});
        self.push("BOOKMARK", object);
    }

    fn line(&mut self, event: &Value) {
        let mut text = event.to_string();
        text.push('\n');
        self.ready.push_back(Bytes::from(text));
    }
}
