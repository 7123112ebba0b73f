//! Names of images.
//!
//! The grammar is that of the distribution project. The library's own parser compiles a regular expression with all
//! Unicode letters first, which took a fifth of the processor time of an agent, that lives for one Pod
//! (`docs/benchmarks.md`). The tests hold this one against it; they differ in tags, which are ASCII here as in that
//! grammar.

use oci_client::Reference;

use super::ImageError;

/// Longest repository, bytes.
const REPOSITORY_MAX: usize = 255;
const TAG_MAX: usize = 128;
/// Where a name without a host is looked up, and what it was called once.
const HUB: &str = "docker.io";
const HUB_LEGACY: &str = "index.docker.io";
/// Whose a name of one component is there.
const OFFICIAL: &str = "library";

/// Full form of an image's name.
///
/// # Errors
/// [`ImageError::InvalidName`].
pub fn parse(name: &str) -> Result<Reference, ImageError> {
    parts(name).ok_or_else(|| ImageError::InvalidName(name.to_owned()))
}

fn parts(text: &str) -> Option<Reference> {
    let (text, digest) = text.split_once('@').map_or((text, None), |(text, digest)| (text, Some(digest)));
    // A colon before a slash is that of the host's port.
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let mut components = name.split('/');
    let first = components.next()?;
    let more = name.len() > first.len();
    if !(is_component(first) || more && is_host(first))
        || !components.all(is_component)
        || !tag.is_none_or(is_tag)
        || !digest.is_none_or(is_digest)
    {
        return None;
    }
    let (registry, repository) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (HUB, name),
    };
    let registry = if registry == HUB_LEGACY { HUB } else { registry };
    let official = registry == HUB && !repository.contains('/');
    let repository = if official { format!("{OFFICIAL}/{repository}") } else { repository.to_owned() };
    if repository.len() > REPOSITORY_MAX {
        return None;
    }
    let (registry, tag) = (registry.to_owned(), tag.map(str::to_owned));
    Some(match (tag, digest.map(str::to_owned)) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag, digest),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or_else(|| "latest".to_owned())),
    })
}

/// Letters and digits, joined by one of `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(is_word).filter(|between| !between.is_empty());
    let joined = |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    text.starts_with(is_word) && text.ends_with(is_word) && separators.all(joined)
}

/// A host name, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    let is_label = |label: &str| {
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    };
    host.split('.').all(is_label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_MAX
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(text: &str) {
        assert_eq!(parts(text), text.parse::<Reference>().ok(), "{text:?}");
    }

    #[test]
    fn names_are_read_as_the_library_reads_them() {
        let sha = format!("sha256:{}", "0f".repeat(32));
        let mut names: Vec<String> = [
            "",
            "/",
            ":",
            "@",
            "a",
            "A",
            "a/",
            "/a",
            "a//b",
            "a:",
            "a:b",
            "a:b:c",
            "a@b",
            "a:b/c",
            "a:5000/c",
            "localhost/a",
            "localhost:5000/a:b",
            "host/a",
            "Host/a",
            "Host.x/a",
            "HOST",
            "a.b",
            "a.b/c",
            "a..b",
            "a._b",
            "a__b",
            "a___b",
            "a---b",
            "-a",
            "a-",
            "a-.b",
            "x.y:/a",
            "x.y:12x/a",
            "index.docker.io/a",
            "docker.io/a/b",
            "a:-b",
            "a:.b",
            "a:_b",
            "a b",
            "é",
            "sub-.x/a",
            "gcr.io/a/b/c:v1.2-3_4",
        ]
        .map(str::to_owned)
        .into();
        names.extend([format!("a@{sha}"), format!("a:b@{sha}"), format!("a@{sha}0"), format!("a@x:{sha}")]);
        names.extend([256, 255, 248, 247].map(|n| "a".repeat(n)));
        names.extend([128, 129].map(|n| format!("a:{}", "t".repeat(n))));
        names.extend([64, 96, 128].map(|n| format!("x.y/a@sha{}:{}", n * 4, "AB".repeat(n / 2))));
        names.iter().for_each(|name| same(name));
    }

    #[test]
    fn every_short_name_is_read_as_the_library_reads_it() {
        let mut names = vec![String::new()];
        for _ in 0..5 {
            names.iter().for_each(|name| same(name));
            let longer =
                |name: &String| ["a", "B", "0", ".", "/", ":", "_", "-"].map(|c| format!("{name}{c}"));
            names = names.iter().flat_map(longer).collect();
        }
    }
}
