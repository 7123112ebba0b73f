//! The images of this host, shared by all its agents.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::host::Host;
use futures_util::future::try_join_all;
use nix::fcntl::{Flock, FlockArg};
use oci_client::Reference;
use protocol::order::RegistryAuth;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::layout::{Layout, digest_of_file};
use super::registry::{Registry, sha256};
use super::{Image, ImageConfig, ImageError, Pull, PullPolicy, Source, Sources};

/// Longest time for everything about one image.
const PULL_MAX: Duration = Duration::from_secs(600);
/// Digits of a layer's folder: short, because all of a container's layers must fit into one mount option.
const SHORT: usize = 16;

/// The cache.
#[derive(Clone)]
pub struct Cache {
    sources: Sources,
    host: Host,
}

impl Cache {
    /// The cache of these sources. Makes its folders.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn open(sources: Sources, host: Host) -> io::Result<Self> {
        for folder in ["names", "images", "l", "locks", "tmp"] {
            fs::create_dir_all(sources.cache.join(folder))?;
        }
        Ok(Self { sources, host })
    }

    /// Folder of the unpacked layers.
    pub fn layers(&self) -> PathBuf {
        self.sources.cache.join("l")
    }

    /// The image of this name, unpacked.
    ///
    /// # Errors
    /// See [`ImageError`]; within bounded time.
    pub async fn get(
        &self,
        reference: &Reference,
        policy: PullPolicy,
        auth: Option<&RegistryAuth>,
    ) -> Result<Image, ImageError> {
        let name = reference.whole();
        let known = || self.known(&name);
        match policy {
            PullPolicy::Never => return known().ok_or(ImageError::NotPresent(name)),
            PullPolicy::IfNotPresent => {
                if let Some(image) = known() {
                    return Ok(image);
                }
            }
            PullPolicy::Always => {}
        }
        let pull = Pull { reference, auth };
        let pulled = self.host.within(PULL_MAX, self.pull(&pull)).await;
        pulled
            .unwrap_or_else(|_| Err(format!("not there after {} s", PULL_MAX.as_secs())))
            .map_err(|cause| ImageError::Pull { name: reference.whole(), cause })
    }

    fn known(&self, name: &str) -> Option<Image> {
        let digest: String = read(&self.name_file(name))?;
        self.unpacked(&digest)
    }

    /// The image with this digest, if all its layers are here.
    fn unpacked(&self, digest: &str) -> Option<Image> {
        let image: Image = read(&self.image_file(digest))?;
        image.layers.iter().all(|layer| self.layers().join(layer).exists()).then_some(image)
    }

    fn name_file(&self, name: &str) -> PathBuf {
        self.sources.cache.join("names").join(format!("{}.json", short(&sha256(name.as_bytes()))))
    }

    fn image_file(&self, digest: &str) -> PathBuf {
        self.sources.cache.join("images").join(format!("{}.json", short(&sha256(digest.as_bytes()))))
    }

    async fn pull(&self, pull: &Pull<'_>) -> Result<Image, String> {
        let source = self.source(pull)?;
        let digest = source.digest(pull.reference).await?;
        let image = match self.unpacked(&digest) {
            Some(image) => image,
            None => self.fetch(pull, &source, &digest).await?,
        };
        let name = pull.reference.whole();
        write(&self.name_file(&name), &self.temporary(), &image.digest).map_err(|e| e.to_string())?;
        Ok(image)
    }

    fn source(&self, pull: &Pull<'_>) -> Result<Source, String> {
        let registry = pull.reference.registry();
        let mirror = self.sources.mirrors.get(registry).or_else(|| self.sources.mirrors.get("*"));
        match mirror {
            Some(dir) if dir.starts_with('/') => {
                let layout = Layout::new(Path::new(dir));
                if layout.holds(pull.reference) || self.sources.offline {
                    return Ok(Source::Layout(layout));
                }
                Registry::new(pull, None).map(Source::Registry)
            }
            Some(mirror) => Registry::new(pull, Some(mirror)).map(Source::Registry),
            None if self.sources.offline => {
                Err(format!("{registry} may not be asked: there is no mirror for it"))
            }
            None => Registry::new(pull, None).map(Source::Registry),
        }
    }

    async fn fetch(&self, pull: &Pull<'_>, source: &Source, digest: &str) -> Result<Image, String> {
        let _lock = self.lock(digest).await?;
        if let Some(image) = self.unpacked(digest) {
            return Ok(image);
        }
        let top = source.manifest(pull.reference, Some(digest)).await?;
        let manifest = match platform_of(&top)? {
            Some(inner) => source.manifest(pull.reference, Some(&inner)).await?,
            None => top,
        };
        let config = manifest["config"]["digest"].as_str().ok_or("its manifest names no configuration")?;
        let file = self.blob(source, config).await?;
        let config: Value = read(&file).ok_or("its configuration cannot be read")?;
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        let layers =
            layers.iter().map(|layer| self.layer(source, layer["digest"].as_str().unwrap_or_default()));
        let image = Image {
            digest: digest.to_owned(),
            layers: try_join_all(layers).await?,
            config: ImageConfig::of(&config),
        };
        write(&self.image_file(digest), &self.temporary(), &image).map_err(|e| e.to_string())?;
        Ok(image)
    }

    async fn layer(&self, source: &Source, digest: &str) -> Result<String, String> {
        let name = short(digest);
        let place = self.layers().join(&name);
        if place.exists() {
            return Ok(name);
        }
        let lock = self.lock(&name).await?;
        if place.exists() {
            return Ok(name);
        }
        let blob = self.blob(source, digest).await?;
        let fresh = self.temporary();
        let wanted = digest.to_owned();
        let unpack = move || -> io::Result<()> {
            // Who waits for this may go away; it is done to its end all the same, and until then nobody else begins.
            let _lock = lock;
            let found = digest_of_file(&blob)?;
            if found != wanted {
                return Err(io::Error::other(format!("layer {wanted} has the content of {found}")));
            }
            fs::create_dir(&fresh)?;
            let done = super::unpack::layer(&blob, &fresh).and_then(|()| fs::rename(&fresh, &place));
            if done.is_err() {
                drop(fs::remove_dir_all(&fresh));
            }
            if blob.parent() == fresh.parent() {
                drop(fs::remove_file(&blob));
            }
            done
        };
        let unpacked = tokio::task::spawn_blocking(unpack).await.map_err(|e| e.to_string())?;
        unpacked.map_err(|e| format!("layer {digest}: {e}"))?;
        Ok(name)
    }

    async fn blob(&self, source: &Source, digest: &str) -> Result<PathBuf, String> {
        source.blob(digest, self.temporary()).await
    }

    fn temporary(&self) -> PathBuf {
        self.sources.cache.join("tmp").join(format!("{:032x}", self.host.id()))
    }

    /// One of all agents of this host goes on; the others wait, and then find the work done.
    async fn lock(&self, what: &str) -> Result<Flock<File>, String> {
        let path = self.sources.cache.join("locks").join(short(&sha256(what.as_bytes())));
        let lock = move || -> io::Result<Flock<File>> {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
        };
        let locked = tokio::task::spawn_blocking(lock).await.map_err(|e| e.to_string())?;
        locked.map_err(|e| format!("the image cache cannot be locked: {e}"))
    }
}

/// The digest inside an index for this machine; `None` when the manifest is none.
fn platform_of(manifest: &Value) -> Result<Option<String>, String> {
    let Some(entries) = manifest["manifests"].as_array() else { return Ok(None) };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let found = entries
        .iter()
        .find(|e| e["platform"]["os"] == "linux" && e["platform"]["architecture"] == architecture)
        .and_then(|e| e["digest"].as_str());
    match found {
        Some(digest) => Ok(Some(digest.to_owned())),
        None => Err(format!("no match for platform in manifest: not found: linux/{architecture}")),
    }
}

fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().filter(char::is_ascii_hexdigit).take(SHORT).collect()
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// The file appears whole or not at all.
fn write<T: Serialize>(file: &Path, temporary: &Path, content: &T) -> io::Result<()> {
    let mut fresh = File::create(temporary)?;
    fresh.write_all(&serde_json::to_vec(content)?)?;
    fs::rename(temporary, file)
}
