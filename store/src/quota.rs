//! A tenant's places for runs, where its policy limits them ([`Tenant::runs_max`]).
//!
//! ```text
//! create:  the run gets a place, in the transaction that stores it, or is refused   (+1, at most runs_max)
//! end:     the transaction that writes the run's end takes its mark away            (-1)
//! removal: a run that has not ended gives its place back as it goes                 (-1)
//! ```
//! The mark is an annotation on the run, which clients cannot write. Only a run that has one gives a place back, each of
//! these transactions depends on the run's revision, so no place is given back twice. Tenants without a limit have no
//! counter that all of their creates would write.

use apimachinery::meta;
use serde_json::Value;

use crate::backend::Op;
use crate::cell::apply::is_run;
use crate::object::ObjectKey;

/// Annotation on a run that has a place and has not ended.
pub const COUNTED: &str = "cella.dev/counted";

/// Counter of a tenant's runs that have a place.
pub fn counter(tenant: &str) -> String {
    format!("{tenant}/runs/0")
}

/// The op by which a new object takes its place; `runs_max` is the tenant's limit.
pub(crate) fn taken(key: &ObjectKey, object: &Value, runs_max: Option<u32>) -> Option<Op> {
    let max = i64::from(runs_max?);
    has_place(key, object).then(|| Op::Add { counter: counter(&key.tenant), delta: 1, max: Some(max) })
}

/// The op by which an object that goes gives its place back.
pub(crate) fn given_back(key: &ObjectKey, object: &Value) -> Option<Op> {
    has_place(key, object).then(|| Op::Add { counter: counter(&key.tenant), delta: -1, max: None })
}

/// As [`given_back`], for a run that stays: `new` loses its mark when it has ended.
pub(crate) fn given_back_at_end(key: &ObjectKey, new: &mut Value) -> Option<Op> {
    let op = given_back(key, new).filter(|_| is_over(new))?;
    if let Some(map) = new["metadata"]["annotations"].as_object_mut() {
        map.remove(COUNTED);
    }
    Some(op)
}

fn has_place(key: &ObjectKey, object: &Value) -> bool {
    is_run(&key.kind) && meta::annotation(object, COUNTED).is_some()
}

/// A run that has ended.
pub(crate) fn is_over(run: &Value) -> bool {
    let conditions = run["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == "Succeeded").any(|c| c["status"] != "Unknown")
}
