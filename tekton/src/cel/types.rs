//! Values and their types, and whether types agree.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// ns since 1970.
    Timestamp(i128),
    /// ns.
    Duration(i64),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// A type, by its name.
    Type(String),
}

impl Value {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Type(_) => "type",
        }
    }
}

/// A type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    /// Anything; known only when it is evaluated.
    Dyn,
    /// Of something that has a fault.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Timestamp,
    Duration,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Of(Box<Type>),
    /// Not known yet.
    Var(u32),
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Type) -> Self {
        Type::List(Box::new(element))
    }

    /// A map from `key` to `value`.
    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Box::new(key), Box::new(value))
    }

    /// The type of a literal.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::Text(_) => Type::Text,
            Value::Bytes(_) => Type::Bytes,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Duration(_) => Type::Duration,
            Value::List(_) | Value::Map(_) | Value::Type(_) => Type::Dyn,
        }
    }

    /// The same with every variable replaced by what `change` makes of it.
    pub fn mapped(&self, change: &mut impl FnMut(u32) -> Type) -> Type {
        match self {
            Type::Var(number) => change(*number),
            Type::List(element) => Type::list(element.mapped(change)),
            Type::Map(key, value) => Type::map(key.mapped(change), value.mapped(change)),
            Type::Of(of) => Type::Of(Box::new(of.mapped(change))),
            other => other.clone(),
        }
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self {
            Type::List(element) => return write!(f, "list({element})"),
            Type::Map(key, value) => return write!(f, "map({key}, {value})"),
            Type::Of(of) => return write!(f, "type({of})"),
            Type::Dyn | Type::Var(_) => "dyn",
            Type::Error => "!error!",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::Text => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "timestamp",
            Type::Duration => "duration",
        };
        f.write_str(word)
    }
}

/// What is known of variables.
#[derive(Clone, Debug, Default)]
pub struct Known(BTreeMap<u32, Type>);

impl Known {
    /// `of` as far as it is known.
    pub fn resolved(&self, of: &Type) -> Type {
        of.mapped(&mut |number| match self.0.get(&number) {
            Some(found) => self.resolved(found),
            None => Type::Var(number),
        })
    }

    /// `of`; what is not known can be anything.
    pub fn settled(&self, of: &Type) -> Type {
        self.resolved(of).mapped(&mut |_| Type::Dyn)
    }

    /// Whether a value of `given` can stand where one of `wanted` is wanted; notes what variables become by that.
    pub fn agree(&mut self, wanted: &Type, given: &Type) -> bool {
        let (wanted, given) = (self.resolved(wanted), self.resolved(given));
        match (&wanted, &given) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(number), other) | (other, Type::Var(number)) => {
                let mut inside = false;
                other.mapped(&mut |n| {
                    inside |= n == *number;
                    Type::Var(n)
                });
                if !inside {
                    self.0.insert(*number, other.clone());
                }
                !inside
            }
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, Type::Timestamp | Type::Duration)
            | (Type::Timestamp | Type::Duration, Type::Null) => true,
            (Type::List(a), Type::List(b)) => self.agree(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.agree(a, b) && self.agree(x, y),
            // What a type is the type of does not matter.
            (Type::Of(_), Type::Of(_)) => true,
            (a, b) => a == b,
        }
    }
}
