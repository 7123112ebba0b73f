//! A registry, or a mirror of one, over HTTP.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::Pull;

/// A registry that does not answer must not hold a run up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence while reading.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// One image at a registry.
pub struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
}

impl Registry {
    /// The image of `pull`, asked of `mirror` if given.
    pub fn new(pull: &Pull<'_>, mirror: Option<&str>) -> Result<Self, String> {
        let mut reference = pull.reference.clone();
        if let Some(mirror) = mirror {
            reference.set_mirror_registry(mirror.to_owned());
        }
        let auth = match pull.auth {
            Some(auth) => RegistryAuth::Basic(auth.username.clone(), auth.password.clone()),
            None => RegistryAuth::Anonymous,
        };
        Ok(Self { client: client(reference.resolve_registry())?, reference, auth })
    }

    /// The digest that the name leads to.
    pub async fn digest(&self) -> Result<String, String> {
        self.client.fetch_manifest_digest(&self.reference, &self.auth).await.map_err(|e| text(&e))
    }

    /// The manifest of the name, or of a digest in its repository.
    pub async fn manifest(&self, digest: Option<&str>) -> Result<Value, String> {
        let reference = match digest {
            Some(digest) => self.reference.clone_with_digest(digest.to_owned()),
            None => self.reference.clone(),
        };
        let pulled = self.client.pull_manifest_raw(&reference, &self.auth, &MANIFESTS).await;
        let (bytes, _) = pulled.map_err(|e| text(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| format!("its manifest cannot be read: {e}"))
    }

    /// Fetches a blob into `file`.
    pub async fn blob(&self, digest: &str, file: PathBuf) -> Result<PathBuf, String> {
        // For blobs the client takes what an earlier call has negotiated; there may have been none.
        self.client.store_auth_if_needed(self.reference.resolve_registry(), &self.auth).await;
        drop(self.client.auth(&self.reference, &self.auth, RegistryOperation::Pull).await);
        let descriptor = OciDescriptor { digest: digest.to_owned(), ..OciDescriptor::default() };
        let fetch = async {
            let mut out = tokio::fs::File::create(&file).await?;
            self.client.pull_blob(&self.reference, &descriptor, &mut out).await?;
            out.flush().await?;
            Ok::<_, OciDistributionError>(())
        };
        fetch.await.map_err(|e| text(&e))?;
        Ok(file)
    }
}

fn client(host: &str) -> Result<Client, String> {
    // Without a default provider the TLS library would panic; a second installation is refused, harmlessly.
    static TLS: OnceLock<()> = OnceLock::new();
    TLS.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let loopback = name == "localhost"
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let config = ClientConfig {
        protocol: if loopback { ClientProtocol::Http } else { ClientProtocol::Https },
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
        user_agent: "cella-agent",
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|e| text(&e))
}

/// The error with its causes: the cause is what a user can act on.
fn text(error: &OciDistributionError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Digest in the form `sha256:<hex>`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}
