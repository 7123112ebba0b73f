//! Values whose Go types read them themselves, and what those say when they cannot.

use apimachinery::field_error::quote;
use serde_json::Value;

/// What Go calls a value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value of another JSON type than `wanted`, outside any field.
pub(super) fn go_value(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", kind(value))
}

/// Why a text is no duration.
pub(super) fn duration(text: &str) -> String {
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

const SUFFIXES: [&str; 16] =
    ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Why a value is no quantity.
pub(super) fn quantity(value: &Value) -> Option<String> {
    let shown = value.to_string();
    // As the reference: whatever stands there, without the marks around it.
    let text = shown.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(&shown).trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, suffix) = unsigned.split_at(digits);
    let dots = number.bytes().filter(|b| *b == b'.').count();
    if number.len() == dots || dots > 1 {
        return Some(QUANTITY.to_owned());
    }
    let exponent = suffix.strip_prefix(['e', 'E']).map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    let is_exponent = exponent.is_some_and(|e| !e.is_empty() && e.bytes().all(|b| b.is_ascii_digit()));
    if SUFFIXES.contains(&suffix) || is_exponent {
        return None;
    }
    let known = |b: u8| b"eEinumkKMGTP+-0123456789".contains(&b);
    Some(match suffix.bytes().all(known) {
        true => "unable to parse quantity's suffix".to_owned(),
        false => QUANTITY.to_owned(),
    })
}

/// Why a value is neither a number nor a text.
pub(super) fn int_or_string(value: &Value) -> Option<String> {
    match value {
        Value::String(_) => None,
        Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => None,
        Value::Number(n) => Some(format!("json: cannot unmarshal number {n} into Go value of type int32")),
        other => Some(go_value(other, "int32")),
    }
}
