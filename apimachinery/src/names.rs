//! What may be a name, a label key, a label value. Every check gives the list of its complaints, empty when fine.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', \
    '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
    '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Longest DNS-1123 subdomain.
pub const SUBDOMAIN_MAX: usize = 253;
/// Longest DNS-1123 label, label value and name part of a qualified name.
pub const LABEL_MAX: usize = 63;

/// How the names of a kind are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// DNS-1123 subdomain: nearly every kind.
    Subdomain,
    /// DNS-1123 label: namespaces.
    Label,
    /// Anything that can stand in a path: kinds that leave names to themselves.
    PathSegment,
}

impl NameRule {
    /// Complaints about `name`. A `prefix` (generateName) may end in a dash, which the suffix will follow.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix => format!("{rest}a"),
            _ => name.to_owned(),
        };
        match self {
            Self::Subdomain => dns1123_subdomain(&masked),
            Self::Label => dns1123_label(&masked),
            Self::PathSegment => path_segment(&masked),
        }
    }
}

/// Complaints about a DNS-1123 subdomain (`example.com`).
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        out.push(format!("must be no more than {SUBDOMAIN_MAX} characters"));
    }
    if !text.split('.').all(is_dns_label) {
        out.push(SUBDOMAIN.to_owned());
    }
    out
}

/// Complaints about a DNS-1123 label (`my-name`).
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL_MAX {
        out.push(format!("must be no more than {LABEL_MAX} characters"));
    }
    if !is_dns_label(text) {
        out.push(LABEL.to_owned());
    }
    out
}

/// Complaints about a path segment.
pub fn path_segment(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    for c in ['/', '%'] {
        if text.contains(c) {
            out.push(format!("may not contain '{c}'"));
        }
    }
    out
}

/// Complaints about a qualified name: an optional DNS prefix and `/`, then a name (`example.com/MyName`).
pub fn qualified_name(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let mut out = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            *name
        }
        _ => {
            let tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {NAME_PART}{tail}")];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        out.push(format!("name part must be no more than {LABEL_MAX} bytes"));
    }
    if !is_name_part(name) {
        out.push(format!("name part {NAME_PART}"));
    }
    out
}

/// Complaints about the value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL_MAX {
        out.push(format!("must be no more than {LABEL_MAX} bytes"));
    }
    if !text.is_empty() && !is_name_part(text) {
        out.push(LABEL_VALUE.to_owned());
    }
    out
}

fn is_dns_label(text: &str) -> bool {
    let b = text.as_bytes();
    let inner = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-';
    !b.is_empty() && b.iter().all(inner) && b[0] != b'-' && b[b.len() - 1] != b'-'
}

fn is_name_part(text: &str) -> bool {
    let b = text.as_bytes();
    let inner = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    !b.is_empty()
        && b.iter().all(inner)
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
}

/// Characters of generated name suffixes: no vowels and nothing that looks like something else.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a generated suffix.
pub const SUFFIX_LEN: usize = 5;
/// A longer prefix is cut, so that prefix and suffix fit a DNS label.
const PREFIX_MAX: usize = LABEL_MAX - SUFFIX_LEN;

/// `prefix` (a generateName) and a suffix made from `random`.
pub fn generate(prefix: &str, random: [u8; SUFFIX_LEN]) -> String {
    let mut cut = prefix.len().min(PREFIX_MAX);
    while !prefix.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = prefix[..cut].to_owned();
    for byte in random {
        name.push(char::from(SUFFIX_ALPHABET[usize::from(byte) % SUFFIX_ALPHABET.len()]));
    }
    name
}

#[cfg(test)]
mod tests;
