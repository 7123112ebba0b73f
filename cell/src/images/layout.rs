//! An OCI layout folder as a mirror: images by name, and stand-ins that answer for every tag of a repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oci_client::Reference;
use serde_json::Value;
use tekton::engine::decide::ImageConfig;

/// Annotation with an image's name.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the repository that an image stands in for, whatever tag or digest is asked for.
const STANDS_IN_FOR: &str = "dev.cella.stands-in-for";

/// A layout folder.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
}

/// Why a layout cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file of it.
    #[error("file {0} of the layout cannot be read")]
    File(PathBuf, #[source] std::io::Error),
    /// It is not JSON.
    #[error("file {0} of the layout is not JSON")]
    Json(PathBuf, #[source] serde_json::Error),
    /// A digest that is none.
    #[error("{0:?} is not a digest")]
    Digest(String),
}

impl Layout {
    /// The layout in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The image `reference`; `None`: it is not here.
    ///
    /// # Errors
    /// [`LayoutError`] when the layout is damaged.
    pub fn look_up(&self, reference: &Reference) -> Result<Option<ImageConfig>, LayoutError> {
        let index = self.json(&self.folder.join("index.json"))?;
        let entries = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
        let repository = format!("{}/{}", reference.registry(), reference.repository());
        let named = |entry: &&Value| match (reference.digest(), reference.tag()) {
            (Some(digest), _) => entry["digest"] == digest,
            (None, tag) => {
                let tag = tag.unwrap_or("latest");
                entry["annotations"][NAME] == format!("{repository}:{tag}")
            }
        };
        let found = entries.iter().find(named);
        let found = found.or_else(|| entries.iter().find(|e| e["annotations"][STANDS_IN_FOR] == *repository));
        let Some(digest) = found.and_then(|entry| entry["digest"].as_str()) else { return Ok(None) };
        let mut platforms = BTreeMap::new();
        self.platforms(digest, &mut platforms)?;
        Ok(Some(ImageConfig::Found { digest: digest.to_owned(), platforms }))
    }

    fn platforms(
        &self,
        digest: &str,
        out: &mut BTreeMap<String, (Vec<String>, Vec<String>)>,
    ) -> Result<(), LayoutError> {
        let manifest = self.blob(digest)?;
        if let Some(entries) = manifest["manifests"].as_array() {
            for digest in entries.iter().filter_map(|entry| entry["digest"].as_str()) {
                self.platforms(digest, out)?;
            }
        } else if let Some(config) = manifest["config"]["digest"].as_str() {
            out.extend(super::of_config(&self.blob(config)?));
        }
        Ok(())
    }

    fn blob(&self, digest: &str) -> Result<Value, LayoutError> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex = hex.ok_or_else(|| LayoutError::Digest(digest.to_owned()))?;
        self.json(&self.folder.join("blobs/sha256").join(hex))
    }

    fn json(&self, path: &Path) -> Result<Value, LayoutError> {
        let bytes = fs::read(path).map_err(|error| LayoutError::File(path.to_owned(), error))?;
        serde_json::from_slice(&bytes).map_err(|error| LayoutError::Json(path.to_owned(), error))
    }
}
