//! From an expression to its value.

use super::operators::{call, index};
use super::types::Value;
use super::{Each, Expr, Macro, Node};

type Scope = Vec<(String, Value)>;

/// Elements that one macro may look at; macros in each other multiply.
const ELEMENTS_MAX: usize = 1_000_000;

/// The value of `node`, in the library's words if it has none.
pub fn eval(node: &Node, scope: &mut Scope) -> Result<Value, String> {
    let mut left = ELEMENTS_MAX;
    value(node, scope, &mut left)
}

fn value(node: &Node, scope: &mut Scope, left: &mut usize) -> Result<Value, String> {
    match &node.expr {
        Expr::Literal(value) => Ok(value.clone()),
        Expr::Name(name) => {
            let found = scope.iter().rev().find(|(bound, _)| bound == name);
            Ok(found.map_or_else(|| Value::Type(name.clone()), |(_, value)| value.clone()))
        }
        Expr::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| value(item, scope, left)).collect();
            items.map(Value::List)
        }
        Expr::Map(entries) => map(entries, scope, left),
        Expr::Field { object, name, test } => field(object, name, *test, scope, left),
        Expr::Call { function, target, args } => match (function.as_str(), args.as_slice()) {
            ("_&&_", [a, b]) => decided(false, a, b, scope, left),
            ("_||_", [a, b]) => decided(true, a, b, scope, left),
            ("_?_:_", [condition, yes, no]) => match value(condition, scope, left)? {
                Value::Bool(true) => value(yes, scope, left),
                Value::Bool(false) => value(no, scope, left),
                _ => Err("no such overload".into()),
            },
            (function, args) => {
                let all = target.as_deref().into_iter().chain(args);
                let all = all.map(|arg| value(arg, scope, left)).collect::<Result<Vec<_>, _>>()?;
                call(function, &all)
            }
        },
        Expr::Message(name) => Err(format!("unknown type: {name}")),
        Expr::Each(each) => comprehend(each, scope, left),
    }
}

fn map(entries: &[(Node, Node)], scope: &mut Scope, left: &mut usize) -> Result<Value, String> {
    let mut out: Vec<(Value, Value)> = Vec::new();
    for (key, member) in entries {
        let (key, member) = (value(key, scope, left)?, value(member, scope, left)?);
        match &key {
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_) => {}
            _ => return Err("unsupported key type".into()),
        }
        if out.iter().any(|(there, _)| *there == key) {
            return Err(format!("Failed with repeated key {}", super::convert::shown(&key)));
        }
        out.push((key, member));
    }
    Ok(Value::Map(out))
}

fn field(
    object: &Node,
    name: &str,
    test: bool,
    scope: &mut Scope,
    left: &mut usize,
) -> Result<Value, String> {
    if let Expr::Field { name: package, .. } = &object.expr
        && package == "protobuf"
    {
        return Ok(Value::Type(format!("google.protobuf.{name}")));
    }
    let found = index(&value(object, scope, left)?, &Value::Text(name.to_owned()));
    match (test, found) {
        (false, found) => found,
        (true, Ok(_)) => Ok(Value::Bool(true)),
        (true, Err(why)) if why.starts_with("no such key") => Ok(Value::Bool(false)),
        (true, Err(why)) => Err(why),
    }
}

/// Either side may decide, even if the other cannot be evaluated.
fn decided(by: bool, a: &Node, b: &Node, scope: &mut Scope, left: &mut usize) -> Result<Value, String> {
    let first = value(a, scope, left);
    if first == Ok(Value::Bool(by)) {
        return first;
    }
    let second = value(b, scope, left);
    if second == Ok(Value::Bool(by)) {
        return second;
    }
    match (first?, second?) {
        (Value::Bool(_), Value::Bool(_)) => Ok(Value::Bool(!by)),
        _ => Err("no such overload".into()),
    }
}

fn comprehend(each: &Each, scope: &mut Scope, left: &mut usize) -> Result<Value, String> {
    let items = match value(&each.range, scope, left)? {
        Value::List(items) => items,
        Value::Map(entries) => entries.into_iter().map(|(key, _)| key).collect(),
        _ => return Err("no such overload".into()),
    };
    let (mut kept, mut fault) = (Vec::new(), None);
    for item in items {
        *left = left.checked_sub(1).ok_or("operation cancelled: actual cost limit exceeded")?;
        scope.push((each.name.clone(), item.clone()));
        let wanted = match &each.filter {
            Some(filter) => value(filter, scope, left),
            None => Ok(Value::Bool(true)),
        };
        let found = match wanted {
            Ok(Value::Bool(true)) => Some(value(&each.body, scope, left)),
            Ok(Value::Bool(false)) => None,
            Ok(_) => Some(Err("no such overload".to_owned())),
            Err(why) => Some(Err(why)),
        };
        scope.pop();
        match (each.kind, found) {
            (_, None) | (Macro::Exists | Macro::ExistsOne | Macro::Filter, Some(Ok(Value::Bool(false)))) => {}
            (Macro::All, Some(Ok(Value::Bool(false)))) => return Ok(Value::Bool(false)),
            (Macro::Exists, Some(Ok(Value::Bool(true)))) => return Ok(Value::Bool(true)),
            (Macro::All, Some(Ok(Value::Bool(true)))) => {}
            (Macro::Map, Some(Ok(made))) => kept.push(made),
            (Macro::ExistsOne | Macro::Filter, Some(Ok(Value::Bool(true)))) => kept.push(item),
            // One element decides, even if another cannot be evaluated.
            (Macro::All | Macro::Exists, Some(Err(why))) => fault = fault.or(Some(why)),
            (_, Some(Err(why))) => return Err(why),
            (_, Some(Ok(_))) => return Err("no such overload".into()),
        }
    }
    match (each.kind, fault) {
        (_, Some(why)) => Err(why),
        (Macro::All, None) => Ok(Value::Bool(true)),
        (Macro::Exists, None) => Ok(Value::Bool(false)),
        (Macro::ExistsOne, None) => Ok(Value::Bool(kept.len() == 1)),
        (Macro::Filter | Macro::Map, None) => Ok(Value::List(kept)),
    }
}
