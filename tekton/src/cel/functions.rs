//! Which functions there are, and for which types.

use super::types::Type;

/// One way in which a function can be called.
pub struct Overload {
    /// It is called on an object, which is the first of `args`.
    pub method: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

/// Parts of times that can be asked for: of a timestamp, or of a duration as well.
pub const TIME_PARTS: [(&str, bool); 10] = [
    ("getFullYear", false),
    ("getMonth", false),
    ("getDate", false),
    ("getDayOfMonth", false),
    ("getDayOfWeek", false),
    ("getDayOfYear", false),
    ("getHours", true),
    ("getMinutes", true),
    ("getSeconds", true),
    ("getMilliseconds", true),
];

fn of(args: &[Type], result: Type) -> Overload {
    Overload { method: false, args: args.to_vec(), result }
}

fn on(args: &[Type], result: Type) -> Overload {
    Overload { method: true, args: args.to_vec(), result }
}

/// Each of `types` with itself, giving the same.
fn pairs(types: &[Type]) -> Vec<Overload> {
    types.iter().map(|t| of(&[t.clone(), t.clone()], t.clone())).collect()
}

/// Each of `types` turned into `result`.
fn from(types: &[Type], result: &Type) -> Vec<Overload> {
    types.iter().map(|t| of(std::slice::from_ref(t), result.clone())).collect()
}

/// All ways to call `name`; none: there is no such function.
pub fn overloads(name: &str) -> Option<Vec<Overload>> {
    use Type::{Bool, Bytes, Double, Duration, Dyn, Int, Text, Timestamp, Uint};
    let (a, b) = (Type::Var(0), Type::Var(1));
    let list = Type::list(a.clone());
    let map = Type::map(a.clone(), b.clone());
    Some(match name {
        "_&&_" | "_||_" => pairs(&[Bool]),
        "!_" => from(&[Bool], &Bool),
        "_?_:_" => vec![of(&[Bool, a.clone(), a.clone()], a)],
        "_==_" | "_!=_" => vec![of(&[a.clone(), a], Bool)],
        "_<_" | "_<=_" | "_>_" | "_>=_" => [Bool, Int, Uint, Double, Text, Bytes, Timestamp, Duration]
            .into_iter()
            .map(|t| of(&[t.clone(), t], Bool))
            .collect(),
        "_+_" => {
            let mut out = pairs(&[Bytes, Double, Duration, Int, Text, Uint, list]);
            out.push(of(&[Duration, Timestamp], Timestamp));
            out.push(of(&[Timestamp, Duration], Timestamp));
            out
        }
        "_-_" => {
            let mut out = pairs(&[Double, Duration, Int, Uint]);
            out.push(of(&[Timestamp, Duration], Timestamp));
            out.push(of(&[Timestamp, Timestamp], Duration));
            out
        }
        "_*_" | "_/_" => pairs(&[Double, Int, Uint]),
        "_%_" => pairs(&[Int, Uint]),
        "-_" => vec![of(&[Int], Int), of(&[Double], Double)],
        "_[_]" => vec![of(&[list, Int], a.clone()), of(&[map, a], b)],
        "@in" => vec![of(&[a.clone(), list], Bool), of(&[a, map], Bool)],
        "size" => [Text, Bytes, list, map]
            .into_iter()
            .flat_map(|t| [of(std::slice::from_ref(&t), Int), on(&[t], Int)])
            .collect(),
        "type" => vec![of(std::slice::from_ref(&a), Type::Of(Box::new(a.clone())))],
        "dyn" => vec![of(&[a], Dyn)],
        "bool" => from(&[Bool, Text], &Bool),
        "bytes" => from(&[Bytes, Text], &Bytes),
        "double" => from(&[Double, Int, Text, Uint], &Double),
        "duration" => from(&[Duration, Int, Text], &Duration),
        "int" => from(&[Int, Double, Duration, Text, Timestamp, Uint], &Int),
        "string" => from(&[Text, Bool, Bytes, Double, Duration, Int, Timestamp, Uint], &Text),
        "timestamp" => from(&[Timestamp, Int, Text], &Timestamp),
        "uint" => from(&[Uint, Double, Int, Text], &Uint),
        "contains" | "endsWith" | "startsWith" => vec![on(&[Text, Text], Bool)],
        "matches" => vec![of(&[Text, Text], Bool), on(&[Text, Text], Bool)],
        _ => {
            let (_, of_durations) = TIME_PARTS.iter().find(|(part, _)| *part == name)?;
            let mut out = vec![on(&[Timestamp], Int), on(&[Timestamp, Text], Int)];
            if *of_durations {
                out.push(on(&[Duration], Int));
            }
            out
        }
    })
}

/// What a name is that stands for a type.
pub fn named_type(name: &str) -> Option<Type> {
    let any = || Box::new(Type::Dyn);
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::Text,
        "null_type" => Type::Null,
        "list" => Type::List(any()),
        "map" => Type::Map(any(), any()),
        "type" => Type::Of(any()),
        _ => return None,
    })
}
