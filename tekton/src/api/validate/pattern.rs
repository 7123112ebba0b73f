//! Regular expressions in Go's syntax (RE2): whether one can be compiled, and Go's words if not.

/// How deep groups may nest before Go gives up.
const DEPTH_MAX: usize = 1000;
/// The largest count of a repetition.
const REPEAT_MAX: u32 = 1000;

/// Why `pattern` cannot be compiled; `None` when it can.
pub(super) fn fault(pattern: &str) -> Option<String> {
    let mut parser = Parser { pattern, at: 0, open: 0, last: Last::Nothing };
    let told = |(what, of): Fault| format!("error parsing regexp: {what}: `{of}`");
    parser.parse().err().map(told)
}

/// What is wrong, and the part of the pattern that it is about.
type Fault = (&'static str, String);

/// What stands before a repetition.
#[derive(PartialEq)]
enum Last {
    Nothing,
    Item,
    /// A repetition, with where it began.
    Repeated(usize),
}

struct Parser<'a> {
    pattern: &'a str,
    at: usize,
    open: usize,
    last: Last,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn parse(&mut self) -> Result<(), Fault> {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '(' => self.group()?,
                ')' => {
                    if self.open == 0 {
                        return Err(("unexpected )", self.pattern.to_owned()));
                    }
                    self.open -= 1;
                    self.item(1);
                }
                '|' => {
                    self.at += 1;
                    self.last = Last::Nothing;
                }
                '[' => self.class()?,
                '*' | '+' | '?' => self.repetition(1)?,
                '{' => match count(self.rest()) {
                    Some((length, valid)) => {
                        if !valid {
                            return Err(("invalid repeat count", self.rest()[..length].to_owned()));
                        }
                        self.repetition(length)?;
                    }
                    None => self.item(1),
                },
                '\\' => self.escape()?,
                other => self.item(other.len_utf8()),
            }
        }
        if self.open > 0 {
            return Err(("missing closing )", self.pattern.to_owned()));
        }
        Ok(())
    }

    fn item(&mut self, length: usize) {
        self.at += length;
        self.last = Last::Item;
    }

    fn repetition(&mut self, length: usize) -> Result<(), Fault> {
        let start = self.at;
        self.at += length;
        if self.rest().starts_with('?') {
            self.at += 1;
        }
        let operator = &self.pattern[start..self.at];
        match self.last {
            Last::Nothing => {
                return Err((
                    "missing argument to repetition operator",
                    self.pattern[start..start + length].to_owned(),
                ));
            }
            Last::Repeated(before) => {
                let whole = self.pattern[before..self.at].to_owned();
                return Err(("invalid nested repetition operator", whole));
            }
            Last::Item => {}
        }
        self.last = Last::Repeated(self.at - operator.len());
        Ok(())
    }

    fn group(&mut self) -> Result<(), Fault> {
        self.open += 1;
        if self.open > DEPTH_MAX {
            return Err(("expression nests too deeply", self.pattern.to_owned()));
        }
        let rest = self.rest();
        self.last = Last::Nothing;
        let Some(inner) = rest.strip_prefix("(?") else {
            self.at += 1;
            return Ok(());
        };
        for named in ["P<", "<"] {
            let Some(name) = inner.strip_prefix(named) else { continue };
            let Some(end) = name.find('>') else { return Err(("invalid named capture", rest.to_owned())) };
            let length = "(?".len() + named.len() + end + 1;
            let good = |n: &str| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !good(&name[..end]) {
                return Err(("invalid named capture", rest[..length].to_owned()));
            }
            self.at += length;
            return Ok(());
        }
        let mut minus = false;
        for (at, c) in inner.char_indices() {
            let length = "(?".len() + at + c.len_utf8();
            match c {
                'i' | 'm' | 's' | 'U' => continue,
                '-' if !minus => {
                    minus = true;
                    continue;
                }
                ':' => self.at += length,
                ')' => {
                    self.open -= 1;
                    self.at += length;
                }
                _ => return Err(("invalid or unsupported Perl syntax", rest[..length].to_owned())),
            }
            return Ok(());
        }
        Err(("missing closing )", self.pattern.to_owned()))
    }

    fn class(&mut self) -> Result<(), Fault> {
        let whole = self.rest();
        let missing = || ("missing closing ]", whole.to_owned());
        let mut rest = whole[1..].strip_prefix('^').unwrap_or(&whole[1..]);
        let mut first = true;
        while first || !rest.starts_with(']') {
            if rest.is_empty() {
                return Err(missing());
            }
            first = false;
            if let Some(name) = rest.strip_prefix("[:").and_then(|r| r.find(":]").map(|end| &r[..end])) {
                let length = name.len() + "[::]".len();
                let known = [
                    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
                    "space", "upper", "word", "xdigit",
                ];
                if !known.contains(&name.trim_start_matches('^')) {
                    return Err(("invalid character class range", rest[..length].to_owned()));
                }
                rest = &rest[length..];
                continue;
            }
            let start = rest;
            let low = one(&mut rest).ok_or_else(missing)??;
            let range = rest.strip_prefix('-').filter(|r| !r.is_empty() && !r.starts_with(']'));
            if let (Some(low), Some(mut after)) = (low, range) {
                let high = one(&mut after).ok_or_else(missing)??;
                rest = after;
                if high.is_none_or(|high| high < low) {
                    let length = start.len() - rest.len();
                    return Err(("invalid character class range", start[..length].to_owned()));
                }
            }
        }
        self.item(whole.len() - rest.len() + 1);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let length = quoted.find("\\E").map_or(quoted.len(), |end| end + 2);
            self.at += 2 + length;
            if !quoted.is_empty() {
                self.last = Last::Item;
            }
            return Ok(());
        }
        let mut after = rest;
        one(&mut after).ok_or(("trailing backslash at end of expression", String::new()))??;
        self.item(rest.len() - after.len());
        Ok(())
    }
}

/// Length of `{2}`, `{2,}`, `{2,5}` at the start, and whether its numbers can be.
fn count(text: &str) -> Option<(usize, bool)> {
    let end = text.find('}')?;
    let inner = &text[1..end];
    let (low, high) = match inner.split_once(',') {
        None => (inner, Some(inner)),
        Some((low, "")) => (low, None),
        Some((low, high)) => (low, Some(high)),
    };
    let number = |t: &str| {
        (!t.is_empty() && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().unwrap_or(u32::MAX))
    };
    let low = number(low)?;
    let high = match high {
        Some(high) => number(high)?,
        None => low,
    };
    Some((end + 1, low <= REPEAT_MAX && high <= REPEAT_MAX && low <= high))
}

/// Takes one character, which may be escaped; a class such as `\d` gives nothing. `None` at the end of the text.
fn one(rest: &mut &str) -> Option<Result<Option<char>, Fault>> {
    let whole = *rest;
    let mut chars = whole.chars();
    let c = chars.next()?;
    if c != '\\' {
        *rest = chars.as_str();
        return Some(Ok(Some(c)));
    }
    let escaped = chars.next();
    let Some(escaped) = escaped else {
        return Some(Err(("trailing backslash at end of expression", String::new())));
    };
    let after = chars.as_str();
    let invalid = |length: usize| {
        let end = whole
            .char_indices()
            .map(|(i, _)| i)
            .chain([whole.len()])
            .find(|i| *i >= length)
            .unwrap_or(whole.len());
        Some(Err(("invalid escape sequence", whole[..end].to_owned())))
    };
    let (value, length) = match escaped {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'A' | 'b' | 'B' | 'z' | 'C' => (None, 0),
        'p' | 'P' => match after.strip_prefix('{').map(|a| a.find('}')) {
            Some(Some(end)) => (None, end + 2),
            Some(None) => return Some(Err(("invalid character class range", whole.to_owned()))),
            None => (None, after.chars().next().map_or(0, char::len_utf8)),
        },
        'a' | 'f' | 't' | 'n' | 'r' | 'v' => (Some('\n'), 0),
        '0'..='7' => {
            // One to three octal digits; what is no reference begins with a zero.
            let more = after.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
            if escaped != '0' && more == 0 {
                return invalid(2);
            }
            (Some('0'), more)
        }
        'x' => {
            let hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
            match after.strip_prefix('{') {
                Some(inner) => match inner.find('}') {
                    Some(end) if hex(&inner[..end]) => (Some('x'), end + 2),
                    _ => return invalid(3),
                },
                None if after.len() >= 2 && after.is_char_boundary(2) && hex(&after[..2]) => (Some('x'), 2),
                None => return invalid(2 + after.len().min(2)),
            }
        }
        other if other.is_ascii_punctuation() => (Some(other), 0),
        _ => return invalid(1 + escaped.len_utf8()),
    };
    *rest = &after[length..];
    Some(Ok(value))
}

#[cfg(test)]
mod tests;
