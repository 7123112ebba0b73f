//! Literals: numbers, texts with their escapes.

use crate::cel::lex::Kind;
use crate::cel::types::Value;

/// The value of a literal.
///
/// # Errors
/// The library's text.
pub fn value(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::True => Ok(Value::Bool(true)),
        Kind::False => Ok(Value::Bool(false)),
        Kind::Int => int(text).map(Value::Int).ok_or_else(|| "invalid int literal".into()),
        Kind::Uint => uint(text).map(Value::Uint).ok_or_else(|| "invalid uint literal".into()),
        Kind::Float => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Double(number)),
            _ => Err("invalid double literal".into()),
        },
        Kind::Text => {
            let bytes = unquoted(text, false)?;
            String::from_utf8(bytes).map(Value::Text).map_err(|_| "invalid UTF-8 string".into())
        }
        Kind::Bytes => unquoted(&text[1..], true).map(Value::Bytes),
        _ => Ok(Value::Null),
    }
}

fn int(text: &str) -> Option<i64> {
    match text.strip_prefix("-0x").map(|hex| format!("-{hex}")).or(text.strip_prefix("0x").map(str::to_owned))
    {
        Some(hex) => i64::from_str_radix(&hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn uint(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['u', 'U']);
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// What stands between the quotes; in bytes, numeric escapes are bytes, else characters.
fn unquoted(text: &str, bytes: bool) -> Result<Vec<u8>, String> {
    let raw = text.starts_with(['r', 'R']);
    let body = text.trim_start_matches(['r', 'R']);
    let size = if body.len() >= 6 && (body.starts_with("'''") || body.starts_with("\"\"\"")) { 3 } else { 1 };
    let body = body[size..body.len() - size].replace("\r\n", "\n").replace('\r', "\n");
    if raw {
        return Ok(body.into_bytes());
    }
    let mut out = Vec::new();
    let mut rest = body.as_str();
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escaped = rest[at + 1..].chars().next().unwrap_or('\\');
        let hex = |size: usize| u32::from_str_radix(rest.get(at + 2..at + 2 + size).unwrap_or(""), 16).ok();
        let (code, size) = match escaped {
            'x' | 'X' => (hex(2), 4),
            'u' => (hex(4), 6),
            'U' => (hex(8), 10),
            '0'..='3' => (u32::from_str_radix(rest.get(at + 1..at + 4).unwrap_or(""), 8).ok(), 4),
            _ => (Some(u32::from(plain(escaped))), 1 + escaped.len_utf8()),
        };
        let code = code.ok_or("unable to unescape string")?;
        match u8::try_from(code) {
            Ok(byte) if bytes && matches!(escaped, 'x' | 'X' | '0'..='3') => out.push(byte),
            _ => {
                let c = char::from_u32(code).ok_or("invalid unicode code point")?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest = &rest[at + size..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn plain(escaped: char) -> char {
    match escaped {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        other => other,
    }
}
