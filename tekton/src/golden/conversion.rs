//! Objects in the other version of their kind, and back.

use std::path::Path;

use serde_json::Value;

use super::compare::{difference, normal};
use super::{Outcomes, files};
use crate::api::convert;

/// The other version of what is in `object`.
fn other(object: &Value) -> &'static str {
    match object["apiVersion"].as_str().and_then(|v| v.rsplit('/').next()) {
        Some("v1beta1") if object["kind"] != "StepAction" => "v1",
        _ => "v1beta1",
    }
}

/// One way: what comes out, or why not. Neither side says version and kind.
fn step(object: &mut Value, version: &str, expected: &Value, error: &Value) -> Result<bool, String> {
    let kind = object["kind"].as_str().unwrap_or("").to_owned();
    match (convert::to(&kind, version, object), error.as_str()) {
        (Err(why), Some(expected)) if why.to_string() == expected => Ok(false),
        (Ok(()), None) => {
            let mut shown = object.clone();
            if let Some(map) = shown.as_object_mut() {
                map.retain(|key, _| key != "apiVersion" && key != "kind");
            }
            match difference(&normal(expected), &normal(&shown)) {
                None => Ok(true),
                Some(difference) => Err(format!("to {version}: {difference}")),
            }
        }
        (got, expected) => Err(format!("to {version}: expected {expected:?}, got {got:?}")),
    }
}

fn one(case: &Value) -> Result<(), String> {
    let mut object = case["object"].clone();
    let from = object["apiVersion"].as_str().and_then(|v| v.rsplit('/').next()).unwrap_or("").to_owned();
    let expected = &case["expected"];
    if step(&mut object, other(&case["object"]), &expected["converted"], &expected["error"])? {
        step(&mut object, &from, &expected["roundTrip"], &expected["backError"])?;
    }
    Ok(())
}

/// All cases.
pub fn run(dir: &Path) -> Result<Outcomes, String> {
    Ok(files(dir)?.into_iter().map(|(name, case)| (name, one(&case))).collect())
}
