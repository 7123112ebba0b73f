//! Sets of field paths, and their JSON form (FieldsV1).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::field_error::quote;

/// One step of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Element {
    /// A member of an object.
    Field(String),
    /// An element of a keyed list: its keys as JSON, in order of their names.
    Key(String),
    /// An element of a set: its value as JSON.
    Value(String),
    /// An element of a list, by position.
    Index(u64),
}

/// A set of paths. A path may be in it with or without paths below it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct FieldSet {
    members: BTreeSet<Element>,
    children: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    pub(super) fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.child(first).insert(rest),
        }
    }

    /// Adds the path of `element`, with what is below it.
    pub(super) fn add(&mut self, element: Element, below: Self) {
        if !below.is_empty() {
            let child = self.child(&element);
            *child = if child.is_empty() { below } else { child.union(&below) };
        }
        self.members.insert(element);
    }

    /// Adds `path`, with what is below it.
    pub(super) fn graft(&mut self, path: &[Element], below: Self) {
        match path {
            [] => {}
            [last] => self.add(last.clone(), below),
            [first, rest @ ..] => self.child(first).graft(rest, below),
        }
    }

    fn child(&mut self, element: &Element) -> &mut Self {
        self.children.entry(element.clone()).or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    pub(super) fn has(&self, element: &Element) -> bool {
        self.members.contains(element)
    }

    /// What is below `element`.
    pub(super) fn below(&self, element: &Element) -> Option<&Self> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            let slot = out.children.entry(element.clone()).or_default();
            *slot = slot.union(set);
        }
        out
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut out = Self { members: &self.members - &other.members, children: BTreeMap::new() };
        for (element, set) in &self.children {
            let left = match other.children.get(element) {
                Some(minus) => set.difference(minus),
                None => set.clone(),
            };
            if !left.is_empty() {
                out.children.insert(element.clone(), left);
            }
        }
        out
    }

    /// Drops what is in `other`.
    pub(super) fn remove_all(&mut self, other: &Self) {
        self.members.retain(|element| !other.members.contains(element));
        for (element, minus) in &other.children {
            if let Some(set) = self.children.get_mut(element) {
                set.remove_all(minus);
            }
        }
        self.children.retain(|_, set| !set.is_empty());
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut out = Self { members: &self.members & &other.members, children: BTreeMap::new() };
        for (element, set) in &self.children {
            let both = other.children.get(element).map(|o| set.intersection(o)).filter(|s| !s.is_empty());
            if let Some(both) = both {
                out.children.insert(element.clone(), both);
            }
        }
        out
    }

    /// The set with every object on the way to a path in it, as far as `declared` says that it is a known property.
    pub(super) fn with_parents<S: Copy>(
        &self,
        at: S,
        declared: &impl Fn(S, &Element) -> bool,
        enter: &impl Fn(S, &Element) -> S,
    ) -> Self {
        let mut out = Self { members: self.members.clone(), children: BTreeMap::new() };
        for (element, set) in &self.children {
            if declared(at, element) {
                out.members.insert(element.clone());
            }
            out.children.insert(element.clone(), set.with_parents(enter(at, element), declared, enter));
        }
        out
    }

    /// Every path, as people write it: `.spec.steps`, `.metadata.finalizers["x"]`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        out.extend(self.members.iter().map(|element| format!("{prefix}{}", element.shown())));
        for (element, set) in &self.children {
            set.collect(&format!("{prefix}{}", element.shown()), out);
        }
    }

    /// The set as FieldsV1.
    pub(super) fn to_value(&self) -> Value {
        let mut out = Map::new();
        let only_below = self.children.keys().filter(|element| !self.members.contains(element));
        for element in self.members.iter().chain(only_below) {
            let mut inner = match self.children.get(element).map(Self::to_value) {
                Some(Value::Object(inner)) => inner,
                _ => Map::new(),
            };
            if self.members.contains(element) && !inner.is_empty() {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.key(), Value::Object(inner));
        }
        Value::Object(out)
    }

    /// Reads FieldsV1. [`None`]: it is not.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let mut out = Self::default();
        for (key, inner) in value.as_object()? {
            if key == "." {
                continue;
            }
            let element = Element::parse(key)?;
            let inner_map = inner.as_object()?;
            if inner_map.is_empty() || inner_map.contains_key(".") {
                out.members.insert(element.clone());
            }
            let set = Self::from_value(inner)?;
            if !set.is_empty() {
                out.children.insert(element, set);
            }
        }
        Some(out)
    }
}

impl Element {
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    fn key(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{keys}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(i) => format!("i:{i}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let json = || serde_json::from_str::<Value>(rest).ok();
        Some(match kind {
            "f" => Self::Field(rest.to_owned()),
            "k" => Self::Key(json().filter(Value::is_object)?.to_string()),
            "v" => Self::Value(json()?.to_string()),
            "i" => Self::Index(rest.parse().ok()?),
            _ => return None,
        })
    }

    fn shown(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let pairs: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={}", shown(v))).collect();
                format!("[{}]", pairs.join(","))
            }
            Self::Value(value) => {
                format!("[={}]", shown(&serde_json::from_str(value).unwrap_or(Value::Null)))
            }
            Self::Index(i) => format!("[{i}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), quote)
}
