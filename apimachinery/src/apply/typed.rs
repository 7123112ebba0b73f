//! Documents seen through their schema: which paths they set, how two of them differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use crate::schema::{Codec, ListType, Schema};

/// How a value is owned: as a whole, by member, or by element.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Leaf,
    Map,
    List,
}

/// A place in the schema; [`None`] where the schema preserves what it doesn't know: objects are owned by member and
/// lists as a whole there.
#[derive(Clone, Copy)]
pub(super) struct Place(pub(super) Option<Schema>);

impl Place {
    pub(super) fn form(self, value: &Value) -> Form {
        match (value, self.0.map(Schema::node)) {
            (Value::Object(_), Some(node)) if node.is_atomic_map() => Form::Leaf,
            (Value::Object(_), _) => Form::Map,
            (Value::Array(_), Some(node)) if node.list_type() != ListType::Atomic => Form::List,
            _ => Form::Leaf,
        }
    }

    pub(super) fn member(self, name: &str) -> Self {
        Self(self.0.and_then(|schema| schema.member(name)))
    }

    pub(super) fn items(self) -> Self {
        Self(self.0.and_then(Schema::items))
    }

    pub(super) fn enter(self, element: &Element) -> Self {
        match element {
            Element::Field(name) => self.member(name),
            Element::Key(_) | Element::Value(_) | Element::Index(_) => self.items(),
        }
    }

    /// The element is a declared property, not a key of a map.
    pub(super) fn declares(self, element: &Element) -> bool {
        match element {
            Element::Field(name) => self.0.is_some_and(|schema| schema.property(name).is_some()),
            Element::Key(_) | Element::Value(_) | Element::Index(_) => false,
        }
    }

    /// How elements of this list are named.
    pub(super) fn element(self, index: usize, item: &Value) -> Element {
        let Some(node) = self.0.map(Schema::node) else { return Element::Index(index as u64) };
        match node.list_type() {
            ListType::Set => Element::Value(item.to_string()),
            ListType::Map => {
                let defaults = |key: &str| self.items().member(key).0.and_then(|s| s.node().default.clone());
                let keys: Map<String, Value> = node
                    .keys
                    .iter()
                    .filter_map(|key| {
                        Some(((*key).to_owned(), item.get(key).cloned().or_else(|| defaults(key))?))
                    })
                    .collect();
                Element::Key(Value::Object(keys).to_string())
            }
            ListType::Atomic => Element::Index(index as u64),
        }
    }

    /// The elements of a list by name, in order; of equal names the first.
    pub(super) fn elements(self, list: &[Value]) -> Vec<(Element, &Value)> {
        let mut seen = std::collections::BTreeSet::new();
        let named = list.iter().enumerate().map(|(i, item)| (self.element(i, item), item));
        named.filter(|(element, _)| seen.insert(element.clone())).collect()
    }
}

/// Every path that `value` sets.
pub(super) fn field_set(place: Place, value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    add_fields(place, value, &mut Vec::new(), &mut out);
    out
}

fn add_fields(place: Place, value: &Value, path: &mut Vec<Element>, out: &mut FieldSet) {
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => {
            for (key, value) in map {
                let element = Element::field(key);
                path.push(element.clone());
                add_fields(place.member(key), value, path, out);
                let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if is_empty || !place.declares(&element) {
                    out.insert(path);
                }
                path.pop();
            }
        }
        (Form::List, Value::Array(list)) => {
            for (element, item) in place.elements(list) {
                path.push(element);
                add_fields(place.items(), item, path, out);
                out.insert(path);
                path.pop();
            }
        }
        _ => out.insert(path),
    }
}

/// Every path of a document that is new, all objects and lists on the way among them.
fn whole(place: Place, value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => {
            for (key, value) in map {
                out.add(Element::field(key), whole(place.member(key), value));
            }
        }
        (Form::List, Value::Array(list)) => {
            for (element, item) in place.elements(list) {
                out.add(element, whole(place.items(), item));
            }
        }
        _ => {}
    }
    out
}

/// How one document differs from another.
#[derive(Default)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Difference {
    /// What a writer of the new document has set, and what it has removed.
    pub(super) fn set_and_removed(self) -> (FieldSet, FieldSet) {
        let set = if self.modified.is_empty() { self.added } else { self.modified.union(&self.added) };
        (set, self.removed)
    }
}

/// The difference from `old` to `new`.
pub(super) fn compare(place: Place, old: &Value, new: &Value) -> Difference {
    let mut out = Difference::default();
    walk(place, Some(old), Some(new), &mut Vec::new(), &mut out);
    out
}

fn walk<'v>(
    place: Place,
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    path: &mut Vec<Element>,
    out: &mut Difference,
) {
    let Some(shown) = new.or(old) else { return };
    if let (None, Some(new)) = (old, new) {
        return out.added.graft(path, whole(place, new));
    }
    let form = place.form(shown);
    let same_form = old.is_none_or(|old| place.form(old) == form);
    let both_empty = old.is_none_or(is_empty) && new.is_none_or(is_empty);
    if form == Form::Leaf || !same_form || both_empty {
        return leaf(old, new, path, out);
    }
    match form {
        Form::Map => {
            let none = Map::new();
            let old_map = old.and_then(Value::as_object).unwrap_or(&none);
            let new_map = new.and_then(Value::as_object).unwrap_or(&none);
            for key in old_map.keys().chain(new_map.keys().filter(|key| !old_map.contains_key(*key))) {
                path.push(Element::field(key));
                walk(place.member(key), old_map.get(key), new_map.get(key), path, out);
                path.pop();
            }
        }
        Form::List => {
            let list =
                |value: Option<&'v Value>| value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let old_list: BTreeMap<Element, &Value> = place.elements(list(old)).into_iter().collect();
            let new_list: BTreeMap<Element, &Value> = place.elements(list(new)).into_iter().collect();
            for element in
                old_list.keys().chain(new_list.keys().filter(|element| !old_list.contains_key(*element)))
            {
                path.push(element.clone());
                walk(
                    place.items(),
                    old_list.get(element).copied(),
                    new_list.get(element).copied(),
                    path,
                    out,
                );
                path.pop();
            }
        }
        Form::Leaf => {}
    }
    if new.is_none() {
        out.removed.insert(path);
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>, path: &[Element], out: &mut Difference) {
    match (old, new) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        (Some(old), Some(new)) if old != new => out.modified.insert(path),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

/// Where a value is not what the schema says, or repeats a key; [`None`]: nowhere.
pub(super) fn fault(place: Place, value: &Value, path: &str) -> Option<String> {
    let node = place.0?.node();
    match value {
        Value::Object(map) => {
            if node.kind.is_some_and(|kind| kind != crate::schema::Type::Object) {
                return Some(format!("{path}: expected {}, got an object", node.kind?.as_str()));
            }
            map.iter().find_map(|(key, value)| {
                let path = format!("{path}.{key}");
                let member = place.member(key);
                if member.0.is_none() && !node.preserves() && node.codec != Some(Codec::Raw) {
                    return Some(format!("{path}: field not declared in schema"));
                }
                fault(member, value, &path)
            })
        }
        Value::Array(list) => {
            if node.kind.is_some_and(|kind| kind != crate::schema::Type::Array) {
                return Some(format!("{path}: expected {}, got a list", node.kind?.as_str()));
            }
            let keyless = |item: &Value| !node.keys.iter().any(|key| item.get(key).is_some());
            if node.list_type() == ListType::Map && list.iter().any(keyless) {
                return Some(format!(
                    "{path}: associative list with keys has an element that omits all key fields"
                ));
            }
            if node.list_type() != ListType::Atomic && place.elements(list).len() != list.len() {
                return Some(format!("{path}: duplicate entries for a key"));
            }
            let items = place.items();
            list.iter().enumerate().find_map(|(i, item)| fault(items, item, &format!("{path}[{i}]")))
        }
        Value::Null => None,
        scalar => {
            let fits = match node.kind {
                Some(crate::schema::Type::Object) => false,
                Some(crate::schema::Type::Array) => false,
                Some(crate::schema::Type::String) => scalar.is_string() || node.format == Some("date-time"),
                Some(crate::schema::Type::Boolean) => scalar.is_boolean(),
                Some(crate::schema::Type::Integer | crate::schema::Type::Number) => scalar.is_number(),
                None => true,
            };
            let wanted = node.kind.map_or("", crate::schema::Type::as_str);
            (!fits).then(|| format!("{path}: expected {wanted}, got {scalar}"))
        }
    }
}
