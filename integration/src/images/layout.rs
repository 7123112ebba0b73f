//! Writes an OCI image layout.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::STANDS_IN_FOR;
use super::recipes::Recipe;

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// A layout being written.
pub struct Writer {
    dir: PathBuf,
    manifests: Vec<Value>,
}

impl Writer {
    /// An empty layout in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
        Ok(Self { dir: dir.to_owned(), manifests: Vec::new() })
    }

    /// Adds `root` as an image of one layer.
    pub fn image(&mut self, root: &Path, recipe: &Recipe) -> Result<()> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.follow_symlinks(false);
        tar.mode(tar::HeaderMode::Complete);
        tar.append_dir_all(".", root)?;
        let plain = tar.into_inner()?;
        let diff_id = digest(&plain);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(1));
        gzip.write_all(&plain)?;
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish()?)?;
        let mut config = json!({
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": recipe.cmd,
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        if !recipe.entrypoint.is_empty() {
            config["config"]["Entrypoint"] = json!(recipe.entrypoint);
        }
        let config = self.blob("application/vnd.oci.image.config.v1+json", &serde_json::to_vec(&config)?)?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        let manifest = self.blob(kind, &serde_json::to_vec(&manifest)?)?;
        for name in recipe.names {
            let mut entry = manifest.clone();
            entry["platform"] = json!({"os": "linux", "architecture": ARCHITECTURE});
            entry["annotations"] = json!({
                "org.opencontainers.image.ref.name": format!("{name}:latest"),
                STANDS_IN_FOR: name,
            });
            self.manifests.push(entry);
        }
        Ok(())
    }

    /// Adds a bundle of Tekton objects: each (kind, name, text) is a layer, and says what it is in annotations.
    pub fn bundle(&mut self, repository: &str, objects: &[(&str, &str, &str)]) -> Result<()> {
        let (mut layers, mut digests) = (Vec::new(), Vec::new());
        for (kind, name, text) in objects {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes())?;
            let plain = tar.into_inner()?;
            digests.push(digest(&plain));
            let mut layer = self.blob("application/vnd.oci.image.layer.v1.tar", &plain)?;
            layer["annotations"] = json!({
                "dev.tekton.image.kind": kind,
                "dev.tekton.image.name": name,
                "dev.tekton.image.apiVersion": "v1",
            });
            layers.push(layer);
        }
        let config = json!({
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", &serde_json::to_vec(&config)?)?;
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers});
        let mut entry = self.blob(media, &serde_json::to_vec(&manifest)?)?;
        entry["annotations"] = json!({
            "org.opencontainers.image.ref.name": format!("{repository}:latest"),
            STANDS_IN_FOR: repository,
        });
        self.manifests.push(entry);
        Ok(())
    }

    /// Writes the index.
    pub fn finish(self) -> Result<()> {
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": self.manifests});
        fs::write(self.dir.join("index.json"), serde_json::to_vec_pretty(&index)?)?;
        Ok(())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        let name = digest.trim_start_matches("sha256:");
        fs::write(self.dir.join("blobs/sha256").join(name), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
