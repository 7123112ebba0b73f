//! Names that are computed from other names, so that a repeated create meets itself.

use md5::{Digest, Md5};

const LONGEST: usize = 63;
const MD5_HEX: usize = 32;
const HEAD: usize = LONGEST - MD5_HEX;

/// Name of a child: `parent` + `suffix`, at most 63 bytes; what is too long is cut and gets an MD5 (knative's
/// `kmeta.ChildName`).
pub fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST {
        return format!("{parent}{suffix}");
    }
    if HEAD <= suffix.len() {
        let hash = hex(&Md5::digest(format!("{parent}{suffix}")));
        let mut name = format!("{}{hash}", cut(parent, HEAD));
        if let Some(room) = LONGEST.checked_sub(name.len()) {
            name.push_str(cut(suffix, room));
        }
        return name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    }
    let hash = hex(&Md5::digest(parent));
    format!("{}{hash}{suffix}", cut(parent, HEAD - suffix.len()))
}

/// At most 63 bytes of `name`, ending in a letter or digit: container names.
pub fn restrict(name: &str) -> String {
    cut(name, LONGEST).trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// At most `room` bytes of `text`, never cutting a character.
fn cut(text: &str, room: usize) -> &str {
    let mut end = room.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// FNV-1a, 32 bits, as 8 hex digits: names of volumes.
pub fn fnv32a(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// Five characters that depend on `seed` only, from the alphabet that Kubernetes uses for suffixes.
pub fn suffix(seed: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Md5::digest(seed);
    digest.iter().take(5).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
