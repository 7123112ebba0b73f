//! From the text of a program to its tokens.

use super::Fault;

/// What a token is, in the order in which the reference's parser lists what it expects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    BracketOpen,
    BracketClose,
    BraceOpen,
    BraceClose,
    ParenOpen,
    ParenClose,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    Text,
    Bytes,
    Identifier,
    End,
}

/// Tokens that are always written the same; longer ones before their beginnings.
const FIXED: [(&str, Kind); 25] = [
    ("==", Kind::Equals),
    ("!=", Kind::NotEquals),
    ("<=", Kind::LessEquals),
    (">=", Kind::GreaterEquals),
    ("&&", Kind::And),
    ("||", Kind::Or),
    ("<", Kind::Less),
    (">", Kind::Greater),
    ("[", Kind::BracketOpen),
    ("]", Kind::BracketClose),
    ("{", Kind::BraceOpen),
    ("}", Kind::BraceClose),
    ("(", Kind::ParenOpen),
    (")", Kind::ParenClose),
    (".", Kind::Dot),
    (",", Kind::Comma),
    ("-", Kind::Minus),
    ("!", Kind::Not),
    ("?", Kind::Question),
    (":", Kind::Colon),
    ("+", Kind::Plus),
    ("*", Kind::Star),
    ("/", Kind::Slash),
    ("%", Kind::Percent),
    ("in", Kind::In),
];

impl Kind {
    /// As the reference's parser names it.
    pub fn shown(self) -> String {
        let fixed = FIXED.iter().find(|(_, kind)| *kind == self).map(|(text, _)| format!("'{text}'"));
        fixed.unwrap_or_else(|| {
            let name = match self {
                Kind::True => "'true'",
                Kind::False => "'false'",
                Kind::Null => "'null'",
                Kind::Float => "NUM_FLOAT",
                Kind::Int => "NUM_INT",
                Kind::Uint => "NUM_UINT",
                Kind::Text => "STRING",
                Kind::Bytes => "BYTES",
                Kind::End => "<EOF>",
                _ => "IDENTIFIER",
            };
            name.to_owned()
        })
    }
}

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub at: usize,
}

/// The tokens of `text`, with one for its end; what is none is told and left out.
pub fn tokens(text: &str) -> (Vec<Token<'_>>, Vec<Fault>) {
    let (mut out, mut faults, mut at) = (Vec::new(), Vec::new(), 0);
    while at < text.len() {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']).len();
        if blank > 0 {
            at += blank;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            match token(rest) {
                Ok((kind, size)) => {
                    out.push(Token { kind, text: &rest[..size], at });
                    at += size;
                }
                // The character that does not fit is part of what is told, and is passed over.
                Err(size) => {
                    let size = size + rest[size..].chars().next().map_or(0, char::len_utf8);
                    let seen = escaped(&rest[..size]);
                    faults
                        .push(Fault::new(at, format!("Syntax error: token recognition error at: '{seen}'")));
                    at += size;
                }
            }
        }
    }
    out.push(Token { kind: Kind::End, text: "<EOF>", at: text.len() });
    (out, faults)
}

/// Line ends as the reference's parser shows them.
pub fn escaped(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

/// Kind and size of the token that `rest` begins with; or how many bytes of it could have begun one.
fn token(rest: &str) -> Result<(Kind, usize), usize> {
    if let Some(found) = quoted(rest) {
        return found;
    }
    let first = rest.chars().next().unwrap_or(' ');
    let dotted = first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit());
    if first.is_ascii_digit() || dotted {
        return Ok(number(rest));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let size = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let kind = match &rest[..size] {
            "in" => Kind::In,
            "true" => Kind::True,
            "false" => Kind::False,
            "null" => Kind::Null,
            _ => Kind::Identifier,
        };
        return Ok((kind, size));
    }
    match FIXED.iter().find(|(text, _)| rest.starts_with(text)) {
        Some((text, kind)) => Ok((*kind, text.len())),
        None => Err(usize::from(matches!(first, '=' | '&' | '|'))),
    }
}

fn number(rest: &str) -> (Kind, usize) {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let suffixed = |kind: Kind, size: usize| match rest.as_bytes().get(size) {
        Some(b'u' | b'U') => (Kind::Uint, size + 1),
        _ => (kind, size),
    };
    if let Some(hex) = rest.strip_prefix("0x") {
        let size = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        if size > 0 {
            return suffixed(Kind::Int, size + 2);
        }
    }
    let mut size = digits(0);
    let fraction = if rest[size..].starts_with('.') { digits(size + 1) } else { 0 };
    if fraction > 0 {
        size += 1 + fraction;
    }
    let mut float = fraction > 0;
    if rest[size..].starts_with(['e', 'E']) {
        let signed = 1 + usize::from(rest[size + 1..].starts_with(['+', '-']));
        let exponent = digits(size + signed);
        if exponent > 0 {
            size += signed + exponent;
            float = true;
        }
    }
    if float { (Kind::Float, size) } else { suffixed(Kind::Int, size) }
}

/// A text or bytes between `'`, `"` or three of them; raw after `r`. None: `rest` does not begin with one.
fn quoted(rest: &str) -> Option<Result<(Kind, usize), usize>> {
    let is_bytes = rest.starts_with(['b', 'B']);
    let after = usize::from(is_bytes);
    let raw = rest[after..].starts_with(['r', 'R']);
    let after = after + usize::from(raw);
    let body = &rest[after..];
    let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|q| body.starts_with(q))?;
    let kind = if is_bytes { Kind::Bytes } else { Kind::Text };
    let mut at = after + quote.len();
    loop {
        if rest[at..].starts_with(quote) {
            return Some(Ok((kind, at + quote.len())));
        }
        match rest[at..].chars().next() {
            // Two quotes that no third follows are an empty text.
            None if quote.len() == 3 => return Some(Ok((kind, after + 2))),
            None => return Some(Err(at)),
            Some('\n' | '\r') if quote.len() == 1 => return Some(Err(at)),
            Some('\\') if !raw => match escape(&rest[at..]) {
                Ok(size) => at += size,
                Err(size) => return Some(Err(at + size)),
            },
            Some(c) => at += c.len_utf8(),
        }
    }
}

/// Size of the escape that `rest` begins with; or how much of it could have begun one.
fn escape(rest: &str) -> Result<usize, usize> {
    let count = |from: usize, wanted: usize, fits: fn(&u8) -> bool| {
        let found = rest.bytes().skip(from).take(wanted).take_while(fits).count();
        if found == wanted { Ok(from + wanted) } else { Err(from + found) }
    };
    match rest.as_bytes().get(1) {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => Ok(2),
        Some(b'x' | b'X') => count(2, 2, u8::is_ascii_hexdigit),
        Some(b'u') => count(2, 4, u8::is_ascii_hexdigit),
        Some(b'U') => count(2, 8, u8::is_ascii_hexdigit),
        Some(b'0'..=b'3') => count(2, 2, |b| (b'0'..=b'7').contains(b)),
        _ => Err(1),
    }
}
