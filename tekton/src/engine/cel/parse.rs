//! From the text of a program to its expression.

use super::{Expr, Fault, Value};

/// Macros: their second part binds a name.
pub const MACROS: [&str; 5] = ["all", "exists", "exists_one", "filter", "map"];

/// Operators with two sides, the loosest first.
const LEVELS: [&[&str]; 5] =
    [&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">", "in"], &["+", "-"], &["*", "/", "%"]];

/// Reads a program.
pub fn parse(program: &str) -> Result<Expr, Fault> {
    let mut parser = Parser { text: program, at: 0, depth: 0 };
    let expr = parser.expr()?;
    parser.space();
    if parser.at < program.len() { Err(parser.fault()) } else { Ok(expr) }
}

/// Every name must be bound by a macro around it: programs have no variables.
pub fn names_known(expr: &Expr, bound: &mut Vec<String>) -> Result<(), Fault> {
    match expr {
        Expr::Literal(_) => Ok(()),
        Expr::Name(name, at) if !bound.contains(name) => {
            Err(Fault { at: *at, what: format!("undeclared reference to '{name}' (in container '')") })
        }
        Expr::Name(..) => Ok(()),
        Expr::List(items) | Expr::Operator(_, items) => items.iter().try_for_each(|e| names_known(e, bound)),
        Expr::Map(entries) => {
            entries.iter().try_for_each(|(k, v)| names_known(k, bound).and_then(|()| names_known(v, bound)))
        }
        Expr::Field(object, _) => names_known(object, bound),
        Expr::Call(function, args, _) if MACROS.contains(&function.as_str()) && args.len() > 2 => {
            names_known(&args[0], bound)?;
            if let Expr::Name(name, _) = &args[1] {
                bound.push(name.clone());
            }
            let inner = args[2..].iter().try_for_each(|e| names_known(e, bound));
            bound.pop();
            inner
        }
        Expr::Call(_, args, _) => args.iter().try_for_each(|e| names_known(e, bound)),
    }
}

/// Programs nest no deeper.
const DEPTH_MAX: usize = 64;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fault(&self) -> Fault {
        let what = match self.rest().chars().next() {
            None => "Syntax error: mismatched input '<EOF>'".to_owned(),
            Some(c) => format!("Syntax error: extraneous input '{c}'"),
        };
        Fault { at: self.at, what }
    }

    fn space(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let word = token.chars().all(char::is_alphanumeric);
        let ends = !word
            || !self
                .rest()
                .get(token.len()..)
                .is_some_and(|r| r.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        let found = self.rest().starts_with(token) && ends;
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &str) -> Result<(), Fault> {
        if self.take(token) { Ok(()) } else { Err(self.fault()) }
    }

    fn expr(&mut self) -> Result<Expr, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault { at: self.at, what: "expression recursion limit exceeded".into() });
        }
        let condition = self.level(0)?;
        let out = if self.take("?") {
            let yes = self.level(0)?;
            self.need(":")?;
            let no = self.expr()?;
            Expr::Operator("?:", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(out)
    }

    fn level(&mut self, level: usize) -> Result<Expr, Fault> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        while let Some(operator) = operators.iter().find(|o| self.take(o)) {
            let right = self.level(level + 1)?;
            left = Expr::Operator(operator, vec![left, right]);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        self.space();
        let number =
            self.rest().strip_prefix('-').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
        for operator in ["!", "-"] {
            if !number && self.take(operator) {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(Fault { at: self.at, what: "expression recursion limit exceeded".into() });
                }
                let inner = self.unary()?;
                self.depth -= 1;
                return Ok(Expr::Operator(operator, vec![inner]));
            }
        }
        self.member()
    }

    fn member(&mut self) -> Result<Expr, Fault> {
        let mut out = self.primary()?;
        loop {
            if self.take("[") {
                let index = self.expr()?;
                self.need("]")?;
                out = Expr::Operator("[]", vec![out, index]);
            } else if self.take(".") {
                self.space();
                let at = self.at;
                let name = self.identifier().ok_or_else(|| self.fault())?;
                out = if self.take("(") {
                    let mut args = vec![out];
                    args.extend(self.list(")")?);
                    Expr::Call(name, args, at)
                } else {
                    Expr::Field(Box::new(out), name)
                };
            } else {
                return Ok(out);
            }
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut out = Vec::new();
        while !self.take(end) {
            out.push(self.expr()?);
            if !self.take(",") {
                self.need(end)?;
                break;
            }
        }
        Ok(out)
    }

    fn identifier(&mut self) -> Option<String> {
        let rest = self.rest();
        let size = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest[..size].to_owned();
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        self.at += if begins { size } else { 0 };
        begins.then_some(name)
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        self.space();
        if self.take("(") {
            let inner = self.expr()?;
            self.need(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            return Ok(Expr::List(self.list("]")?));
        }
        if self.take("{") {
            return self.map();
        }
        if let Some(text) = self.text_literal()? {
            return Ok(Expr::Literal(Value::Text(text)));
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return self.number();
        }
        let at = self.at;
        let Some(name) = self.identifier() else { return Err(self.fault()) };
        Ok(match name.as_str() {
            "true" => Expr::Literal(Value::Bool(true)),
            "false" => Expr::Literal(Value::Bool(false)),
            "null" => Expr::Literal(Value::Null),
            _ if self.take("(") => Expr::Call(name, self.list(")")?, at),
            _ => Expr::Name(name, at),
        })
    }

    fn map(&mut self) -> Result<Expr, Fault> {
        let mut out = Vec::new();
        while !self.take("}") {
            let key = self.expr()?;
            self.need(":")?;
            out.push((key, self.expr()?));
            if !self.take(",") {
                self.need("}")?;
                break;
            }
        }
        Ok(Expr::Map(out))
    }

    fn number(&mut self) -> Result<Expr, Fault> {
        let rest = self.rest();
        let hex = rest.trim_start_matches('-').starts_with("0x");
        let mut size = 0;
        for (i, c) in rest.char_indices() {
            let exponent = !hex && i > 0 && rest[..i].ends_with(['e', 'E']) && matches!(c, '+' | '-');
            let dot = c == '.' && rest[i + 1..].starts_with(|c: char| c.is_ascii_digit());
            if !(c.is_ascii_alphanumeric() || dot || exponent || (i == 0 && c == '-')) {
                break;
            }
            size = i + c.len_utf8();
        }
        let word = rest[..size].to_owned();
        let fault = Fault { at: self.at, what: "invalid number literal".into() };
        let value = if let Some(digits) = word.strip_suffix(['u', 'U']) {
            digits.parse().ok().map(Value::Uint)
        } else if hex {
            i64::from_str_radix(&word.replacen("0x", "", 1), 16).ok().map(Value::Int)
        } else if word.contains(['.', 'e', 'E']) {
            word.parse().ok().map(Value::Double)
        } else {
            word.parse().ok().map(Value::Int)
        };
        self.at += size;
        value.map(Expr::Literal).ok_or(fault)
    }

    /// A text between `'`, `"` or three of them; raw after `r`.
    fn text_literal(&mut self) -> Result<Option<String>, Fault> {
        let rest = self.rest();
        let raw = rest.starts_with(['r', 'R']) && rest[1..].starts_with(['\'', '"']);
        let body = if raw { &rest[1..] } else { rest };
        let Some(quote) = ["'''", "\"\"\"", "'", "\""].into_iter().find(|q| body.starts_with(q)) else {
            return Ok(None);
        };
        let begin = self.at + usize::from(raw) + quote.len();
        let (mut out, mut at) = (String::new(), begin);
        loop {
            let rest = &self.text[at..];
            if rest.starts_with(quote) {
                self.at = at + quote.len();
                return Ok(Some(out));
            }
            let Some(c) = rest.chars().next().filter(|c| *c != '\n' || quote.len() == 3) else {
                return Err(Fault { at: self.at, what: "Syntax error: token recognition error".into() });
            };
            at += c.len_utf8();
            if c != '\\' || raw {
                out.push(c);
                continue;
            }
            let escaped = self.text[at..].chars().next().unwrap_or('\\');
            at += escaped.len_utf8().min(self.text.len() - at);
            out.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
        }
    }
}
