//! Merging an applied document into a stored one, and removing paths from a document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use super::typed::{Form, Place};

/// `live` with everything that `config` says.
pub(super) fn merge(place: Place, live: &Value, config: &Value) -> Value {
    if place.form(live) != place.form(config) {
        return config.clone();
    }
    match (place.form(config), live, config) {
        (Form::Map, Value::Object(live), Value::Object(config)) => {
            let mut out = live.clone();
            for (key, value) in config {
                let merged = match live.get(key) {
                    Some(live) => merge(place.member(key), live, value),
                    None => value.clone(),
                };
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Form::List, Value::Array(live), Value::Array(config)) => merge_lists(place, live, config).into(),
        _ => config.clone(),
    }
}

/// Elements of both lists: those of `config` in its order, those of `live` alone where they were among them.
fn merge_lists(place: Place, live: &[Value], config: &[Value]) -> Vec<Value> {
    let (left, right) = (place.elements(live), place.elements(config));
    let by_name = |list: &[(Element, &Value)]| -> BTreeMap<Element, Value> {
        list.iter().map(|(element, item)| (element.clone(), (*item).clone())).collect()
    };
    let (in_left, in_right) = (by_name(&left), by_name(&right));
    let mut shared = right.iter().map(|(e, _)| e).filter(|e| in_left.contains_key(*e));
    let mut next_shared = shared.next();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::new();
    let both = |element: &Element| match (in_left.get(element), in_right.get(element)) {
        (Some(live), Some(config)) => merge(place.items(), live, config),
        (_, Some(config)) => config.clone(),
        (Some(live), None) => live.clone(),
        (None, None) => Value::Null,
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((a, _)), Some((b, _))) = (left.get(l), right.get(r)) {
            if a == b {
                done.insert(a);
                out.push(both(a));
                l += 1;
                r += 1;
                next_shared = shared.next();
                continue;
            }
            if in_right.contains_key(a) && next_shared.is_some_and(|next| next != a) {
                l += 1;
                continue;
            }
        }
        if let Some((a, item)) = left.get(l) {
            if !in_right.contains_key(a) {
                out.push((*item).clone());
                l += 1;
                continue;
            }
            if done.contains(a) {
                l += 1;
            }
        }
        if let Some((b, _)) = right.get(r) {
            done.insert(b);
            out.push(both(b));
            r += 1;
            if next_shared == Some(b) {
                next_shared = shared.next();
            }
        }
    }
    out
}

/// `value` without the paths in `gone`; [`None`] when nothing of an object or list is left.
pub(super) fn remove(place: Place, value: &Value, gone: &FieldSet) -> Option<Value> {
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => {
            let mut out = Map::new();
            for (key, value) in map {
                let element = Element::field(key);
                if gone.has(&element) {
                    continue;
                }
                let kept = match gone.below(&element) {
                    Some(gone) => remove(place.member(key), value, gone),
                    None => Some(value.clone()),
                };
                if let Some(kept) = kept {
                    out.insert(key.clone(), kept);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        (Form::List, Value::Array(list)) => {
            let mut out = Vec::new();
            for (i, item) in list.iter().enumerate() {
                let element = place.element(i, item);
                if gone.has(&element) {
                    continue;
                }
                out.extend(match gone.below(&element) {
                    Some(gone) => remove(place.items(), item, gone),
                    None => Some(item.clone()),
                });
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        (_, Value::Object(_) | Value::Array(_)) => None,
        (_, scalar) => Some(scalar.clone()),
    }
}
