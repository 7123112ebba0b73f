//! The grammar of label selectors. Follows the reference's parser step by step, because its complaints are shown
//! to users and because what it tolerates (`tier in ()`, `(,)`, stray blanks) has to be tolerated.

use std::collections::BTreeSet;

use super::{Operator, Requirement, check_key};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Identifier,
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    Not,
    Open,
    Close,
    Comma,
    End,
    Bad,
}

/// Where a token stands: `in` and `notin` are words like any other where a key or value is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Operator,
    Value,
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut requirements = parser.selector()?;
    requirements.sort();
    Ok(requirements)
}

fn special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn symbol(text: &str) -> Option<Token> {
    match text {
        ")" => Some(Token::Close),
        "," => Some(Token::Comma),
        "!" => Some(Token::Not),
        "==" => Some(Token::DoubleEquals),
        "=" => Some(Token::Equals),
        ">" => Some(Token::Greater),
        "<" => Some(Token::Less),
        "!=" => Some(Token::NotEquals),
        "(" => Some(Token::Open),
        _ => None,
    }
}

fn scan(text: &str) -> Vec<(Token, &str)> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(blank);
        let Some(first) = rest.chars().next() else { return out };
        let (token, len) = if special(first) {
            // The longest symbol; a character that makes the longer text no symbol ends it.
            let two = rest.get(..2).and_then(symbol).map(|t| (t, 2));
            two.or_else(|| rest.get(..1).and_then(symbol).map(|t| (t, 1))).unwrap_or((Token::Bad, 1))
        } else {
            let len = rest.find(|c| special(c) || blank(c)).unwrap_or(rest.len());
            let token = match &rest[..len] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            (token, len)
        };
        out.push((token, &rest[..len]));
        rest = &rest[len..];
    }
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self, place: Place) -> (Token, &'a str) {
        match self.tokens.get(self.at).copied().unwrap_or((Token::End, "")) {
            (Token::In | Token::NotIn, text) if place == Place::Value => (Token::Identifier, text),
            other => other,
        }
    }

    fn next(&mut self, place: Place) -> (Token, &'a str) {
        let found = self.peek(place);
        self.at += 1;
        found
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            match self.peek(Place::Value) {
                (Token::Identifier | Token::Not, _) => {
                    out.push(self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
                    match self.next(Place::Value) {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => {
                            let (token, text) = self.peek(Place::Value);
                            if !matches!(token, Token::Identifier | Token::Not) {
                                return Err(format!("found '{text}', expected: identifier after ','"));
                            }
                        }
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(out),
                (_, text) => {
                    return Err(format!("found '{text}', expected: !, identifier, or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut negated = false;
        let (mut token, mut key) = self.next(Place::Value);
        if token == Token::Not {
            negated = true;
            (token, key) = self.next(Place::Value);
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        check_key(key)?;
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek(Place::Value).0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, BTreeSet::new());
        }
        let (token, text) = self.next(Place::Operator);
        let (operator, values) = match token {
            Token::In => (Operator::In, self.values()?),
            Token::NotIn => (Operator::NotIn, self.values()?),
            Token::Equals | Token::DoubleEquals => (Operator::In, self.exact()?),
            Token::NotEquals => (Operator::NotIn, self.exact()?),
            Token::Greater => (Operator::Greater, self.exact()?),
            Token::Less => (Operator::Less, self.exact()?),
            Token::Identifier
            | Token::Not
            | Token::Open
            | Token::Close
            | Token::Comma
            | Token::End
            | Token::Bad => {
                return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        Requirement::new(key, operator, values)
    }

    fn exact(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.peek(Place::Value).0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.next(Place::Value) {
            (Token::Identifier, text) => Ok(BTreeSet::from([text.to_owned()])),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let (token, text) = self.next(Place::Value);
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        match self.peek(Place::Value) {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.identifiers()?;
                match self.next(Place::Value) {
                    (Token::Close, _) => Ok(values),
                    (_, text) => Err(format!("found '{text}', expected: ')'")),
                }
            }
            (Token::Close, _) => {
                self.next(Place::Value);
                Ok(BTreeSet::from([String::new()]))
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis; nothing between two commas is the empty value.
    fn identifiers(&mut self) -> Result<BTreeSet<String>, String> {
        let mut out = BTreeSet::new();
        loop {
            match self.next(Place::Value) {
                (Token::Identifier, text) => {
                    out.insert(text.to_owned());
                    match self.peek(Place::Value) {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() {
                        out.insert(String::new());
                    }
                    match self.peek(Place::Value).0 {
                        Token::Close => {
                            out.insert(String::new());
                            return Ok(out);
                        }
                        Token::Comma => {
                            self.next(Place::Value);
                            out.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }
}
