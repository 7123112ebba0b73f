//! The entries of `metadata.managedFields`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use crate::field_error::quote;
use crate::time::Micros;

/// More managers that only update are merged, the oldest first.
const UPDATERS_MAX: usize = 10;
/// The name of managers that were merged.
const ANCIENT: &str = "ancient-changes";

/// Who manages fields. An applier is the same in every version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Manager {
    pub(super) name: String,
    /// Through server-side apply.
    pub(super) applies: bool,
    /// Empty when it applies.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Manager {
    /// As in the message about a conflict.
    pub(super) fn shown(&self) -> String {
        let mut out = quote(&self.name);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", quote(&self.subresource)));
        }
        if !self.applies {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// What a manager manages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Managed {
    /// The version in which the paths are meant.
    pub(super) api_version: String,
    pub(super) fields: FieldSet,
    pub(super) time: Option<Micros>,
}

/// All managers of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Managers(pub(super) BTreeMap<Manager, Managed>);

impl Managers {
    /// Reads `metadata.managedFields`. [`None`]: an entry is damaged.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let mut out = BTreeMap::new();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
            let applies = match entry["operation"].as_str() {
                Some("Apply") => true,
                Some("Update") => false,
                _ => return None,
            };
            if entry["fieldsType"] != "FieldsV1" {
                return None;
            }
            let api_version = text("apiVersion");
            let manager = Manager {
                name: text("manager"),
                applies,
                api_version: if applies { String::new() } else { api_version.clone() },
                subresource: text("subresource"),
            };
            let time = entry["time"].as_str().and_then(Micros::parse);
            let none = Value::Object(Map::new());
            let fields = FieldSet::from_value(entry.get("fieldsV1").unwrap_or(&none))?;
            out.insert(manager, Managed { api_version, fields, time });
        }
        Some(Self(out))
    }

    /// The entries, in their fixed order: appliers first, then by time and name.
    pub(super) fn write(&self) -> Value {
        let mut entries: Vec<(&Manager, &Managed)> = self.0.iter().collect();
        entries.sort_by_key(|(manager, managed)| {
            let seconds = managed.time.map_or(0, |t| t.0.div_euclid(1_000_000));
            (!manager.applies, seconds, &manager.name, &managed.api_version, &manager.subresource)
        });
        entries.into_iter().map(|(manager, managed)| entry(manager, managed)).collect()
    }

    /// Drops paths that belong to the server, then managers without paths.
    pub(super) fn strip(&mut self) {
        for managed in self.0.values_mut() {
            managed.fields.remove_all(&SERVER_FIELDS);
        }
        self.0.retain(|_, managed| !managed.fields.is_empty());
    }

    /// Takes `fields` away from everybody, or from everybody else.
    pub(super) fn take(&mut self, fields: &FieldSet, except: Option<&Manager>) {
        for (manager, managed) in &mut self.0 {
            if Some(manager) != except {
                managed.fields.remove_all(fields);
            }
        }
        self.0.retain(|manager, managed| Some(manager) == except || !managed.fields.is_empty());
    }

    /// Merges the oldest updaters when there are too many.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(Option<Micros>, Manager)> =
            self.0.iter().filter(|(m, _)| !m.applies).map(|(m, managed)| (managed.time, m.clone())).collect();
        if updaters.len() <= UPDATERS_MAX {
            return;
        }
        updaters.sort();
        let mut left = updaters.len();
        for (_, manager) in updaters {
            if left <= UPDATERS_MAX {
                return;
            }
            let Some(managed) = self.0.remove(&manager) else { continue };
            let bucket = Manager { name: ANCIENT.to_owned(), subresource: String::new(), ..manager };
            left -= 1;
            let merged = match self.0.remove(&bucket) {
                Some(old) => Managed {
                    fields: old.fields.union(&managed.fields),
                    time: managed.time.max(old.time),
                    ..managed
                },
                None => {
                    left += 1;
                    managed
                }
            };
            self.0.insert(bucket, merged);
        }
    }
}

fn entry(manager: &Manager, managed: &Managed) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, text: &str| {
        if !text.is_empty() {
            out.insert(key.to_owned(), text.into());
        }
    };
    put("manager", &manager.name);
    put("operation", if manager.applies { "Apply" } else { "Update" });
    put("apiVersion", &managed.api_version);
    put("time", &managed.time.map(Micros::rfc3339).unwrap_or_default());
    put("fieldsType", "FieldsV1");
    put("subresource", &manager.subresource);
    out.insert("fieldsV1".to_owned(), managed.fields.to_value());
    Value::Object(out)
}

/// Fields that nobody manages.
static SERVER_FIELDS: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut out = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        out.insert(&[Element::field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        out.insert(&[Element::field("metadata"), Element::field(name)]);
    }
    out
});
