//! From the text of a program to its expression, with the faults that the reference's parser tells: a token too many
//! is passed over, a missing one is put in, and after any other fault nothing is told until something fits again.

mod literal;

use super::lex::{self, Kind, Token};
use super::types::Value;
use super::{Each, Expr, Fault, Macro, Node};

/// Programs nest no deeper: operands in a row count once each, brackets as often as they cost more of the stack.
const DEPTH_MAX: usize = 250;
const BRACKET: usize = 5;
/// Words that are no names.
const RESERVED: [&str; 16] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];
/// What an operand begins with.
const OPERAND: [Kind; 15] = [
    Kind::BracketOpen,
    Kind::BraceOpen,
    Kind::ParenOpen,
    Kind::Dot,
    Kind::Minus,
    Kind::Not,
    Kind::True,
    Kind::False,
    Kind::Null,
    Kind::Float,
    Kind::Int,
    Kind::Uint,
    Kind::Text,
    Kind::Bytes,
    Kind::Identifier,
];
const RELATIONS: [(Kind, &str); 7] = [
    (Kind::Less, "_<_"),
    (Kind::LessEquals, "_<=_"),
    (Kind::GreaterEquals, "_>=_"),
    (Kind::Greater, "_>_"),
    (Kind::Equals, "_==_"),
    (Kind::NotEquals, "_!=_"),
    (Kind::In, "@in"),
];
const SUMS: [(Kind, &str); 2] = [(Kind::Plus, "_+_"), (Kind::Minus, "_-_")];
const PRODUCTS: [(Kind, &str); 3] = [(Kind::Star, "_*_"), (Kind::Slash, "_/_"), (Kind::Percent, "_%_")];

/// Reads a program; what it says is of use only without faults.
pub fn parse(text: &str) -> (Node, Vec<Fault>) {
    let (tokens, faults) = lex::tokens(text);
    let mut parser = Parser { tokens, next: 0, faults, told: false, depth: 0, open: Vec::new() };
    let node = parser.expr();
    parser.need(Kind::End);
    (node, parser.faults)
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    faults: Vec<Fault>,
    /// A fault was told, and nothing has fitted since.
    told: bool,
    depth: usize,
    /// What may follow an expression because of the brackets around it, the innermost last.
    open: Vec<Vec<Kind>>,
}

/// How close an operator binds, and its function.
fn operator(kind: Kind) -> Option<(usize, &'static str)> {
    let levels: [&[(Kind, &'static str)]; 3] = [&RELATIONS, &SUMS, &PRODUCTS];
    let all = levels.iter().enumerate().flat_map(|(level, all)| all.iter().map(move |found| (level, found)));
    all.into_iter().find(|(_, (of, _))| *of == kind).map(|(level, (_, name))| (level, *name))
}

fn nothing(at: usize) -> Node {
    Node { at, expr: Expr::Literal(Value::Null) }
}

impl<'a> Parser<'a> {
    fn token(&self) -> Token<'a> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn after(&self) -> Kind {
        self.tokens[(self.next + 1).min(self.tokens.len() - 1)].kind
    }

    fn step(&mut self) -> Token<'a> {
        let token = self.token();
        self.next += 1;
        self.told = false;
        token
    }

    fn take(&mut self, kind: Kind) -> Option<Token<'a>> {
        (self.token().kind == kind).then(|| self.step())
    }

    fn tell(&mut self, at: usize, what: String) {
        if !self.told {
            self.faults.push(Fault::new(at, format!("Syntax error: {what}")));
        }
        self.told = true;
    }

    fn expecting(what: &str, token: Token, expected: &[Kind]) -> String {
        let mut expected = expected.to_vec();
        expected.sort();
        expected.dedup();
        let names: Vec<_> = expected.iter().map(|kind| kind.shown()).collect();
        let names = if names.len() == 1 { names[0].clone() } else { format!("{{{}}}", names.join(", ")) };
        format!("{what} input '{}' expecting {names}", lex::escaped(token.text))
    }

    /// Whether the next token is one of `expected`, perhaps after one too many.
    fn fits(&mut self, expected: &[Kind]) -> bool {
        let token = self.token();
        if expected.contains(&token.kind) {
            return true;
        }
        if token.kind != Kind::End && expected.contains(&self.after()) {
            self.tell(token.at, Self::expecting("extraneous", token, expected));
            self.next += 1;
            self.told = false;
            return true;
        }
        self.tell(token.at, Self::expecting("mismatched", token, expected));
        false
    }

    fn need(&mut self, kind: Kind) -> Option<Token<'a>> {
        if let Some(token) = self.take(kind) {
            return Some(token);
        }
        let token = self.token();
        if token.kind != Kind::End && self.after() == kind {
            self.fits(&[kind]);
            return Some(self.step());
        }
        let operators = RELATIONS.iter().chain(&SUMS).chain(&PRODUCTS).map(|(kind, _)| *kind);
        let mut follows: Vec<Kind> = operators.collect();
        follows.extend([Kind::Or, Kind::And, Kind::Question, Kind::Dot, Kind::BracketOpen]);
        follows.extend(self.open.last().cloned().unwrap_or_else(|| vec![Kind::End]));
        let closes = matches!(kind, Kind::ParenClose | Kind::BracketClose | Kind::BraceClose);
        if closes && follows.contains(&token.kind) {
            self.tell(token.at, format!("missing {} at '{}'", kind.shown(), lex::escaped(token.text)));
        } else {
            self.tell(token.at, Self::expecting("mismatched", token, &[kind]));
            self.skip();
        }
        None
    }

    /// Passes over what fits nowhere.
    fn skip(&mut self) {
        const FOLLOWS: [Kind; 9] = [
            Kind::ParenClose,
            Kind::BracketClose,
            Kind::BraceClose,
            Kind::Comma,
            Kind::Colon,
            Kind::Question,
            Kind::And,
            Kind::Or,
            Kind::End,
        ];
        let operator = |kind: Kind| RELATIONS.iter().chain(&SUMS).chain(&PRODUCTS).any(|(k, _)| *k == kind);
        while !FOLLOWS.contains(&self.token().kind) && !operator(self.token().kind) {
            self.next += 1;
        }
    }

    /// One level deeper; none where it is too deep.
    fn deeper(&mut self, by: usize) -> bool {
        self.depth += by;
        if self.depth <= DEPTH_MAX {
            return true;
        }
        let fault = Fault::new(self.token().at, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
        // Nothing that follows is of interest.
        self.told = true;
        self.next = self.tokens.len() - 1;
        false
    }

    fn expr(&mut self) -> Node {
        let before = self.depth;
        if !self.deeper(BRACKET) {
            return nothing(self.token().at);
        }
        let condition = self.logical(Kind::Or);
        let out = match self.take(Kind::Question) {
            Some(mark) => {
                self.open.push(vec![Kind::Colon]);
                let yes = self.logical(Kind::Or);
                self.open.pop();
                self.need(Kind::Colon);
                let no = self.expr();
                call(mark.at, "_?_:_", vec![condition, yes, no])
            }
            None => condition,
        };
        self.depth = before;
        out
    }

    /// Operands of `||` or `&&`, as a balanced tree.
    fn logical(&mut self, kind: Kind) -> Node {
        let first = self.operand(kind);
        if self.token().kind != kind {
            return first;
        }
        let (mut operands, mut places) = (vec![first], Vec::new());
        while let Some(token) = self.take(kind) {
            places.push(token.at);
            operands.push(self.operand(kind));
        }
        balanced(if kind == Kind::Or { "_||_" } else { "_&&_" }, &operands, &places)
    }

    fn operand(&mut self, of: Kind) -> Node {
        if of == Kind::Or { self.logical(Kind::And) } else { self.binary(0) }
    }

    /// Relations, sums and products, the latter of which bind closer. Only operators from `level` on; one function for
    /// all of them, because each function between two brackets costs stack for each bracket.
    fn binary(&mut self, level: usize) -> Node {
        let before = self.depth;
        let mut left = self.unary();
        while let Some((found, name)) = operator(self.token().kind).filter(|(found, _)| *found >= level) {
            if !self.deeper(1) {
                break;
            }
            let at = self.step().at;
            let right = self.binary(found + 1);
            left = call(at, name, vec![left, right]);
        }
        self.depth = before;
        left
    }

    fn unary(&mut self) -> Node {
        if !self.fits(&OPERAND) {
            self.skip();
            return nothing(self.token().at);
        }
        let first = self.token();
        let signs = self.tokens[self.next..].iter().take_while(|t| t.kind == first.kind).count();
        let number = self.tokens.get(self.next + 1).map(|t| t.kind);
        let negative = first.kind == Kind::Minus && matches!(number, Some(Kind::Int | Kind::Float));
        if !matches!(first.kind, Kind::Not | Kind::Minus) || negative {
            return self.member();
        }
        self.next += signs;
        self.told = false;
        let mut inner = if self.token().kind == Kind::Not || self.token().kind == Kind::Minus {
            // `!-x` is none: the operand must begin here.
            let token = self.token();
            self.tell(token.at, Self::expecting("mismatched", token, &OPERAND[..4]));
            self.skip();
            nothing(token.at)
        } else if self.fits(&OPERAND) {
            self.member()
        } else {
            self.skip();
            nothing(self.token().at)
        };
        if signs % 2 == 1 {
            inner = call(first.at, if first.kind == Kind::Not { "!_" } else { "-_" }, vec![inner]);
        }
        inner
    }

    fn member(&mut self) -> Node {
        let before = self.depth;
        let mut out = self.primary();
        loop {
            let token = self.token();
            if !matches!(token.kind, Kind::Dot | Kind::BracketOpen) || !self.deeper(1) {
                break;
            }
            self.step();
            if let Some(mark) = self.take(Kind::Question) {
                let syntax = format!("unsupported syntax '{}?'", token.text);
                self.faults.push(Fault::new(mark.at - token.text.len(), syntax));
            }
            if token.kind == Kind::BracketOpen {
                let index = self.inside(Kind::BracketClose, false, Self::expr);
                self.need(Kind::BracketClose);
                out = call(token.at, "_[_]", vec![out, index]);
                continue;
            }
            let Some(name) = self.need(Kind::Identifier) else { break };
            out = match self.take(Kind::ParenOpen) {
                Some(open) => {
                    let args = self.arguments();
                    self.method(open.at, out, name.text, args)
                }
                None => {
                    let (object, name) = (Box::new(out), name.text.to_owned());
                    Node { at: token.at, expr: Expr::Field { object, name, test: false } }
                }
            };
        }
        self.depth = before;
        out
    }

    /// What `read` reads between brackets of which `close` is the second.
    fn inside<T>(&mut self, close: Kind, several: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        self.open.push(if several { vec![close, Kind::Comma] } else { vec![close] });
        let out = read(self);
        self.open.pop();
        out
    }

    fn arguments(&mut self) -> Vec<Node> {
        let mut out = Vec::new();
        let first: Vec<_> = OPERAND.into_iter().chain([Kind::ParenClose]).collect();
        if !self.fits(&first) {
            self.skip();
        }
        if self.take(Kind::ParenClose).is_some() {
            return out;
        }
        out.push(self.inside(Kind::ParenClose, true, Self::expr));
        while self.take(Kind::Comma).is_some() {
            out.push(self.inside(Kind::ParenClose, true, Self::expr));
        }
        self.need(Kind::ParenClose);
        out
    }

    /// Elements up to `close`; a last comma may follow them.
    fn elements<T>(&mut self, close: Kind, element: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut out = Vec::new();
        let first: Vec<_> = OPERAND.into_iter().chain([close, Kind::Comma, Kind::Question]).collect();
        if !self.fits(&first) {
            self.skip();
        }
        let comma_only = self.take(Kind::Comma).is_some();
        if comma_only || self.token().kind == close {
            self.need(close);
            return out;
        }
        loop {
            out.push(self.inside(close, true, &element));
            if self.take(Kind::Comma).is_none() {
                if self.fits(&[close, Kind::Comma]) {
                    continue_after(self);
                } else {
                    self.skip();
                }
                break;
            }
            if self.token().kind == close {
                break;
            }
        }
        self.need(close);
        out
    }

    fn optional(&mut self) {
        if let Some(mark) = self.take(Kind::Question) {
            self.faults.push(Fault::new(mark.at, "unsupported syntax '?'"));
        }
    }

    fn primary(&mut self) -> Node {
        let token = self.step();
        let at = token.at;
        match token.kind {
            Kind::ParenOpen => {
                let inner = self.inside(Kind::ParenClose, false, Self::expr);
                self.need(Kind::ParenClose);
                inner
            }
            Kind::BracketOpen => {
                let items = self.elements(Kind::BracketClose, |parser| {
                    parser.optional();
                    parser.expr()
                });
                Node { at, expr: Expr::List(items) }
            }
            Kind::BraceOpen => {
                let entries = self.elements(Kind::BraceClose, |parser| {
                    parser.optional();
                    let key = parser.expr();
                    parser.need(Kind::Colon);
                    (key, parser.expr())
                });
                Node { at, expr: Expr::Map(entries) }
            }
            Kind::Dot => match self.need(Kind::Identifier) {
                Some(name) => self.name(name),
                None => nothing(at),
            },
            Kind::Identifier => self.name(token),
            Kind::Minus => {
                let number = self.step();
                self.literal(at, number.kind, &format!("-{}", number.text))
            }
            kind => self.literal(at, kind, token.text),
        }
    }

    fn literal(&mut self, at: usize, kind: Kind, text: &str) -> Node {
        match literal::value(kind, text) {
            Ok(value) => Node { at, expr: Expr::Literal(value) },
            Err(why) => {
                self.faults.push(Fault::new(at, why));
                nothing(at)
            }
        }
    }

    fn name(&mut self, token: Token) -> Node {
        if RESERVED.contains(&token.text) || token.text == "while" {
            self.faults.push(Fault::new(token.at, format!("reserved identifier: {}", token.text)));
        }
        if let Some(open) = self.take(Kind::ParenOpen) {
            let args = self.arguments();
            return self.global(open.at, token.text, args);
        }
        if let Some((end, name)) = self.message() {
            let name = format!("{}{name}", token.text);
            self.next = end;
            let open = self.step();
            self.elements(Kind::BraceClose, |parser| {
                parser.need(Kind::Identifier);
                parser.need(Kind::Colon);
                parser.expr()
            });
            return Node { at: open.at, expr: Expr::Message(name) };
        }
        Node { at: token.at, expr: Expr::Name(token.text.to_owned()) }
    }

    /// Where the brace of a message stands that the name just read may belong to, and the rest of its name.
    fn message(&self) -> Option<(usize, String)> {
        let (mut next, mut name) = (self.next, String::new());
        while self.tokens.get(next).is_some_and(|t| t.kind == Kind::Dot) {
            let part = self.tokens.get(next + 1).filter(|t| t.kind == Kind::Identifier)?;
            name = format!("{name}.{}", part.text);
            next += 2;
        }
        self.tokens.get(next).filter(|t| t.kind == Kind::BraceOpen).map(|_| (next, name))
    }

    /// A call of a function; `has` looks at a field.
    fn global(&mut self, at: usize, function: &str, mut args: Vec<Node>) -> Node {
        if function == "has" && args.len() == 1 {
            let arg = args.remove(0);
            if let Expr::Field { object, name, .. } = arg.expr {
                return Node { at, expr: Expr::Field { object, name, test: true } };
            }
            self.faults.push(Fault::new(arg.at, "invalid argument to has() macro"));
            return nothing(at);
        }
        Node { at, expr: Expr::Call { function: function.to_owned(), target: None, args } }
    }

    /// A call of a method, or a macro.
    fn method(&mut self, at: usize, target: Node, function: &str, mut args: Vec<Node>) -> Node {
        let kind = match (function, args.len()) {
            ("all", 2) => Macro::All,
            ("exists", 2) => Macro::Exists,
            ("exists_one" | "existsOne", 2) => Macro::ExistsOne,
            ("filter", 2) => Macro::Filter,
            ("map", 2 | 3) => Macro::Map,
            _ => {
                let target = Some(Box::new(target));
                return Node { at, expr: Expr::Call { function: function.to_owned(), target, args } };
            }
        };
        let bound = args.remove(0);
        let Expr::Name(name) = bound.expr else {
            self.faults.push(Fault::new(bound.at, "argument must be a simple name"));
            return nothing(at);
        };
        let filter = (args.len() == 2).then(|| args.remove(0));
        let body = args.remove(0);
        Node { at, expr: Expr::Each(Box::new(Each { kind, range: target, name, filter, body })) }
    }
}

/// A comma that `fits` has made way for.
fn continue_after(parser: &mut Parser) {
    parser.take(Kind::Comma);
}

fn call(at: usize, function: &str, args: Vec<Node>) -> Node {
    Node { at, expr: Expr::Call { function: function.to_owned(), target: None, args } }
}

fn balanced(function: &str, operands: &[Node], places: &[usize]) -> Node {
    if let [only] = operands {
        return only.clone();
    }
    // The tree is as deep as the logarithm of its leaves.
    let middle = (places.len() - 1).div_ceil(2);
    let left = balanced(function, &operands[..=middle], &places[..middle]);
    let right = balanced(function, &operands[middle + 1..], &places[middle + 1..]);
    call(places[middle], function, vec![left, right])
}
