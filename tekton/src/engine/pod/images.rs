//! Steps that leave the command to their image: it is looked up at the registry and pinned.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Inputs, Refused};
use crate::engine::decide::{ImageConfig, Need};
use crate::engine::doc::{is_empty, list_mut, text, texts};

/// Longest repository name.
const REPOSITORY_MAX: usize = 255;
/// Longest tag.
const TAG_MAX: usize = 127;

/// Images of one Pod: each is asked for once, so that the first step that names one decides whether the image's
/// own arguments are used.
#[derive(Default)]
pub struct Looked(BTreeMap<String, (String, String)>);

impl Looked {
    /// Command and arguments of a step; for an image without either, they are left to the entrypoint, which gets
    /// them per platform in the environment, and the image is pinned to its digest.
    ///
    /// # Errors
    /// [`Refused`] when the image must be looked up first, or cannot be.
    pub fn resolve(
        &mut self,
        inputs: &Inputs,
        step: &Value,
        container: &mut Value,
    ) -> Result<(Vec<String>, Vec<String>), Refused> {
        let args = texts(step, "args");
        if !is_empty(step, "command") {
            return Ok((texts(step, "command"), args));
        }
        let image = text(step, "image");
        if !self.0.contains_key(image) {
            self.0.insert(image.to_owned(), look_up(inputs, image, !args.is_empty())?);
        }
        let (pinned, commands) = &self.0[image];
        container["image"] = json!(pinned);
        list_mut(container, "env").push(json!({"name": "TEKTON_PLATFORM_COMMANDS", "value": commands}));
        Ok((Vec::new(), args))
    }
}

/// The pinned reference, and the commands by platform as JSON.
fn look_up(inputs: &Inputs, image: &str, has_args: bool) -> Result<(String, String), Refused> {
    let Some(repository) = repository(image) else {
        return Err(Refused::Build(format!("could not parse reference: {image}")));
    };
    let (digest, platforms) = match inputs.images.get(image) {
        None => return Err(Refused::Need([Need::Image(image.to_owned())].into())),
        Some(ImageConfig::Missing(why)) => return Err(Refused::Build(why.clone())),
        Some(ImageConfig::Found { digest, platforms }) => (digest, platforms),
    };
    let commands: BTreeMap<_, _> = platforms
        .iter()
        .map(|(platform, (entrypoint, cmd))| (platform, command(entrypoint, cmd, has_args)))
        .collect();
    let commands = serde_json::to_string(&commands).map_err(|e| Refused::Build(e.to_string()))?;
    Ok((format!("{repository}@{digest}"), commands))
}

/// What an image runs; its arguments only where the step has none of its own.
fn command(entrypoint: &[String], cmd: &[String], has_args: bool) -> Option<Vec<String>> {
    let words = match (entrypoint.is_empty(), has_args) {
        (true, _) => cmd.to_vec(),
        (false, true) => entrypoint.to_vec(),
        (false, false) => [entrypoint, cmd].concat(),
    };
    (!words.is_empty()).then_some(words)
}

/// The repository of a reference, with its registry spelled out; `None` when it is no reference.
fn repository(image: &str) -> Option<String> {
    let (named, digest) =
        image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return None;
    }
    let slash = named.rfind('/').map_or(0, |i| i + 1);
    let (named, tag) = match named[slash..].rfind(':') {
        Some(colon) => (&named[..slash + colon], Some(&named[slash + colon + 1..])),
        None => (named, None),
    };
    let in_tag = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > TAG_MAX || !tag.bytes().all(in_tag)) {
        return None;
    }
    let (registry, path) = match named.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path.to_owned()),
        Some(_) => ("index.docker.io", named.to_owned()),
        None => ("index.docker.io", format!("library/{named}")),
    };
    let in_path = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    let in_registry = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b);
    let fits = !named.is_empty()
        && (2..=REPOSITORY_MAX).contains(&path.len())
        && path.bytes().all(in_path)
        && registry.bytes().all(in_registry);
    let registry = if registry == "docker.io" { "index.docker.io" } else { registry };
    fits.then(|| format!("{registry}/{path}"))
}

fn is_digest(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap_or("");
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
