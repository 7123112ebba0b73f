//! What is wrong with a JSON text, in the words of Go's decoder: users read them in events.

use serde_json::Value;

/// What Go calls a value.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The first fault of `text`; `None` when it is JSON.
pub fn fault(text: &str) -> Option<String> {
    let mut scanner = Scanner { rest: text };
    let scanned = scanner.value("looking for beginning of value").and_then(|()| {
        scanner.space();
        match scanner.rest.is_empty() {
            true => Ok(()),
            false => Err(scanner.unexpected("after top-level value")),
        }
    });
    scanned.err()
}

struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn unexpected(&self, context: &str) -> String {
        match self.rest.chars().next() {
            None => "unexpected end of JSON input".into(),
            Some('\'') => format!("invalid character '\\'' {context}"),
            Some('"') => format!("invalid character '\"' {context}"),
            // Go quotes a byte, not a character.
            Some(c) if c.is_ascii() => format!("invalid character {c:?} {context}"),
            Some(_) => {
                let byte = self.rest.as_bytes()[0];
                format!("invalid character {:?} {context}", char::from(byte))
            }
        }
    }

    /// Takes `c` if it comes next.
    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, context: &str) -> Result<(), String> {
        self.space();
        match self.rest.chars().next() {
            Some('{') => self.object(),
            Some('[') => self.array(),
            Some('"') => self.string(),
            Some('t') => self.literal("true"),
            Some('f') => self.literal("false"),
            Some('n') => self.literal("null"),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(),
            _ => Err(self.unexpected(context)),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for c in word.chars() {
            if !self.take(c) {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{c}')")));
            }
        }
        Ok(())
    }

    fn array(&mut self) -> Result<(), String> {
        self.take('[');
        self.space();
        if self.take(']') {
            return Ok(());
        }
        loop {
            self.value("looking for beginning of value")?;
            self.space();
            if self.take(']') {
                return Ok(());
            }
            if !self.take(',') {
                return Err(self.unexpected("after array element"));
            }
        }
    }

    fn object(&mut self) -> Result<(), String> {
        self.take('{');
        self.space();
        if self.take('}') {
            return Ok(());
        }
        loop {
            self.space();
            if !self.rest.starts_with('"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            self.string()?;
            self.space();
            if !self.take(':') {
                return Err(self.unexpected("after object key"));
            }
            self.value("looking for beginning of value")?;
            self.space();
            if self.take('}') {
                return Ok(());
            }
            if !self.take(',') {
                return Err(self.unexpected("after object key:value pair"));
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.take('"');
        loop {
            match self.rest.chars().next() {
                Some('"') => {
                    self.take('"');
                    return Ok(());
                }
                Some('\\') => self.escape()?,
                Some(c) if c >= ' ' => self.rest = &self.rest[c.len_utf8()..],
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        self.take('\\');
        if self.take('u') {
            for _ in 0..4 {
                match self.rest.chars().next() {
                    Some(c) if c.is_ascii_hexdigit() => self.rest = &self.rest[1..],
                    _ => return Err(self.unexpected("in \\u hexadecimal character escape")),
                }
            }
            return Ok(());
        }
        match self.rest.chars().next() {
            Some('b' | 'f' | 'n' | 'r' | 't' | '\\' | '/' | '"') => {
                self.rest = &self.rest[1..];
                Ok(())
            }
            _ => Err(self.unexpected("in string escape code")),
        }
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == self.rest.len() {
            return Err(self.unexpected(context));
        }
        self.rest = rest;
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        self.take('-');
        if !self.take('0') {
            self.digits("in numeric literal")?;
        }
        if self.take('.') {
            self.digits("after decimal point in numeric literal")?;
        }
        if self.take('e') || self.take('E') {
            if !self.take('+') {
                self.take('-');
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
