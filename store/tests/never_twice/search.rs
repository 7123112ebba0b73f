//! An exhaustive breadth-first search: every state that can be reached, and the shortest way to a bad one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// What a search has found.
pub struct Found {
    /// States that were reached.
    pub states: usize,
    /// Steps to the farthest of them.
    pub depth: usize,
    /// Names of the steps that were taken anywhere.
    pub steps: std::collections::BTreeSet<&'static str>,
    /// The shortest way to a state that breaks the property, if there is one.
    pub broken: Option<Vec<&'static str>>,
}

/// Searches from `first`; stops at the first state that is not `good`.
pub fn search<S: Clone + Eq + Hash>(
    first: S,
    next: impl Fn(&S, &mut Vec<(&'static str, S)>),
    good: impl Fn(&S) -> bool,
) -> Found {
    let mut seen: HashMap<S, usize> = HashMap::new();
    let mut came: Vec<(usize, &'static str)> = vec![(0, "begin")];
    let mut steps = std::collections::BTreeSet::new();
    seen.insert(first.clone(), 0);
    let mut ring = vec![(first, 0)];
    let (mut depth, mut options) = (0, Vec::new());
    while !ring.is_empty() {
        let mut beyond = Vec::new();
        for (state, index) in ring {
            next(&state, &mut options);
            for (step, after) in options.drain(..) {
                steps.insert(step);
                let Entry::Vacant(new) = seen.entry(after.clone()) else { continue };
                let number = came.len();
                new.insert(number);
                came.push((index, step));
                if !good(&after) {
                    let broken = Some(way(&came, number));
                    return Found { states: came.len(), depth: depth + 1, steps, broken };
                }
                beyond.push((after, number));
            }
        }
        depth += usize::from(!beyond.is_empty());
        ring = beyond;
    }
    Found { states: came.len(), depth, steps, broken: None }
}

fn way(came: &[(usize, &'static str)], mut at: usize) -> Vec<&'static str> {
    let mut way = Vec::new();
    while at != 0 {
        let (before, step) = came[at];
        way.push(step);
        at = before;
    }
    way.reverse();
    way
}
