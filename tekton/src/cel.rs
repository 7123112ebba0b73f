//! CEL, the language of `cel` in when expressions: programs without variables, over literals that substitution left
//! there.
//!
//! As the reference's library does it: a program is read and its types are checked before anything is evaluated, so
//! that admission and the engine find the same faults, in the same words. [`Program::compile`] is all that admission
//! needs. Not here: construction of protocol buffer messages, and time zones by name.

mod check;
mod convert;
mod eval;
mod functions;
mod lex;
mod operators;
mod parse;
mod pattern;
mod time;
mod types;

use types::Value;

/// Programs are at most this long, bytes: every tenant may send one.
const LONGEST: usize = 64 * 1024;

/// A part of a program, and where it stands, as an offset in bytes.
#[derive(Clone, PartialEq, Debug)]
struct Node {
    at: usize,
    expr: Expr,
}

#[derive(Clone, PartialEq, Debug)]
enum Expr {
    Literal(Value),
    Name(String),
    Field { object: Box<Node>, name: String, test: bool },
    Call { function: String, target: Option<Box<Node>>, args: Vec<Node> },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Message(String),
    Each(Box<Each>),
}

/// A macro that looks at each element of a list, or at each key of a map.
#[derive(Clone, PartialEq, Debug)]
struct Each {
    kind: Macro,
    range: Node,
    name: String,
    filter: Option<Node>,
    body: Node,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A fault of a program, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    at: usize,
    what: String,
}

/// A program whose types are right.
#[derive(Clone, PartialEq, Debug)]
pub struct Program(Node);

impl Program {
    /// Reads and checks a program.
    ///
    /// # Errors
    /// All faults, one after the other, each with the line that it stands in.
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("expression of {} bytes exceeds limit {LONGEST}", text.len()));
        }
        let (node, faults) = parse::parse(text);
        if !faults.is_empty() {
            return Err(shown(faults, text));
        }
        let faults = check::check(&node);
        if faults.is_empty() { Ok(Self(node)) } else { Err(shown(faults, text)) }
    }
}

/// What a program says.
///
/// # Errors
/// The text for the run's message: the program cannot be read, or evaluated, or says neither true nor false.
pub fn evaluate(text: &str) -> Result<bool, String> {
    let program = Program::compile(text)?;
    match eval::eval(&program.0, &mut Vec::new())? {
        Value::Bool(answer) => Ok(answer),
        _ => Err(format!("The CEL expression {text} is not evaluated to a boolean")),
    }
}

/// Most faults that are told.
const TOLD_MAX: usize = 100;

fn shown(mut faults: Vec<Fault>, text: &str) -> String {
    faults.sort_by_key(|fault| fault.at);
    faults.truncate(TOLD_MAX);
    let each: Vec<_> = faults.iter().map(|fault| fault.shown(text)).collect();
    each.join("\n")
}

impl Fault {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    /// With the line that it stands in, and a mark below it.
    fn shown(&self, program: &str) -> String {
        // A fault may be between the bytes of a character: it is told at the character.
        let at = (0..=self.at.min(program.len())).rev().find(|at| program.is_char_boundary(*at)).unwrap_or(0);
        let before = &program[..at];
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let text = program.split('\n').nth(line).unwrap_or_default().replace('\t', " ");
        // Wide characters get wide dots, so that the mark stands below what it means.
        let dots: String =
            text.chars().take(column).map(|c| if c.len_utf8() > 1 { '．' } else { '.' }).collect();
        let dots = format!("{dots}{}", ".".repeat(column.saturating_sub(text.chars().count())));
        let mark = if text[..].chars().nth(column).is_some_and(|c| c.len_utf8() > 1) { '＾' } else { '^' };
        format!("ERROR: <input>:{}:{}: {}\n | {text}\n | {dots}{mark}", line + 1, column + 1, self.what)
    }
}

#[cfg(test)]
mod tests;
