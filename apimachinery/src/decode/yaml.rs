//! YAML into JSON, as Kubernetes does it: a bare `yes`, `no`, `on`, `off`, `y` or `n` is a truth value, also as a key,
//! `010` is octal, keys become texts, `<<` merges.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::{DEPTH_MAX, Decoded, Unreadable};

/// Aliases may not multiply a document beyond this many values.
const ALIASED_VALUES_MAX: usize = 100_000;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|e| refuse(&e.to_string()))?;
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        aliased: 0,
        duplicates: Vec::new(),
    };
    let mut value = None;
    loop {
        match reader.next()?.0 {
            Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => {
                let next = reader.value(event, 0)?;
                match (&value, &next) {
                    (None, _) => value = Some(next),
                    (Some(_), Value::Null) => {}
                    (Some(_), _) => return Err(refuse("expected a single document")),
                }
            }
        }
    }
    Ok(Decoded { value: value.unwrap_or(Value::Null), duplicates: reader.duplicates })
}

fn refuse(why: &str) -> Unreadable {
    Unreadable(format!("error converting YAML to JSON: yaml: {why}"))
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Value>,
    aliased: usize,
    duplicates: Vec<String>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(refuse(&error.to_string())),
            None => Err(refuse("unexpected end")),
        }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, Unreadable> {
        if depth > DEPTH_MAX {
            return Err(refuse("exceeded max depth"));
        }
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id),
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_ref())?),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(refuse("unexpected end of a value")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize) -> Result<Value, Unreadable> {
        let value = self.anchors.get(&id).cloned().ok_or_else(|| refuse("unknown anchor"))?;
        self.aliased += count(&value);
        if self.aliased > ALIASED_VALUES_MAX {
            return Err(refuse("document contains excessive aliasing"));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut out = Vec::new();
        loop {
            match self.next()?.0 {
                Event::SequenceEnd => return Ok(out.into()),
                event => out.push(self.value(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut out = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.value(event, depth + 1)?;
            let event = self.next()?.0;
            let value = self.value(event, depth + 1)?;
            if is_merge {
                merged.push(value);
                continue;
            }
            let (name, shown) = key_name(key)?;
            if out.insert(name, value).is_some() {
                let line = span.start.line();
                self.duplicates.push(format!("line {line}: key {shown} already set in map"));
            }
        }
        for value in merged {
            merge(&mut out, value)?;
        }
        Ok(out.into())
    }
}

/// Members of a merged mapping count where there is none of that name.
fn merge(out: &mut Map<String, Value>, value: Value) -> Result<(), Unreadable> {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|value| merge(out, value)),
        _ => Err(refuse("map merge requires map or sequence of maps as the value")),
    }
}

/// A key as text, and as messages show it.
fn key_name(key: Value) -> Result<(String, String), Unreadable> {
    match key {
        Value::String(text) => {
            let shown = crate::field_error::quote(&text);
            Ok((text, shown))
        }
        Value::Bool(flag) => Ok((flag.to_string(), flag.to_string())),
        Value::Number(number) => Ok((number.to_string(), number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(refuse("a key must be a scalar")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Cow<'_, Tag>>) -> Result<Value, Unreadable> {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Ok(text.into());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(true.into());
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(false.into());
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => return Err(refuse(&format!("json: unsupported value: {text}"))),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Ok(text.into());
    }
    Ok(number(text).unwrap_or_else(|| text.into()))
}

fn number(text: &str) -> Option<Value> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(whole) = whole(&plain) {
        return Some(whole);
    }
    let digits = plain.trim_start_matches(['+', '-']);
    let is_float = plain.len() - digits.len() <= 1
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let value: f64 = if is_float { plain.parse().ok()? } else { return None };
    super::json::number(value).map(Value::Number)
}

/// A whole number in any base that Go's base 0 knows.
fn whole(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    let value = if negative { -value } else { value };
    i64::try_from(value).map(Value::from).or_else(|_| u64::try_from(value).map(Value::from)).ok()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}
