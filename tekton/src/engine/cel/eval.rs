//! From an expression to its value.

use std::cmp::Ordering;

use super::parse::MACROS;
use super::{Expr, Value};

type Scope = Vec<(String, Value)>;

/// The value of `expr`, in the library's words if it has none.
pub fn eval(expr: &Expr, scope: &mut Scope) -> Result<Value, String> {
    match expr {
        Expr::Literal(value) => Ok(value.clone()),
        Expr::Name(name, _) => {
            let found = scope.iter().rev().find(|(bound, _)| bound == name);
            found.map(|(_, value)| value.clone()).ok_or_else(|| format!("no such attribute: {name}"))
        }
        Expr::List(items) => items.iter().map(|e| eval(e, scope)).collect::<Result<_, _>>().map(Value::List),
        Expr::Map(entries) => {
            let pairs = entries.iter().map(|(k, v)| Ok((eval(k, scope)?, eval(v, scope)?)));
            pairs.collect::<Result<_, String>>().map(Value::Map)
        }
        Expr::Field(object, name) => index(&eval(object, scope)?, &Value::Text(name.clone())),
        Expr::Operator(operator, sides) => operate(operator, sides, scope),
        Expr::Call(name, args, _) if MACROS.contains(&name.as_str()) && args.len() == 3 => {
            comprehend(name, args, scope)
        }
        Expr::Call(name, args, _) => {
            let args = args.iter().map(|e| eval(e, scope)).collect::<Result<Vec<_>, _>>()?;
            call(name, &args)
        }
    }
}

fn no_overload() -> String {
    "no such overload".into()
}

fn operate(operator: &str, sides: &[Expr], scope: &mut Scope) -> Result<Value, String> {
    if let ("&&" | "||", [left, right]) = (operator, sides) {
        // Either side may decide, even if the other cannot be evaluated.
        let decides = Value::Bool(operator == "||");
        let left = eval(left, scope);
        if left.as_ref() == Ok(&decides) {
            return Ok(decides);
        }
        let right = eval(right, scope);
        if right.as_ref() == Ok(&decides) {
            return Ok(decides);
        }
        return match (left?, right?) {
            (Value::Bool(_), Value::Bool(_)) => Ok(Value::Bool(operator == "&&")),
            _ => Err(no_overload()),
        };
    }
    if let ("?:", [condition, yes, no]) = (operator, sides) {
        return match eval(condition, scope)? {
            Value::Bool(true) => eval(yes, scope),
            Value::Bool(false) => eval(no, scope),
            _ => Err(no_overload()),
        };
    }
    let values = sides.iter().map(|e| eval(e, scope)).collect::<Result<Vec<_>, _>>()?;
    match (operator, values.as_slice()) {
        ("!", [Value::Bool(b)]) => Ok(Value::Bool(!b)),
        ("-", [Value::Int(n)]) => n.checked_neg().map(Value::Int).ok_or_else(overflow),
        ("-", [Value::Double(n)]) => Ok(Value::Double(-n)),
        ("==", [a, b]) => Ok(Value::Bool(same(a, b))),
        ("!=", [a, b]) => Ok(Value::Bool(!same(a, b))),
        ("in", [item, Value::List(items)]) => Ok(Value::Bool(items.iter().any(|i| same(i, item)))),
        ("in", [key, Value::Map(entries)]) => Ok(Value::Bool(entries.iter().any(|(k, _)| same(k, key)))),
        ("[]", [object, key]) => index(object, key),
        ("<" | "<=" | ">" | ">=", [a, b]) => {
            let order = compare(a, b).ok_or_else(no_overload)?;
            Ok(Value::Bool(match operator {
                "<" => order == Ordering::Less,
                "<=" => order != Ordering::Greater,
                ">" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        (_, [a, b]) => arithmetic(operator, a, b),
        _ => Err(no_overload()),
    }
}

fn overflow() -> String {
    "integer overflow".into()
}

fn arithmetic(operator: &str, a: &Value, b: &Value) -> Result<Value, String> {
    let zero = matches!(b, Value::Int(0) | Value::Uint(0));
    match (operator, a, b) {
        ("/", Value::Int(_) | Value::Uint(_), _) if zero => Err("division by zero".into()),
        ("%", Value::Int(_) | Value::Uint(_), _) if zero => Err("modulus by zero".into()),
        ("+", Value::Text(a), Value::Text(b)) => Ok(Value::Text(format!("{a}{b}"))),
        ("+", Value::List(a), Value::List(b)) => Ok(Value::List([a.clone(), b.clone()].concat())),
        (_, Value::Int(a), Value::Int(b)) => match operator {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "/" => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Int)
        .ok_or_else(overflow),
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
        _ => Err(no_overload()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of different kinds are compared as the library does")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Uint(n) => Some(*n as f64),
        Value::Double(n) => Some(*n),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.iter().any(|(l, w)| same(k, l) && same(v, w)))
        }
        _ => a == b || matches!((number(a), number(b)), (Some(a), Some(b)) if a == b),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

fn index(object: &Value, key: &Value) -> Result<Value, String> {
    match (object, key) {
        (Value::List(items), Value::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| items.get(at));
            found.cloned().ok_or_else(|| format!("index out of bounds: {at}"))
        }
        (Value::Map(entries), key) => {
            let found = entries.iter().find(|(k, _)| same(k, key)).map(|(_, v)| v.clone());
            found.ok_or_else(|| format!("no such key: {}", shown(key)))
        }
        _ => Err(no_overload()),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Null => "null".into(),
        Value::List(_) | Value::Map(_) => String::new(),
    }
}

fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let size = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    match (name, args) {
        ("size", [Value::Text(text)]) => Ok(size(text.chars().count())),
        ("size", [Value::List(items)]) => Ok(size(items.len())),
        ("size", [Value::Map(entries)]) => Ok(size(entries.len())),
        ("startsWith", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.starts_with(part))),
        ("endsWith", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.ends_with(part))),
        ("contains", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.contains(part))),
        ("string", [value]) if !matches!(value, Value::List(_) | Value::Map(_) | Value::Null) => {
            Ok(Value::Text(shown(value)))
        }
        ("int", [value]) => convert(value, |t| t.parse().ok(), |n| Some(n as i64)).map(Value::Int),
        ("uint", [value]) => {
            convert(value, |t| t.parse().ok(), |n| (n >= 0.0).then_some(n as u64)).map(Value::Uint)
        }
        ("double", [value]) => convert(value, |t| t.parse().ok(), Some).map(Value::Double),
        ("bool", [Value::Text(text)]) => text.parse().map(Value::Bool).map_err(|_| conversion()),
        ("bool", [Value::Bool(b)]) => Ok(Value::Bool(*b)),
        ("dyn", [value]) => Ok(value.clone()),
        ("matches" | "timestamp" | "duration" | "bytes" | "type", _) => {
            Err(format!("the CEL function {name} is not supported yet"))
        }
        _ => Err(no_overload()),
    }
}

fn conversion() -> String {
    "type conversion error".into()
}

fn convert<T>(
    value: &Value,
    text: impl Fn(&str) -> Option<T>,
    from: impl Fn(f64) -> Option<T>,
) -> Result<T, String> {
    let found = match value {
        Value::Text(word) => text(word),
        // Whole numbers go through their text, so that none loses a digit.
        Value::Int(n) => text(&n.to_string()),
        Value::Uint(n) => text(&n.to_string()),
        Value::Double(n) => from(*n),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => return Err(no_overload()),
    };
    found.ok_or_else(conversion)
}

/// `range.all(x, test)` and its siblings.
fn comprehend(name: &str, args: &[Expr], scope: &mut Scope) -> Result<Value, String> {
    let [range, Expr::Name(bound, _), body] = args else { return Err(no_overload()) };
    let items = match eval(range, scope)? {
        Value::List(items) => items,
        Value::Map(entries) => entries.into_iter().map(|(key, _)| key).collect(),
        _ => return Err(no_overload()),
    };
    let mut found = Vec::new();
    for item in items {
        scope.push((bound.clone(), item.clone()));
        let value = eval(body, scope);
        scope.pop();
        match (name, value?) {
            ("map", value) => found.push((item, value)),
            (_, Value::Bool(true)) => found.push((item, Value::Bool(true))),
            ("all", Value::Bool(false)) => return Ok(Value::Bool(false)),
            (_, Value::Bool(false)) => {}
            _ => return Err(no_overload()),
        }
    }
    Ok(match name {
        "map" => Value::List(found.into_iter().map(|(_, value)| value).collect()),
        "filter" => Value::List(found.into_iter().map(|(item, _)| item).collect()),
        "exists" => Value::Bool(!found.is_empty()),
        "exists_one" => Value::Bool(found.len() == 1),
        _ => Value::Bool(true),
    })
}
