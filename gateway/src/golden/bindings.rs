//! Placeholders in recorded conversations (`${rv.1}`): what they may stand for, and what they turned out to be.

use std::collections::BTreeMap;

/// What placeholders stand for.
#[derive(Clone, Default)]
pub struct Bindings {
    bound: BTreeMap<String, String>,
    /// Patterns of generated names.
    patterns: BTreeMap<String, String>,
    /// Names that were bound while the present answer was compared.
    fresh: Vec<String>,
    exact_times: bool,
}

/// A piece of an expected text.
enum Piece<'a> {
    Text(&'a str),
    Hole(&'a str),
}

impl Bindings {
    /// Bindings that know these.
    pub fn new(
        known: BTreeMap<String, String>,
        patterns: BTreeMap<String, String>,
        exact_times: bool,
    ) -> Self {
        Self { bound: known, patterns, fresh: Vec::new(), exact_times }
    }

    /// A text with every bound placeholder replaced, each value passed through `escape`.
    pub fn fill(&self, text: &str, escape: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(name) => match self.bound.get(name) {
                    Some(value) => out.push_str(&escape(value)),
                    None => out.push_str(&format!("${{{name}}}")),
                },
            }
        }
        out
    }

    /// Compares a text, and binds placeholders that are seen for the first time.
    pub fn text(&mut self, expected: &str, found: &str) -> bool {
        let filled = self.fill(expected, str::to_owned);
        let pieces: Vec<_> = pieces(&filled).collect();
        let mut seen = Vec::new();
        if !self.pieces(&pieces, found, &mut seen) {
            return false;
        }
        for (name, value) in seen {
            if name.contains('.') {
                if kind(&name) == "uid" && self.bound.values().any(|known| *known == value) {
                    return false;
                }
                self.fresh.push(name.clone());
                self.bound.insert(name, value);
            }
        }
        true
    }

    fn pieces(&self, pieces: &[Piece<'_>], found: &str, seen: &mut Vec<(String, String)>) -> bool {
        match pieces.split_first() {
            None => found.is_empty(),
            Some((Piece::Text(text), rest)) => {
                found.strip_prefix(text).is_some_and(|found| self.pieces(rest, found, seen))
            }
            Some((Piece::Hole(name), rest)) => {
                let ends = (0..=found.len()).rev().filter(|end| found.is_char_boundary(*end));
                for end in ends {
                    let mark = seen.len();
                    if self.fits(name, &found[..end]) {
                        seen.push(((*name).to_owned(), found[..end].to_owned()));
                        if self.pieces(rest, &found[end..], seen) {
                            return true;
                        }
                        seen.truncate(mark);
                    }
                }
                false
            }
        }
    }

    fn fits(&self, name: &str, text: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match kind(name) {
            "rv" | "lrv" => digits(text) && !text.starts_with('0'),
            "uid" => text.len() == 36 && text.bytes().all(|b| b == b'-' || is_lower_hex(b)),
            "ctime" | "time" => text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T',
            "gen" => self.patterns.get(name).is_some_and(|pattern| matches(pattern, text)),
            "cont" => !text.is_empty() && !text.contains(char::is_whitespace),
            "hash" => !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '/'),
            "age" => text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(char::is_alphabetic),
            "any" | "opt" => true,
            _ => false,
        }
    }

    /// Checks the order of what has been bound, when an answer has been compared as a whole.
    ///
    /// # Errors
    /// Names what is out of order.
    pub fn check_order(&mut self) -> Result<(), String> {
        let versions = self.numbered("rv", |v| v.parse::<i64>().ok());
        ascending(&versions, "rv")?;
        if self.exact_times {
            ascending(&self.numbered("time", |v| Some(v.to_owned())), "time")?;
        }
        let newest = versions.values().max().copied().unwrap_or(0);
        for name in std::mem::take(&mut self.fresh) {
            if kind(&name) == "lrv" && self.bound[&name].parse::<i64>().is_ok_and(|v| v < newest) {
                return Err(format!("{name} = {} is older than {newest}", self.bound[&name]));
            }
        }
        Ok(())
    }

    fn numbered<T>(&self, wanted: &str, read: impl Fn(&str) -> Option<T>) -> BTreeMap<u32, T> {
        let numbered = self.bound.iter().filter(|(name, _)| kind(name) == wanted);
        numbered
            .filter_map(|(name, value)| Some((name.split_once('.')?.1.parse().ok()?, read(value)?)))
            .collect()
    }
}

fn ascending<T: Ord + std::fmt::Debug>(values: &BTreeMap<u32, T>, what: &str) -> Result<(), String> {
    let list: Vec<_> = values.iter().collect();
    match list.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
        Some(pair) => Err(format!("{what} are out of order: {:?}, {:?}", pair[0], pair[1])),
        None => Ok(()),
    }
}

fn kind(name: &str) -> &str {
    name.split('.').next().unwrap_or("")
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = rest.find("${") else { return Some(Piece::Text(std::mem::take(&mut rest))) };
        if at > 0 {
            let (text, tail) = rest.split_at(at);
            rest = tail;
            return Some(Piece::Text(text));
        }
        let end = rest.find('}').unwrap_or(rest.len() - 1);
        let name = &rest[2..end];
        rest = &rest[end + 1..];
        Some(Piece::Hole(name))
    })
}

/// The few regular expressions that patterns of generated names are made of: letters, and `[set]{n}`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some(open) = pattern.find('[') else { return pattern == text };
    let Some(rest) = text.strip_prefix(&pattern[..open]) else { return false };
    let Some((set, tail)) = pattern[open + 1..].split_once(']') else { return false };
    let (count, tail) = tail.strip_prefix('{').and_then(|t| t.split_once('}')).unwrap_or(("1", tail));
    let count: usize = count.parse().unwrap_or(1);
    let set: Vec<char> = set.chars().collect();
    let ranges = set.windows(3).filter(|w| w[1] == '-').map(|w| (w[0], w[2])).collect::<Vec<_>>();
    let is_in = |c: char| set.contains(&c) || ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
    let head: Vec<char> = rest.chars().take(count).collect();
    let length: usize = head.iter().map(|c| c.len_utf8()).sum();
    head.len() == count && head.into_iter().all(is_in) && matches(tail, &rest[length..])
}
