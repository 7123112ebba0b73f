//! An OCI image layout as a mirror. Its index names images in annotations: `org.opencontainers.image.ref.name`
//! for one tag, `dev.cella.stands-in-for` for every tag and digest of a repository.

use std::fs;
use std::path::{Path, PathBuf};

use oci_client::Reference;
use serde_json::Value;
use sha2::{Digest, Sha256};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const STANDS_IN_FOR: &str = "dev.cella.stands-in-for";
/// Pull-through caches of Docker Hub.
const HUB_MIRRORS: [&str; 1] = ["mirror.gcr.io"];

/// A layout in a folder.
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The layout in `dir`, which need not be there.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Whether it has an answer for this name.
    pub fn holds(&self, reference: &Reference) -> bool {
        self.digest(reference).is_ok()
    }

    /// Digest of the image's manifest or index.
    pub fn digest(&self, reference: &Reference) -> Result<String, String> {
        let path = self.dir.join("index.json");
        let text = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let index: Value = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let entries: Vec<&Value> = index["manifests"].as_array().into_iter().flatten().collect();
        let repositories = repositories(reference);
        let exact = entries.iter().find(|entry| match reference.digest() {
            Some(digest) => entry["digest"] == digest,
            None => {
                let tag = reference.tag().unwrap_or("latest");
                let name = entry["annotations"][REF_NAME].as_str().unwrap_or_default();
                repositories.iter().any(|r| name == format!("{r}:{tag}"))
            }
        });
        let stand_in = || {
            entries.iter().find(|entry| {
                let name = entry["annotations"][STANDS_IN_FOR].as_str();
                name.is_some_and(|name| repositories.iter().any(|r| r == name))
            })
        };
        let found = exact.or_else(stand_in).and_then(|entry| entry["digest"].as_str());
        found
            .map(str::to_owned)
            .ok_or_else(|| format!("{reference}: not found in the image layout {}", self.dir.display()))
    }

    /// The manifest of the name, or of a digest in it.
    pub fn manifest(&self, reference: &Reference, digest: Option<&str>) -> Result<Value, String> {
        let digest = match digest {
            Some(digest) => digest.to_owned(),
            None => self.digest(reference)?,
        };
        let path = self.blob(&digest);
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if super::registry::sha256(&bytes) != digest {
            return Err(format!("{}: its content has another digest", path.display()));
        }
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Where a blob is.
    pub fn blob(&self, digest: &str) -> PathBuf {
        // A digest from a manifest is not ours: it must not become a path elsewhere.
        let (kind, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
        let clean = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        self.dir.join("blobs").join(clean(kind)).join(clean(hex))
    }
}

/// Names under which the repository may be listed.
fn repositories(reference: &Reference) -> Vec<String> {
    let (registry, repository) = (reference.registry(), reference.repository());
    let mut names = vec![format!("{registry}/{repository}")];
    if HUB_MIRRORS.contains(&registry) {
        let repository = repository.strip_prefix("library/").unwrap_or(repository);
        let full =
            if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") };
        names.push(format!("docker.io/{full}"));
    }
    names
}

/// Digest of a file's bytes, in the form `sha256:<hex>`.
pub fn digest_of_file(path: &Path) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hash)?;
    Ok(format!("sha256:{}", super::registry::hex(&hash.finalize())))
}
