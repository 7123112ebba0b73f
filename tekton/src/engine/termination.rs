//! Termination messages: how a step tells its start, its exit code and its results.
//!
//! A JSON list of `{key, value, type}`; the last of several entries with one key wins; sorted by key. A message
//! that begins with `tknz:` is the same list, deflated and in base64.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use serde_json::{Value, json};

/// Where an entry comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Of an older release, or none given.
    Other(i64),
    /// Result of the task.
    TaskRunResult,
    /// Start time, exit code, reason.
    Internal,
    /// Result of the step.
    StepResult,
    /// Artifacts of the step.
    StepArtifacts,
    /// Artifacts of the task.
    TaskArtifacts,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Kind::Other(0),
            Value::Number(number) => match number.as_i64()? {
                1 => Kind::TaskRunResult,
                3 => Kind::Internal,
                4 => Kind::StepResult,
                5 => Kind::StepArtifacts,
                6 => Kind::TaskArtifacts,
                other => Kind::Other(other),
            },
            Value::String(name) => match name.as_str() {
                "TaskRunResult" => Kind::TaskRunResult,
                "InternalTektonResult" => Kind::Internal,
                "StepResult" => Kind::StepResult,
                "StepArtifactsResult" => Kind::StepArtifacts,
                "TaskRunArtifactsResult" => Kind::TaskArtifacts,
                _ => Kind::Other(0),
            },
            _ => return None,
        })
    }

    /// The number in the message.
    pub fn number(self) -> i64 {
        match self {
            Kind::Other(number) => number,
            Kind::TaskRunResult => 1,
            Kind::Internal => 3,
            Kind::StepResult => 4,
            Kind::StepArtifacts => 5,
            Kind::TaskArtifacts => 6,
        }
    }
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Name.
    pub key: String,
    /// Text.
    pub value: String,
    /// Where it comes from.
    pub kind: Kind,
}

/// A message that is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("parsing message json: {0}")]
pub struct NotAMessage(String);

const COMPRESSED: &str = "tknz:";
/// Most that a compressed message may become.
const INFLATED_MAX: u64 = 128 * 1024;

/// The entries of `message`, one per key, sorted by key. An empty message has none.
///
/// # Errors
/// [`NotAMessage`] when it is not a list of entries.
pub fn parse(message: &str) -> Result<Vec<Entry>, NotAMessage> {
    if message.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = |text: &str| NotAMessage(text.to_owned());
    let plain = match message.strip_prefix(COMPRESSED) {
        Some(packed) => {
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(packed).map_err(|_| wrong("not base64"))?;
            let mut text = String::new();
            let mut inflater = flate2::read::DeflateDecoder::new(bytes.as_slice()).take(INFLATED_MAX + 1);
            inflater.read_to_string(&mut text).map_err(|_| wrong("not deflated"))?;
            if text.len() as u64 > INFLATED_MAX {
                return Err(wrong("too large"));
            }
            text
        }
        None => message.to_owned(),
    };
    let list: Value = serde_json::from_str(&plain).map_err(|e| NotAMessage(e.to_string()))?;
    let items = match list {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        _ => return Err(wrong("not a list")),
    };
    let mut out = BTreeMap::new();
    for item in &items {
        let text = |key: &str| match item.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(wrong("a key or value is no text")),
        };
        if !item.is_object() && !item.is_null() {
            return Err(wrong("an entry is no object"));
        }
        let kind = Kind::of(&item["type"]).ok_or_else(|| wrong("a type is neither number nor name"))?;
        let entry = Entry { key: text("key")?, value: text("value")?, kind };
        out.insert(entry.key.clone(), entry);
    }
    Ok(out.into_values().collect())
}

/// The message of `entries`, as clients see it.
pub fn write(entries: &[Entry]) -> String {
    let items: Vec<_> =
        entries.iter().map(|e| json!({"key": e.key, "value": e.value, "type": e.kind.number()})).collect();
    // Key order as the reference writes it: key, value, type.
    let parts: Vec<_> = items
        .iter()
        .map(|i| format!("{{\"key\":{},\"value\":{},\"type\":{}}}", i["key"], i["value"], i["type"]))
        .collect();
    format!("[{}]", parts.join(","))
}
