//! Server-side apply, and who manages which field.
//!
//! [`track_create`] and [`track_update`] record what a plain write sets; [`apply`] merges what a manager wants. They
//! are called with documents in their stored form: after the schema has pruned and completed them.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::meta;
use crate::schema::Schema;
use crate::status::Status;
use crate::time::Micros;

mod managers;
mod merge;
mod set;
mod typed;

use managers::{Managed, Manager, Managers};
use set::FieldSet;
use typed::{Place, compare, field_set};

/// The manager of what was there before anybody applied.
const BEFORE: &str = "before-first-apply";
/// Its conflicts with what it applied itself on the client's side are none.
const KUBECTL: &str = "kubectl";
/// Where kubectl keeps what it applied on the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Name of the field manager.
    pub manager: &'a str,
    /// Version of the request (`v1`).
    pub version: &'a str,
    /// Subresource of the request, or empty.
    pub subresource: &'a str,
    /// Now.
    pub now: Micros,
}

impl Writer<'_> {
    fn id(&self, kind: &Kind, applies: bool) -> Manager {
        Manager {
            name: self.manager.to_owned(),
            applies,
            api_version: if applies { String::new() } else { kind.api_version(self.version) },
            subresource: self.subresource.to_owned(),
        }
    }
}

/// Records who created `object`. Entries that it brought with it are kept.
pub fn track_create(kind: &Kind, object: &mut Value, writer: &Writer<'_>) {
    let managers = Managers::read(object).unwrap_or_default();
    let nothing = Value::Object(Map::new());
    record(kind, &nothing, object, writer, managers);
}

/// Records what a write has changed. If nothing but the time of an entry would change, nothing does.
pub fn track_update(kind: &Kind, old: &Value, object: &mut Value, writer: &Writer<'_>) {
    let sent = &object["metadata"]["managedFields"];
    let reset = sent.as_array().is_some_and(|list| matches!(list.as_slice(), [one] if *one == json!({})));
    let kept = Managers::read(old).unwrap_or_default();
    let managers = match Managers::read(object) {
        _ if reset => Managers::default(),
        _ if !writer.subresource.is_empty() => kept,
        Some(managers) if !managers.0.is_empty() => managers,
        _ => kept,
    };
    if managers.0.is_empty() {
        // Nobody has applied and nobody is recorded: so it stays until somebody applies.
        meta::unset(object, "managedFields");
        return;
    }
    record(kind, old, object, writer, managers);
    restore_times(old, object);
}

fn record(kind: &Kind, old: &Value, object: &mut Value, writer: &Writer<'_>, mut managers: Managers) {
    let place = Place(Schema::of(kind, writer.version));
    let (set, removed) = compare(place, &without_managed(old), &without_managed(object)).set_and_removed();
    if !managers.0.is_empty() {
        managers.take(&set.union(&removed), None);
    }
    let id = writer.id(kind, false);
    let mut own = Managers::default();
    let api_version = kind.api_version(writer.version);
    own.0.insert(id.clone(), Managed { api_version, fields: set, time: Some(writer.now) });
    own.strip();
    if let Some(mut managed) = own.0.remove(&id) {
        if let Some(previous) = managers.0.remove(&id) {
            managed.fields = managed.fields.union(&previous.fields);
        }
        managers.0.insert(id, managed);
    }
    managers.strip();
    managers.cap();
    store(object, &managers);
}

/// Merges what a manager wants (`config`) into the stored object, or makes a new one of it. The answer is the object
/// to be completed, checked and stored; with nothing to change it equals `live`.
///
/// # Errors
/// 400 when `config` doesn't fit the schema or names managers, 409 with every conflict unless `force`.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    if config["metadata"].get("managedFields").is_some_and(|m| !m.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let place = Place(Schema::of(kind, writer.version));
    if let Some(fault) = typed::fault(place, config, "") {
        let api_version = kind.api_version(writer.version);
        return Err(Status::bad_request(format!(
            "failed to create typed patch object ({}/{}; {api_version}, Kind={}): {fault}",
            meta::namespace(config),
            meta::name(config),
            kind.kind
        )));
    }
    let config = part(kind, config, writer);
    let nothing = json!({"apiVersion": config["apiVersion"], "kind": config["kind"]});
    let old = live.unwrap_or(&nothing);
    let mut managers = Managers::read(old).unwrap_or_default();
    if let (true, Some(live)) = (managers.0.is_empty(), live) {
        managers = before_first(kind, live, writer);
    }
    let request = Request { kind, place, old: without_managed(old).into_owned(), config, writer };
    let (mut object, managers) = match request.run(managers.clone(), force) {
        Err(conflicts) if writer.manager == KUBECTL && request.are_its_own(&conflicts) => {
            request.run(managers, true).map_err(|conflicts| refuse(&conflicts))?
        }
        outcome => outcome.map_err(|conflicts| refuse(&conflicts))?,
    };
    if writer.manager == KUBECTL && live.is_some_and(|live| meta::annotation(live, LAST_APPLIED).is_some()) {
        let text = format!("{}\n", request.config);
        meta::set_annotation(&mut object, LAST_APPLIED, text);
    }
    store(&mut object, &managers);
    if let Some(live) = live {
        restore_times(live, &mut object);
    }
    Ok(object)
}

/// Only the part of an applied document that the request may set.
fn part(kind: &Kind, config: &Value, writer: &Writer<'_>) -> Value {
    let mut config = config.clone();
    if let Some(map) = config.as_object_mut() {
        if writer.subresource == "status" {
            map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            let name = map.get("metadata").map(|m| m["name"].clone()).filter(|n| !n.is_null());
            map.insert("metadata".to_owned(), name.map_or_else(|| json!({}), |name| json!({ "name": name })));
        } else if kind.has_status() {
            map.remove("status");
        }
    }
    for member in ["resourceVersion", "managedFields"] {
        meta::unset(&mut config, member);
    }
    config
}

fn before_first(kind: &Kind, live: &Value, writer: &Writer<'_>) -> Managers {
    let mut object = without_managed(live).into_owned();
    let nobody = Writer { manager: BEFORE, subresource: "", ..*writer };
    track_create(kind, &mut object, &nobody);
    Managers::read(&object).unwrap_or_default()
}

type Conflicts = Vec<(Manager, FieldSet)>;

fn refuse(conflicts: &Conflicts) -> Status {
    let causes: Vec<(String, String)> = conflicts
        .iter()
        .flat_map(|(manager, fields)| fields.paths().into_iter().map(move |path| (manager.shown(), path)))
        .collect();
    Status::apply_conflict(&causes)
}

struct Request<'a> {
    kind: &'a Kind,
    place: Place,
    old: Value,
    config: Value,
    writer: &'a Writer<'a>,
}

impl Request<'_> {
    fn run(&self, mut managers: Managers, force: bool) -> Result<(Value, Managers), Conflicts> {
        let id = self.writer.id(self.kind, true);
        let last = managers.0.remove(&id);
        let set = field_set(self.place, &self.config);
        let merged = merge::merge(self.place, &self.old, &self.config);
        let mut time = last.as_ref().and_then(|last| last.time);
        let object = match &last {
            Some(last) if !last.fields.is_empty() => self.prune(merged, &last.fields, &set, &managers),
            _ => merged,
        };
        let (changed, removed) = compare(self.place, &self.old, &object).set_and_removed();
        let conflicts: Conflicts = managers
            .0
            .iter()
            .map(|(manager, managed)| (manager.clone(), managed.fields.intersection(&changed)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        managers.take(&changed.union(&removed), None);
        if object != self.old {
            time = Some(self.writer.now);
        }
        let api_version = self.kind.api_version(self.writer.version);
        managers.0.insert(id, Managed { api_version, fields: set, time });
        managers.strip();
        managers.cap();
        Ok((object, managers))
    }

    /// Removes what the manager set last time and doesn't now, unless somebody else manages it.
    fn prune(&self, merged: Value, last: &FieldSet, set: &FieldSet, managers: &Managers) -> Value {
        let place = self.place;
        let whole = |set: &FieldSet| set.with_parents(place, &Place::declares, &Place::enter);
        let fields = |value: &Value| whole(&field_set(place, value));
        let mut pruned = merge::remove(place, &merged, &whole(last)).unwrap_or_else(|| json!({}));
        let managed = managers.0.values().fold(set.clone(), |all, managed| all.union(&managed.fields));
        // What is managed comes back, with what it stands in.
        let gone = fields(&merged).difference(&fields(&pruned).union(&whole(&managed)));
        pruned = merge::remove(place, &merged, &gone).unwrap_or_else(|| json!({}));
        // And so does what the manager never had.
        let gone = fields(&merged).difference(&fields(&pruned)).intersection(&whole(last));
        merge::remove(place, &merged, &gone).unwrap_or_else(|| json!({}))
    }

    /// All conflicts are about fields that kubectl applied on the client's side and that are as it left them.
    fn are_its_own(&self, conflicts: &Conflicts) -> bool {
        let applied =
            meta::annotation(&self.old, LAST_APPLIED).and_then(|text| serde_json::from_str(text).ok());
        let Some(applied): Option<Value> = applied else { return false };
        let (set, removed) = compare(self.place, &applied, &self.old).set_and_removed();
        let allowed = field_set(self.place, &applied).difference(&set).difference(&removed);
        conflicts.iter().all(|(_, fields)| fields.difference(&allowed).is_empty())
    }
}

fn without_managed(object: &Value) -> Cow<'_, Value> {
    if object["metadata"].get("managedFields").is_none() {
        return Cow::Borrowed(object);
    }
    let mut out = object.clone();
    meta::unset(&mut out, "managedFields");
    Cow::Owned(out)
}

fn store(object: &mut Value, managers: &Managers) {
    if managers.0.is_empty() {
        meta::unset(object, "managedFields");
    } else {
        meta::set(object, "managedFields", managers.write());
    }
}

/// When nothing changed but the times of entries, the old entries stay.
fn restore_times(old: &Value, object: &mut Value) {
    let timeless = |object: &Value| -> Value {
        let mut out = object.clone();
        meta::unset(&mut out, "resourceVersion");
        for entry in out["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        if let Some(list) = out["metadata"]["managedFields"].as_array_mut() {
            list.sort_by_key(Value::to_string);
        }
        out
    };
    if timeless(old) == timeless(object)
        && let Some(entries) = old["metadata"].get("managedFields")
    {
        meta::set(object, "managedFields", entries.clone());
    }
}

#[cfg(test)]
mod tests;
