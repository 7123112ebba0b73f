//! CEL in when expressions: programs without variables, over literals that substitution left there.
//!
//! What is here: all literals but bytes, all operators, lists and maps, `in`, `size`, conversions, the text functions
//! and the macros `all`, `exists`, `exists_one`, `filter` and `map`. Regular expressions, times and durations are not;
//! a program that uses them ends the run with a message that says so.

mod eval;
mod parse;

/// A part of a program.
#[derive(Clone, PartialEq, Debug)]
enum Expr {
    /// A literal.
    Literal(Value),
    /// A name, and where it stands.
    Name(String, usize),
    /// A list.
    List(Vec<Expr>),
    /// A map.
    Map(Vec<(Expr, Expr)>),
    /// An operator: `!`, `-`, `+`, `?:`, `[]`, `.x` and so on.
    Operator(&'static str, Vec<Expr>),
    /// A function or method and its arguments, and where it stands; of a method, the first is its object.
    Call(String, Vec<Expr>, usize),
    /// A field of a map.
    Field(Box<Expr>, String),
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// What a program says.
///
/// # Errors
/// The text for the run's message: the program cannot be read, or evaluated, or says neither true nor false.
pub fn evaluate(program: &str) -> Result<bool, String> {
    let expr = parse::parse(program).map_err(|fault| fault.shown(program))?;
    parse::names_known(&expr, &mut Vec::new()).map_err(|fault| fault.shown(program))?;
    match eval::eval(&expr, &mut Vec::new())? {
        Value::Bool(answer) => Ok(answer),
        _ => Err(format!("The CEL expression {program} is not evaluated to a boolean")),
    }
}

/// A fault of a program, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    at: usize,
    what: String,
}

impl Fault {
    /// With the line that it stands in, and a mark below it.
    fn shown(&self, program: &str) -> String {
        let before = &program[..self.at.min(program.len())];
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let text = program.lines().nth(line).unwrap_or_default();
        let dots = ".".repeat(column);
        format!("ERROR: <input>:{}:{}: {}\n | {text}\n | {dots}^", line + 1, column + 1, self.what)
    }
}

#[cfg(test)]
mod tests;
