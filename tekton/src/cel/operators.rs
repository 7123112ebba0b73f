//! Operators and functions, on values.

use std::cmp::Ordering;

use super::types::Value;
use super::{convert, pattern, time};

fn no_overload() -> String {
    "no such overload".into()
}

/// What a function says of `args`; of a method, the first is its object.
pub fn call(function: &str, args: &[Value]) -> Result<Value, String> {
    match (function, args) {
        ("!_", [Value::Bool(b)]) => Ok(Value::Bool(!b)),
        ("-_", [Value::Int(n)]) => n.checked_neg().map(Value::Int).ok_or_else(|| "integer overflow".into()),
        ("-_", [Value::Double(n)]) => Ok(Value::Double(-n)),
        ("_==_", [a, b]) => Ok(Value::Bool(same(a, b))),
        ("_!=_", [a, b]) => Ok(Value::Bool(!same(a, b))),
        ("@in", [item, Value::List(items)]) => Ok(Value::Bool(items.iter().any(|i| same(i, item)))),
        ("@in", [key, Value::Map(entries)]) => Ok(Value::Bool(entries.iter().any(|(k, _)| same(k, key)))),
        ("_[_]", [object, key]) => index(object, key),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => ordered(function, a, b),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(&function[1..2], a, b),
        ("size", [value]) => size(value),
        ("startsWith", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.starts_with(part))),
        ("endsWith", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.ends_with(part))),
        ("contains", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.contains(part))),
        ("matches", [Value::Text(text), Value::Text(regex)]) => {
            pattern::matches(text, regex).map(Value::Bool)
        }
        ("dyn", [value]) => Ok(value.clone()),
        ("type", [value]) => Ok(Value::Type(value.type_name().to_owned())),
        ("int" | "uint" | "double" | "string" | "bool" | "bytes" | "timestamp" | "duration", [value]) => {
            convert::to(function, value)
        }
        (part, [Value::Timestamp(at)]) => time::part(part, *at, "").ok_or_else(no_overload)?,
        (part, [Value::Timestamp(at), Value::Text(zone)]) => {
            time::part(part, *at, zone).ok_or_else(no_overload)?
        }
        (part, [Value::Duration(nanos)]) => time::part_of_duration(part, *nanos).ok_or_else(no_overload),
        _ => Err(no_overload()),
    }
}

fn size(value: &Value) -> Result<Value, String> {
    let count = match value {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        _ => return Err(no_overload()),
    };
    Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn ordered(operator: &str, a: &Value, b: &Value) -> Result<Value, String> {
    if let (Value::Double(x), Value::Double(y)) = (a, b)
        && (x.is_nan() || y.is_nan())
    {
        return Err("NaN values cannot be ordered".into());
    }
    let order = compare(a, b).ok_or_else(no_overload)?;
    Ok(Value::Bool(match operator {
        "_<_" => order == Ordering::Less,
        "_<=_" => order != Ordering::Greater,
        "_>_" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn arithmetic(operator: &str, a: &Value, b: &Value) -> Result<Value, String> {
    match (operator, a, b) {
        ("/", Value::Int(_), Value::Int(0)) | ("/", Value::Uint(_), Value::Uint(0)) => {
            Err("division by zero".into())
        }
        ("%", Value::Int(_), Value::Int(0)) | ("%", Value::Uint(_), Value::Uint(0)) => {
            Err("modulus by zero".into())
        }
        ("+", Value::Text(a), Value::Text(b)) => Ok(Value::Text(format!("{a}{b}"))),
        ("+", Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([a.as_slice(), b].concat())),
        ("+", Value::List(a), Value::List(b)) => Ok(Value::List([a.as_slice(), b].concat())),
        (_, Value::Int(a), Value::Int(b)) => match operator {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "/" => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Int)
        .ok_or_else(|| "integer overflow".into()),
        (_, Value::Uint(a), Value::Uint(b)) => match operator {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "/" => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Uint)
        .ok_or_else(|| "unsigned integer overflow".into()),
        ("+", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        ("-", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        ("*", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        ("/", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        ("+", Value::Duration(a), Value::Duration(b)) => time::duration(i128::from(*a) + i128::from(*b)),
        ("-", Value::Duration(a), Value::Duration(b)) => time::duration(i128::from(*a) - i128::from(*b)),
        ("+", Value::Timestamp(at), Value::Duration(nanos))
        | ("+", Value::Duration(nanos), Value::Timestamp(at)) => time::timestamp(at + i128::from(*nanos)),
        ("-", Value::Timestamp(at), Value::Duration(nanos)) => time::timestamp(at - i128::from(*nanos)),
        ("-", Value::Timestamp(a), Value::Timestamp(b)) => time::duration(a - b),
        _ => Err(no_overload()),
    }
}

/// Whether two values are the same; numbers of different kinds can be.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.iter().any(|(l, w)| same(k, l) && same(v, w)))
        }
        _ => a == b || numbers(a, b) == Some(Ordering::Equal),
    }
}

/// The order of two numbers.
#[allow(
    clippy::cast_precision_loss,
    reason = "what is beyond a double's precision is beyond the library's, too"
)]
fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    let whole = |value: &Value| match value {
        Value::Int(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    let broken = |value: &Value| match value {
        Value::Double(n) => Some(*n),
        other => whole(other).map(|n| n as f64),
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => broken(a)?.partial_cmp(&broken(b)?),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        _ => numbers(a, b),
    }
}

/// An element of a list, or a member of a map.
pub fn index(object: &Value, key: &Value) -> Result<Value, String> {
    match (object, key) {
        (Value::List(items), key) => {
            let at = match key {
                Value::Int(at) => usize::try_from(*at).ok(),
                Value::Uint(at) => usize::try_from(*at).ok(),
                Value::Double(at) if at.fract() == 0.0 && *at >= 0.0 => Some(*at as usize),
                Value::Double(_) => None,
                _ => return Err(format!("unsupported index type '{}' in list", key.type_name())),
            };
            let found = at.and_then(|at| items.get(at));
            found.cloned().ok_or_else(|| format!("index out of bounds: {}", convert::shown(key)))
        }
        (Value::Map(entries), key) => {
            let found = entries.iter().find(|(k, _)| same(k, key)).map(|(_, v)| v.clone());
            found.ok_or_else(|| format!("no such key: {}", convert::shown(key)))
        }
        _ => Err(no_overload()),
    }
}
