//! Versions and constraints of them, as hubs have them: `0.6`, `>= 0.5.0, < 1`, `~> 0.6`.

use std::cmp::Ordering;
use std::fmt;

/// A version: numbers, and perhaps what comes before a release.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    numbers: Vec<u64>,
    before: String,
    /// Numbers that were written.
    written: usize,
}

impl Version {
    /// Reads a version; what is behind a `+` does not count.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, before) = text.split_once('-').unwrap_or((text, ""));
        let mut numbers: Vec<u64> = numbers.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        let written = numbers.len();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '~');
        if text.ends_with('-') || !before.chars().all(fits) {
            return None;
        }
        numbers.resize(written.max(3), 0);
        Some(Self { numbers, before: before.to_owned(), written })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))?;
        if self.before.is_empty() { Ok(()) } else { write!(f, "-{}", self.before) }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let longest = self.numbers.len().max(other.numbers.len());
        let number = |version: &Self, at: usize| version.numbers.get(at).copied().unwrap_or(0);
        let numbers = (0..longest).map(|at| number(self, at).cmp(&number(other, at)));
        let differing = numbers.into_iter().find(|order| order.is_ne());
        Some(differing.unwrap_or_else(|| before(&self.before, &other.before)))
    }
}

/// What comes before a release: part by part, numbers below words; a release is above all of it.
fn before(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Same,
    Other,
    Above,
    Below,
    AtLeast,
    AtMost,
    Near,
}

/// Spellings of the rules; the longer ones first.
const RULES: [(&str, Rule); 8] = [
    (">=", Rule::AtLeast),
    ("<=", Rule::AtMost),
    ("~>", Rule::Near),
    ("!=", Rule::Other),
    ("=", Rule::Same),
    (">", Rule::Above),
    ("<", Rule::Below),
    ("", Rule::Same),
];

/// Constraints, all of which must hold. A plain version is the constraint to be that one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constraints(Vec<(Rule, Version)>);

impl Constraints {
    /// Reads constraints, separated by commas.
    pub fn parse(text: &str) -> Option<Self> {
        let one = |text: &str| {
            let text = text.trim();
            let (sign, rule) = RULES.into_iter().find(|(sign, _)| text.starts_with(sign))?;
            Some((rule, Version::parse(&text[sign.len()..])?))
        };
        text.split(',').map(one).collect::<Option<_>>().map(Self)
    }

    /// Whether they hold of `version`.
    pub fn hold(&self, version: &Version) -> bool {
        self.0.iter().all(|(rule, than)| holds(*rule, version, than))
    }
}

fn holds(rule: Rule, version: &Version, than: &Version) -> bool {
    match rule {
        Rule::Same => return version.partial_cmp(than) == Some(Ordering::Equal),
        Rule::Other => return version.partial_cmp(than) != Some(Ordering::Equal),
        Rule::Above | Rule::Below | Rule::AtLeast | Rule::AtMost | Rule::Near => {}
    }
    // What comes before a release is only ordered against its own kind.
    match (version.before.is_empty(), than.before.is_empty()) {
        (false, true) => return false,
        (false, false) if version.numbers != than.numbers => return false,
        (true, false) if rule == Rule::Near => return false,
        _ => {}
    }
    match rule {
        Rule::Above => version > than,
        Rule::Below => version < than,
        Rule::AtLeast => version >= than,
        Rule::AtMost => version <= than,
        // All numbers but the last that was written are the same.
        Rule::Near => {
            let same = than.written.saturating_sub(1);
            version >= than && version.numbers.get(..same) == than.numbers.get(..same)
        }
        Rule::Same | Rule::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let version = |text: &str| Version::parse(text).unwrap();
        for (low, high) in
            [("0.1", "0.2"), ("0.9", "0.10"), ("1.0.0-rc1", "1.0"), ("1.0-1", "1.0-a"), ("1", "1.0.1")]
        {
            assert!(version(low) < version(high), "{low} {high}");
        }
        assert_eq!(version("v0.6").to_string(), "0.6.0");
        assert_eq!(version("1.2.3-rc1+x").to_string(), "1.2.3-rc1");
        for wrong in ["", "a", "1..2", "1.x", "1-"] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn constraints_hold_or_not() {
        for (constraints, version, holds) in [
            ("0.6", "0.6.0", true),
            ("= 0.6", "0.6.1", false),
            (">= 0.5.0, < 1", "0.9", true),
            (">= 0.5.0, < 1", "1.0", false),
            ("!= 0.5", "0.5.0", false),
            ("~> 0.6.1", "0.6.9", true),
            ("~> 0.6.1", "0.7", false),
            ("~> 0.6", "0.9", true),
            ("~> 0.6", "1.0", false),
            ("> 0.1", "0.2-rc1", false),
            ("> 0.2-rc0", "0.2-rc1", true),
        ] {
            let constraints = Constraints::parse(constraints).unwrap();
            assert_eq!(
                constraints.hold(&Version::parse(version).unwrap()),
                holds,
                "{constraints:?} {version}"
            );
        }
        assert_eq!(Constraints::parse("latest"), None);
        assert_eq!(Constraints::parse(">= "), None);
    }
}
