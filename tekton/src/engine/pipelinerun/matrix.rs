//! Fanning a task out over combinations of params.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::engine::doc::{list, text};
use crate::engine::params::as_text;

/// One combination of params.
type Combination = BTreeMap<String, String>;

/// The combinations of a matrix, each as a list of params in order of name.
pub fn fan_out(matrix: &Value) -> Vec<Vec<Value>> {
    let included: Vec<Combination> = list(matrix, "include").iter().map(included).collect();
    let params = list(matrix, "params");
    if params.is_empty() {
        return included.iter().map(as_params).collect();
    }
    let mut all: Vec<Combination> = Vec::new();
    for (index, param) in params.iter().enumerate() {
        let values: Vec<_> = param["value"].as_array().into_iter().flatten().map(as_text).collect();
        let with = |value: &String, base: &Combination| {
            let mut combination = base.clone();
            combination.insert(text(param, "name").to_owned(), value.clone());
            combination
        };
        // An empty list in the middle starts anew, as the reference does; such a task is skipped anyway.
        all = if index == 0 || all.is_empty() {
            values.iter().map(|value| with(value, &Combination::new())).collect()
        } else {
            values.iter().flat_map(|value| all.iter().map(move |base| with(value, base))).collect()
        };
    }
    for combination in &mut all {
        for extra in &included {
            let fits = extra.iter().all(|(name, value)| combination.get(name).is_none_or(|v| v == value));
            if fits {
                combination.extend(extra.clone());
            }
        }
    }
    for extra in included {
        let there = |combination: &Combination| extra.iter().any(|(n, v)| combination.get(n) == Some(v));
        if !extra.is_empty() && !all.iter().any(there) {
            all.push(extra);
        }
    }
    all.iter().map(as_params).collect()
}

/// How many combinations there are.
pub fn count(matrix: &Value) -> usize {
    fan_out(matrix).len()
}

/// A param of the matrix is an empty list.
pub fn has_empty_list(matrix: &Value) -> bool {
    list(matrix, "params").iter().any(|param| param["value"].as_array().is_some_and(Vec::is_empty))
}

fn included(entry: &Value) -> Combination {
    list(entry, "params").iter().map(|p| (text(p, "name").to_owned(), as_text(&p["value"]))).collect()
}

fn as_params(combination: &Combination) -> Vec<Value> {
    combination.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}
