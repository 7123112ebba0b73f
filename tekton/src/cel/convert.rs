//! Conversions between types.

use super::types::Value;
use super::{pattern, time};

/// `value` as one of type `wanted`.
pub fn to(wanted: &str, value: &Value) -> Result<Value, String> {
    let found = match wanted {
        "int" => return int(value),
        "uint" => return uint(value),
        "double" => double(value),
        "string" => return string(value),
        "bool" => boolean(value),
        "bytes" => match value {
            Value::Bytes(_) => Some(value.clone()),
            Value::Text(text) => Some(Value::Bytes(text.clone().into_bytes())),
            _ => None,
        },
        "timestamp" => return timestamp(value),
        _ => return duration(value),
    };
    found.ok_or_else(|| impossible(value, wanted))
}

fn impossible(value: &Value, wanted: &str) -> String {
    format!("type conversion error from '{}' to '{wanted}'", value.type_name())
}

/// The first double that is no whole number of 64 bits any more.
const INT_END: f64 = 9_223_372_036_854_775_808.0;
const UINT_END: f64 = 18_446_744_073_709_551_616.0;

fn int(value: &Value) -> Result<Value, String> {
    let overflow = || "integer overflow".to_owned();
    match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(n) => i64::try_from(*n).map(Value::Int).map_err(|_| overflow()),
        Value::Double(n) if *n > -INT_END && *n < INT_END => Ok(Value::Int(*n as i64)),
        Value::Double(_) => Err(overflow()),
        Value::Text(text) => text.parse().map(Value::Int).map_err(|_| impossible(value, "int")),
        Value::Timestamp(at) => {
            i64::try_from(at.div_euclid(time::SECOND)).map(Value::Int).map_err(|_| overflow())
        }
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        _ => Err(impossible(value, "int")),
    }
}

fn uint(value: &Value) -> Result<Value, String> {
    let overflow = || "unsigned integer overflow".to_owned();
    match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(n) => u64::try_from(*n).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(n) if *n >= 0.0 && *n < UINT_END => Ok(Value::Uint(*n as u64)),
        Value::Double(_) => Err(overflow()),
        Value::Text(text) => text.parse().map(Value::Uint).map_err(|_| impossible(value, "uint")),
        _ => Err(impossible(value, "uint")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "that is what is asked for")]
fn double(value: &Value) -> Option<Value> {
    match value {
        Value::Double(_) => Some(value.clone()),
        Value::Int(n) => Some(Value::Double(*n as f64)),
        Value::Uint(n) => Some(Value::Double(*n as f64)),
        Value::Text(text) => text.parse().ok().map(Value::Double),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::Text(text) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn string(value: &Value) -> Result<Value, String> {
    match value {
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text.to_owned())),
            Err(_) => Err("invalid UTF-8 in bytes, cannot convert to string".into()),
        },
        Value::Null | Value::List(_) | Value::Map(_) | Value::Type(_) => Err(impossible(value, "string")),
        _ => Ok(Value::Text(shown(value))),
    }
}

fn timestamp(value: &Value) -> Result<Value, String> {
    match value {
        Value::Timestamp(_) => Ok(value.clone()),
        Value::Int(seconds) => time::timestamp(i128::from(*seconds) * time::SECOND),
        Value::Text(text) => match time::parse(text) {
            Some(at) => time::timestamp(at),
            None => Err(impossible(value, "google.protobuf.Timestamp")),
        },
        _ => Err(impossible(value, "google.protobuf.Timestamp")),
    }
}

fn duration(value: &Value) -> Result<Value, String> {
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::Text(text) => match apimachinery::time::parse_go_duration(text) {
            Some(nanos) => time::duration(i128::from(nanos)),
            None => Err(impossible(value, "google.protobuf.Duration")),
        },
        _ => Err(impossible(value, "google.protobuf.Duration")),
    }
}

/// A scalar as text.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => pattern::shortest(*n),
        Value::Bool(b) => b.to_string(),
        Value::Null => "null".into(),
        Value::Timestamp(at) => time::rfc3339(*at),
        Value::Duration(nanos) => time::seconds(*nanos),
        Value::Type(name) => name.clone(),
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}
