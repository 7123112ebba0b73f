//! Container images: found at a mirror or a registry, unpacked once per host, named by digest ever after.
//!
//! ```text
//! <cache>/names/<hash of name>.json    name -> digest, as last resolved
//! <cache>/images/<digest>.json         an image: its layers and configuration (unchanging)
//! <cache>/l/<16 digits>/               an unpacked layer; appears whole, by rename
//! <cache>/locks/, <cache>/tmp/         many agents share one cache; whoever comes second finds it done
//! ```

mod cache;
mod layout;
mod reference;
mod registry;
mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_client::Reference;
use protocol::order::RegistryAuth;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use reference::parse;

pub use cache::Cache;

/// Where images come from, and where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sources {
    /// Folder that all agents of this host share.
    pub cache: PathBuf,
    /// Registry host, or `*` for all others -> where to ask instead: `host:port` of a mirror, or the absolute
    /// path of an OCI image layout. What a layout does not hold is asked of the registry, unless `offline`.
    pub mirrors: BTreeMap<String, String>,
    /// No registry is asked but mirrors.
    pub offline: bool,
}

/// An image that is unpacked on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of what the name led to: of the index, where there is one.
    pub digest: String,
    /// Names of the unpacked layers, the lowest one first.
    pub layers: Vec<String>,
    /// What it says about running it.
    pub config: ImageConfig,
}

/// The part of an image's configuration that matters to a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments, or the program when there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// User, perhaps with a group.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
}

/// When a registry is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullPolicy {
    /// Each time; what is unpacked already is not fetched again.
    Always,
    /// When the name is not known here.
    IfNotPresent,
    /// Never.
    Never,
}

/// Why there is no image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is none.
    #[error("couldn't parse image name {0:?}: invalid reference format")]
    InvalidName(String),
    /// Nobody has it, or nobody answers.
    #[error("failed to pull and unpack image {name:?}: {cause}")]
    Pull {
        /// Its full name.
        name: String,
        /// What the registry said.
        cause: String,
    },
    /// It is not here and must not be fetched.
    #[error("container image {0:?} is not present with pull policy of Never")]
    NotPresent(String),
}

impl PullPolicy {
    /// As the API server defaults it: `Always` for `latest`.
    pub fn of(policy: Option<&str>, reference: &Reference) -> Self {
        match policy {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if reference.digest().is_none() && reference.tag().is_none_or(|t| t == "latest") => {
                Self::Always
            }
            _ => Self::IfNotPresent,
        }
    }
}

impl ImageConfig {
    /// Reads an image's configuration document.
    fn of(document: &Value) -> Self {
        let config = &document["config"];
        let list = |member: &str| -> Vec<String> {
            let all = config[member].as_array().into_iter().flatten();
            all.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let text = |member: &str| config[member].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        Self {
            entrypoint: list("Entrypoint"),
            cmd: list("Cmd"),
            env: list("Env"),
            user: text("User"),
            working_dir: text("WorkingDir"),
        }
    }
}

/// `status.imageID`: the repository with the digest.
pub fn image_id(reference: &Reference, digest: &str) -> String {
    format!("{}/{}@{digest}", reference.registry(), reference.repository())
}

/// Where the content of an image is read from.
enum Source {
    Layout(layout::Layout),
    Registry(registry::Registry),
}

impl Source {
    /// The manifest that a name or a digest leads to: perhaps an index.
    async fn manifest(&self, reference: &Reference, digest: Option<&str>) -> Result<Value, String> {
        match self {
            Self::Layout(layout) => layout.manifest(reference, digest),
            Self::Registry(registry) => registry.manifest(digest).await,
        }
    }

    /// Only the digest that the name leads to.
    async fn digest(&self, reference: &Reference) -> Result<String, String> {
        match self {
            Self::Layout(layout) => layout.digest(reference),
            Self::Registry(registry) => registry.digest().await,
        }
    }

    /// A file with the blob's bytes, verified; below `tmp` when it had to be fetched.
    async fn blob(&self, digest: &str, tmp: PathBuf) -> Result<PathBuf, String> {
        match self {
            Self::Layout(layout) => Ok(layout.blob(digest)),
            Self::Registry(registry) => registry.blob(digest, tmp).await,
        }
    }
}

/// Everything about one pull.
struct Pull<'a> {
    reference: &'a Reference,
    auth: Option<&'a RegistryAuth>,
}

#[cfg(test)]
mod tests;
