//! Kubernetes protobuf bodies, decoded into the JSON that Kubernetes would have written: whole numbers as numbers,
//! times as RFC 3339, quantities as text.
//!
//! The schema tree knows the field numbers, so one decoder serves all core kinds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::decode::{DEPTH_MAX, Unreadable, json};
use crate::schema::{Codec, Schema, Type};
use crate::time::Micros;

mod wire;

use wire::{Field, Raw, fields};

/// What every body begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Decodes a body: the magic bytes and an envelope that says apiVersion and kind.
///
/// # Errors
/// [`Unreadable`] when it is damaged or of a kind that isn't known.
pub fn decode(bytes: &[u8]) -> Result<Value, Unreadable> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        refuse("provided data does not appear to be a protobuf message, expected prefix k8s")
    })?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(body) {
        let Field { number, value } = field?;
        match number {
            1 => {
                for field in fields(value.bytes()?) {
                    let Field { number, value } = field?;
                    match number {
                        1 => api_version = text(&value)?,
                        2 => kind = text(&value)?,
                        _ => {}
                    }
                }
            }
            2 => raw = value.bytes()?,
            3 if !value.bytes()?.is_empty() => {
                return Err(refuse("the body has an unknown content encoding"));
            }
            _ => {}
        }
    }
    // Options of a delete are sent under the group of what is deleted.
    let schema_version = if kind == "DeleteOptions" { "meta.k8s.io/v1" } else { &api_version };
    let schema = Schema::find(schema_version, &kind)
        .filter(|schema| !schema.node().wire.is_empty())
        .ok_or_else(|| refuse(&format!("{kind} in {api_version} has no protobuf form")))?;
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), api_version.into());
    out.insert("kind".to_owned(), kind.into());
    message(schema, raw, &mut out, 0)?;
    Ok(Value::Object(out))
}

fn refuse(why: &str) -> Unreadable {
    Unreadable(format!("protobuf: {why}"))
}

fn text(value: &Raw<'_>) -> Result<String, Unreadable> {
    let bytes = value.bytes()?;
    String::from_utf8(bytes.to_vec()).map_err(|_| refuse("text is not UTF-8"))
}

/// Reads the fields of a message into `out`. Unknown ones are skipped.
fn message(
    schema: Schema,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Unreadable> {
    if depth > DEPTH_MAX {
        return Err(refuse("nested too deeply"));
    }
    for field in fields(bytes) {
        let Field { number, value } = field?;
        if let Some(schema) = schema.inline(number) {
            message(schema, value.bytes()?, out, depth + 1)?;
            continue;
        }
        let Some(name) = schema.node().wire.get(&number) else { continue };
        let Some(member) = schema.property(name) else { continue };
        let node = member.node();
        match node.kind {
            Some(Type::Array) if node.codec.is_none() => {
                let items = member.items().ok_or_else(|| refuse("a list without elements"))?;
                let list = out.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    elements(items, &value, list, depth)?;
                }
            }
            Some(Type::Object) if member.additional().is_some() => {
                let values = member.additional().ok_or_else(|| refuse("a map without values"))?;
                let (key, value) = entry(values, value.bytes()?, depth)?;
                let map = out.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                map[key] = value;
            }
            _ => {
                let value = single(member, &value, depth)?;
                if schema.node().pointers.contains(name) || !says_nothing(&value) {
                    out.insert((*name).to_owned(), value);
                }
            }
        }
    }
    Ok(())
}

/// A zero that Go writes because the field is no pointer.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// One element, or several numbers packed into one field.
fn elements(items: Schema, value: &Raw<'_>, list: &mut Vec<Value>, depth: usize) -> Result<(), Unreadable> {
    if let (Some(Type::Integer), Raw::Bytes(packed)) = (items.node().kind, value) {
        let mut rest = *packed;
        while !rest.is_empty() {
            list.push(wire::varint(&mut rest)?.cast_signed().into());
        }
        return Ok(());
    }
    list.push(single(items, value, depth)?);
    Ok(())
}

fn entry(values: Schema, bytes: &[u8], depth: usize) -> Result<(String, Value), Unreadable> {
    let (mut key, mut found) = (String::new(), None);
    for field in fields(bytes) {
        let Field { number, value } = field?;
        match number {
            1 => key = text(&value)?,
            2 => found = Some(single(values, &value, depth)?),
            _ => {}
        }
    }
    Ok((key, found.unwrap_or_else(|| "".into())))
}

fn single(schema: Schema, value: &Raw<'_>, depth: usize) -> Result<Value, Unreadable> {
    let node = schema.node();
    if let Some(codec) = node.codec.filter(|c| *c != Codec::Meta) {
        return special(codec, value.bytes()?);
    }
    match node.kind {
        Some(Type::String) if node.format == Some("byte") => Ok(STANDARD.encode(value.bytes()?).into()),
        Some(Type::String) => Ok(text(value)?.into()),
        Some(Type::Boolean) => Ok((value.number()? != 0).into()),
        Some(Type::Integer) => Ok(value.number()?.cast_signed().into()),
        Some(Type::Number) => Ok(f64::from_bits(value.number()?).into()),
        Some(Type::Object) => {
            let mut out = Map::new();
            message(schema, value.bytes()?, &mut out, depth + 1)?;
            Ok(out.into())
        }
        Some(Type::Array) | None => Err(refuse("a value of unknown form")),
    }
}

fn special(codec: Codec, bytes: &[u8]) -> Result<Value, Unreadable> {
    let mut numbers = [None; 3];
    let mut texts: Vec<&[u8]> = Vec::new();
    for field in fields(bytes) {
        match field? {
            Field { number: number @ 1..=2, value: Raw::Number(n) } => numbers[number as usize] = Some(n),
            Field { value: Raw::Bytes(text), .. } => texts.push(text),
            Field { .. } => {}
        }
    }
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| refuse("text is not UTF-8"));
    let last = || texts.last().copied().unwrap_or(&[]);
    match codec {
        Codec::Time | Codec::MicroTime => match moment(numbers[1], numbers[2]) {
            None => Ok(Value::Null),
            Some(time) if codec == Codec::Time => Ok(time.rfc3339().into()),
            Some(time) => Ok(time.rfc3339_micros().into()),
        },
        Codec::Raw if last().is_empty() => Ok(Value::Null),
        Codec::Raw => Ok(json(last())?.value),
        Codec::Quantity => Ok(utf8(last())?.into()),
        Codec::IntStr if numbers[1] == Some(1) => Ok(utf8(last())?.into()),
        Codec::IntStr => Ok(numbers[2].unwrap_or(0).cast_signed().into()),
        Codec::Wrapped => {
            let list: Vec<Value> =
                texts.into_iter().map(|t| utf8(t).map(Value::from)).collect::<Result<_, _>>()?;
            Ok(list.into())
        }
        Codec::Meta => Err(refuse("metadata has no special form")),
    }
}

/// An empty message is no time at all.
fn moment(seconds: Option<u64>, nanos: Option<u64>) -> Option<Micros> {
    let seconds = seconds.or(nanos.map(|_| 0))?.cast_signed();
    let micros = nanos.unwrap_or(0).cast_signed() / 1000;
    // Years that RFC 3339 cannot write are no times.
    let valid = (-62_135_596_800..253_402_300_800).contains(&seconds) && (0..1_000_000).contains(&micros);
    valid.then(|| Micros(seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests;
