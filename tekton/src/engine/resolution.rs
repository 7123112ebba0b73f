//! References that somebody else resolves: a ResolutionRequest is made, and its answer read.

use base64::Engine;
use serde_json::{Value, json};

use crate::api::convert;
use crate::engine::condition;
use crate::engine::decide::{Key, Observed};
use crate::engine::doc::{is_empty, name, namespace, text};
use crate::engine::params::as_text;
use crate::engine::pod::owner;

/// How long a controller waits before it looks at an unanswered request again, µs.
pub const LOOK_AGAIN_US: i64 = 1_000_000;

/// Characters of a request's name before the digits: together they are a label's length.
const PREFIX_MAX: usize = 30;

/// What is known of a remote object.
pub enum Remote {
    /// It is not known whether somebody else has asked the same: read this first.
    Need(Key),
    /// Nobody was asked yet: create this request.
    Ask(Box<Value>),
    /// The request is not answered yet.
    Waits,
    /// It cannot be had; the reference's text.
    Failed(String),
    /// Here it is.
    Found {
        /// The text that was fetched.
        text: String,
        /// Where it comes from, or null.
        source: Value,
    },
}

/// Looks for the answer to a reference of the run in `seen`. `reference` has `resolver`, `params` (substituted) and
/// perhaps a URL as `name`.
pub fn look(seen: &Observed, reference: &Value) -> Remote {
    look_for(seen, name(&seen.run), reference)
}

/// The same on behalf of a child named `asker`, so that the child meets the request when it asks for itself.
pub fn look_for(seen: &Observed, asker: &str, reference: &Value) -> Remote {
    let wanted = request(&seen.run, asker, reference);
    let is_it = |o: &&Value| text(o, "kind") == "ResolutionRequest" && name(o) == name(&wanted);
    let there = match seen.owned.iter().find(is_it) {
        Some(own) => own,
        None => {
            // The run that this one belongs to may have asked: its request is used, and not made again.
            let key = Key::new("ResolutionRequest", namespace(&seen.run), name(&wanted));
            match seen.objects.get(&key) {
                None => return Remote::Need(key),
                Some(None) => return Remote::Ask(Box::new(wanted)),
                Some(Some(there)) => there,
            }
        }
    };
    let status = &there["status"];
    if !condition::is_done(status) {
        return Remote::Waits;
    }
    if !condition::is_successful(status) {
        let why = text(condition::succeeded(status), "message");
        return Remote::Failed(format!("error requesting remote resource: {why}"));
    }
    let data = base64::engine::general_purpose::STANDARD.decode(text(status, "data"));
    match data.map_err(|e| e.to_string()).and_then(|d| String::from_utf8(d).map_err(|e| e.to_string())) {
        Ok(found) => {
            let source = if is_empty(status, "refSource") { &status["source"] } else { &status["refSource"] };
            Remote::Found { text: found, source: source.clone() }
        }
        Err(why) => Remote::Failed(format!("failed to access data of remote resource: {why}")),
    }
}

/// The request for a reference: named after everything that it asks, so that a repeated one meets itself.
fn request(run: &Value, asker: &str, reference: &Value) -> Value {
    let resolver = text(reference, "resolver");
    let mut params: Vec<&Value> = reference["params"].as_array().into_iter().flatten().collect();
    params.sort_by_key(|param| text(param, "name"));
    let mut identity = format!("{}/{asker}", namespace(run));
    for param in params {
        identity.push_str(text(param, "name"));
        identity.push_str(&spelled(&param["value"]));
    }
    identity.push_str(text(reference, "name"));
    let prefix = resolver.floor_char_boundary(PREFIX_MAX);
    let mut request = json!({
        "apiVersion": "resolution.tekton.dev/v1beta1",
        "kind": "ResolutionRequest",
        "metadata": {
            "name": format!("{}-{:032x}", &resolver[..prefix], fnv128a(&identity)),
            "namespace": namespace(run),
            "labels": {"resolution.tekton.dev/type": resolver},
            "ownerReferences": [owner(run)],
        },
        "spec": {},
    });
    if !is_empty(reference, "params") {
        request["spec"]["params"] = reference["params"].clone();
    }
    if !is_empty(reference, "name") {
        request["spec"]["url"] = reference["name"].clone();
    }
    request
}

/// A value as it counts in a name: text as it is, else JSON as Go writes it.
fn spelled(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => {
            let json = value.to_string();
            json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
        }
        other => as_text(other),
    }
}

/// FNV-1a, 128 bits.
fn fnv128a(text: &str) -> u128 {
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// The object of `kind` in a text that was fetched.
///
/// # Errors
/// The reference's text.
pub fn read(fetched: &str, kind: &str) -> Result<Value, String> {
    let object: Value = serde_yaml_ng::from_str(fetched)
        .map_err(|error| format!("invalid runtime object: {}", yaml_fault(&error.to_string())))?;
    if text(&object, "kind") != kind {
        let noun = if kind == "Task" { "task" } else { kind };
        return Err(format!("resource is not a {noun}"));
    }
    Ok(object)
}

/// An object of an older version as one of the version that is stored. It is verified before: what was signed is the
/// object as it was fetched.
pub fn modernise(object: &mut Value) {
    let kind = text(object, "kind").to_owned();
    let version = if kind == "StepAction" { "v1beta1" } else { "v1" };
    if !text(object, "apiVersion").starts_with("tekton.dev/") {
        return;
    }
    let mut converted = object.clone();
    // One that cannot be converted is refused by what looks at it next.
    if convert::to(&kind, version, &mut converted).is_ok() {
        convert::keep(&kind, object, &mut converted);
        *object = converted;
    }
}

/// A fault of a YAML text in the words of the reference's library: `yaml: line 1: did not find …`. It counts lines
/// from 0 where its parser complains, from 1 where its scanner does, and names the beginning of what is faulty if
/// that is not the first line.
fn yaml_fault(fault: &str) -> String {
    let (what, places) = fault.split_once(" at line ").unwrap_or((fault, "1"));
    let number = |text: &str| -> u64 {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(1)
    };
    let line = number(places).saturating_sub(1);
    let begun = places.split_once(" at line ").map_or(0, |(_, place)| number(place).saturating_sub(1));
    let scanner = u64::from(!what.starts_with("did not find expected"));
    match if begun == 0 { line } else { begun } + scanner {
        0 => format!("yaml: {what}"),
        line => format!("yaml: line {line}: {what}"),
    }
}

#[cfg(test)]
mod tests;
