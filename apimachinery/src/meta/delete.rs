//! What a delete does to an object that something still holds.

use serde_json::Value;

use super::{FOREGROUND, ORPHAN, finalizers, generation, is_deleting, set};
use crate::kind::Kind;
use crate::time::Micros;

/// What becomes of an object's dependents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// As in DeleteOptions.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }
}

/// What a delete comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deletion {
    /// Nothing holds the object: remove it.
    Remove,
    /// It is held by finalizers: write it as it is now.
    Marked,
    /// It is held and was marked before: nothing to write.
    Unchanged,
}

/// Marks `object` for deletion if something holds it. Without `propagation` finalizers that are there decide.
pub fn mark_for_deletion(
    kind: &Kind,
    object: &mut Value,
    propagation: Option<Propagation>,
    now: Micros,
) -> Deletion {
    let old: Vec<String> = finalizers(object).map(str::to_owned).collect();
    let mut held = old.clone();
    if let Some(propagation) = propagation {
        held.retain(|f| f != FOREGROUND && f != ORPHAN);
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => held.push(FOREGROUND.to_owned()),
            Propagation::Orphan => held.push(ORPHAN.to_owned()),
        }
    }
    if held.is_empty() {
        return Deletion::Remove;
    }
    let was_deleting = is_deleting(object);
    let mut before = old;
    let mut after = held.clone();
    before.sort();
    after.sort();
    if was_deleting && before == after {
        return Deletion::Unchanged;
    }
    if before != after {
        set(object, "finalizers", held);
    }
    if !was_deleting {
        set(object, "deletionTimestamp", now.rfc3339());
        set(object, "deletionGracePeriodSeconds", 0);
        if kind.custom {
            let next = generation(object) + 1;
            set(object, "generation", next);
        }
    }
    Deletion::Marked
}
