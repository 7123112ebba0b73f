//! Termination messages: how a step tells its start, its exit code and its results.
//!
//! A JSON list of `{key, value, type}`; the last of several entries with one key wins; sorted by key. A message
//! that begins with `tknz:` is the same list, deflated and in base64 without padding.

mod gojson;

use std::collections::BTreeMap;
use std::io::Read;

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
                _ => Kind::Other(UNKNOWN),
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

/// Number of a type whose name is not known.
const UNKNOWN: i64 = 10;

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

/// A message that is not one; the texts are the reference's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAMessage {
    /// It is not the JSON that it should be.
    #[error("parsing message json: {why}, msg: {message}")]
    Json {
        /// What is wrong.
        why: String,
        /// The message.
        message: String,
    },
    /// It cannot be unpacked.
    #[error("decompressing termination message: {0}")]
    Packed(String),
}

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
    let plain = match message.strip_prefix(COMPRESSED) {
        Some(packed) => unpacked(packed).map_err(NotAMessage::Packed)?,
        None => message.to_owned(),
    };
    let wrong = |why: String| NotAMessage::Json { why, message: plain.clone() };
    if let Some(fault) = gojson::fault(&plain) {
        return Err(wrong(fault));
    }
    let list: Value = serde_json::from_str(&plain).map_err(|e| wrong(e.to_string()))?;
    let items = match list {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => {
            let kind = gojson::kind(&other);
            return Err(wrong(format!(
                "json: cannot unmarshal {kind} into Go value of type []result.RunResult"
            )));
        }
    };
    let mut out = BTreeMap::new();
    for item in &items {
        // An entry that says nothing is none.
        if let Some(entry) = entry(item).map_err(wrong)? {
            out.insert(entry.key.clone(), entry);
        }
    }
    Ok(out.into_values().collect())
}

/// One entry, or none where nothing is said. Names of members are read without regard to case, as Go does.
fn entry(item: &Value) -> Result<Option<Entry>, String> {
    let members = match item {
        Value::Null => return Ok(None),
        Value::Object(members) => members,
        other => {
            let kind = gojson::kind(other);
            return Err(format!("json: cannot unmarshal {kind} into .0 of type result.RunResult"));
        }
    };
    let member = |name: &str| {
        members.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next_back()
    };
    let text = |name: &str| match member(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let kind = gojson::kind(other);
            Err(format!("json: cannot unmarshal {kind} into Go struct field .0.{name} of type string"))
        }
    };
    let (key, value) = (text("key")?, text("value")?);
    let kind = member("type").unwrap_or(&Value::Null);
    let kind = Kind::of(kind).ok_or_else(|| {
        let what = gojson::kind(kind);
        let number = if kind.is_number() { format!("number {kind}") } else { what.to_owned() };
        let head = "unsupported value type, neither int nor string";
        format!("{head}: json: cannot unmarshal {number} into Go value of type int\njson: cannot unmarshal {what} into Go value of type string")
    })?;
    let said = !key.is_empty() || !value.is_empty() || kind != Kind::Other(0);
    Ok(said.then_some(Entry { key, value, kind }))
}

/// A packed message as text.
fn unpacked(packed: &str) -> Result<String, String> {
    let bytes =
        base64(packed).map_err(|at| format!("base64 decode: illegal base64 data at input byte {at}"))?;
    let mut plain = Vec::new();
    let mut inflater = flate2::read::DeflateDecoder::new(bytes.as_slice()).take(INFLATED_MAX + 1);
    inflater.read_to_end(&mut plain).map_err(|_| "flate decompress: unexpected EOF".to_owned())?;
    if plain.len() as u64 > INFLATED_MAX {
        return Err(format!("decompressed termination message exceeds {INFLATED_MAX} byte limit"));
    }
    if bytes.is_empty() {
        return Err("flate decompress: unexpected EOF".into());
    }
    String::from_utf8(plain).map_err(|e| e.to_string())
}

/// Base64 without padding; line ends do not count. `Err` is where it stops being that.
fn base64(text: &str) -> Result<Vec<u8>, usize> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for (at, byte) in text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\r' | b'\n')) {
        let digit = ALPHABET.iter().position(|b| *b == byte).ok_or(at)?;
        bits = bits << 6 | digit as u32;
        count += 1;
        if count % 4 != 1 {
            // Two digits hold a byte and 4 bits, three hold two and 2 bits, four hold three.
            out.push((bits >> (count * 6 % 8)) as u8);
        }
    }
    if count % 4 == 1 { Err(text.len() - 1) } else { Ok(out) }
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
