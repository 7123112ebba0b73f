//! What the reference's types cannot hold although the schema takes it: durations that are none.

mod names;

pub use names::canonical;

use apimachinery::field_error::quote;
use apimachinery::time::parse_go_duration;
use serde_json::Value;

use crate::api::read::{list, some};

/// An object that cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot decode incoming new object: {0}")]
pub struct DecodeError(String);

/// Whether an object of `tekton.dev` can be decoded.
///
/// # Errors
/// The first fault, in the words of Go's library.
pub fn check(object: &Value) -> Result<(), DecodeError> {
    spec(&object["spec"])
}

/// Looks at everything that has a `timeout`, however deep specs are embedded.
fn spec(holder: &Value) -> Result<(), DecodeError> {
    duration(holder, "timeout")?;
    for part in ["pipeline", "tasks", "finally"] {
        duration(&holder["timeouts"], part)?;
    }
    for part in ["steps", "tasks", "finally", "taskRunSpecs"] {
        list(holder, part).iter().try_for_each(spec)?;
    }
    for part in ["taskSpec", "pipelineSpec"] {
        some(holder, part).map_or(Ok(()), spec)?;
    }
    Ok(())
}

fn duration(holder: &Value, field: &str) -> Result<(), DecodeError> {
    match some(holder, field).and_then(Value::as_str) {
        Some(text) if parse_go_duration(text).is_none() => Err(DecodeError(fault(text))),
        _ => Ok(()),
    }
}

/// Why a text is no duration.
fn fault(text: &str) -> String {
    let whole = quote(text);
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        if number == 0 || rest[..number] == *"." {
            break;
        }
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        match &rest[..unit] {
            "" => return format!("time: missing unit in duration {whole}"),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => {}
            other => return format!("time: unknown unit {} in duration {whole}", quote(other)),
        }
        rest = &rest[unit..];
    }
    format!("time: invalid duration {whole}")
}

#[cfg(test)]
mod tests;
