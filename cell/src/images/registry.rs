//! Look-ups at registries, through a mirror map and a layout folder. Answers are kept for a while.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base::host::{BoxFuture, Host};
use oci_client::client::ClientConfig;
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciManifest;
use oci_client::secrets::RegistryAuth as Auth;
use oci_client::{Client, Reference};
use serde_json::Value;
use tekton::engine::decide::ImageConfig;

use super::layout::Layout;
use super::{Auths, Images, of_config};

/// Longest time for one image.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long an answer counts, µs: a tag may move.
const KEEP_US: i64 = 300_000_000;
/// Answers kept.
const KEPT_MAX: usize = 1024;

/// Where images are looked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Registry, or registry with a beginning of the repository → what stands there instead:
    /// `mirror.gcr.io` → `docker.io/library`.
    pub mirrors: BTreeMap<String, String>,
    /// A layout that is asked before any registry.
    pub layout: Option<PathBuf>,
}

/// Looks images up at registries.
pub struct Registry {
    host: Host,
    mirrors: BTreeMap<String, String>,
    layout: Option<Layout>,
    /// Made when first needed: it reads the host's certificates.
    client: OnceLock<Client>,
    known: Arc<Mutex<BTreeMap<String, (i64, ImageConfig)>>>,
}

impl Registry {
    /// Look-ups by these settings.
    pub fn new(host: Host, settings: &Settings) -> Self {
        Self {
            host,
            mirrors: settings.mirrors.clone(),
            layout: settings.layout.as_deref().map(Layout::new),
            client: OnceLock::new(),
            known: Arc::default(),
        }
    }

    async fn find(&self, reference: &str, auths: &Auths) -> Result<ImageConfig, String> {
        let asked: Reference = match reference.parse() {
            Ok(reference) => reference,
            Err(error) => {
                return Ok(ImageConfig::Missing(format!("could not parse reference: {reference}: {error}")));
            }
        };
        let mirrored = mirrored(&self.mirrors, &asked);
        if let Some(layout) = &self.layout {
            for reference in [&asked, &mirrored] {
                if let Some(found) = layout.look_up(reference).map_err(|error| error.to_string())? {
                    return Ok(found);
                }
            }
        }
        let auth = auths
            .get(asked.registry())
            .map_or(Auth::Anonymous, |auth| Auth::Basic(auth.username.clone(), auth.password.clone()));
        let client = self.client.get_or_init(client);
        match self.host.within(TIMEOUT, pull(client, &mirrored, &auth)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) if is_answer(&error) => Ok(ImageConfig::Missing(error.to_string())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the registry {} does not answer", mirrored.registry())),
        }
    }
}

impl Images for Registry {
    fn look_up(&self, reference: &str, auths: &Auths) -> BoxFuture<'_, Result<ImageConfig, String>> {
        let (reference, auths) = (reference.to_owned(), auths.clone());
        Box::pin(async move {
            // What needs credentials is nobody else's to know.
            let shared = auths.is_empty();
            let now_us = self.host.clock.utc().0;
            if shared
                && let Some((at_us, found)) = lock(&self.known).get(&reference)
                && now_us - at_us < KEEP_US
            {
                return Ok(found.clone());
            }
            let found = self.find(&reference, &auths).await?;
            if shared && matches!(found, ImageConfig::Found { .. }) {
                let mut known = lock(&self.known);
                if known.len() >= KEPT_MAX {
                    known.retain(|_, (at_us, _)| now_us - *at_us < KEEP_US);
                }
                if known.len() < KEPT_MAX {
                    known.insert(reference, (now_us, found.clone()));
                }
            }
            Ok(found)
        })
    }
}

fn client() -> Client {
    // Whoever was first has chosen the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::new(ClientConfig::default())
}

async fn pull(client: &Client, image: &Reference, auth: &Auth) -> Result<ImageConfig, OciDistributionError> {
    let (manifest, digest) = client.pull_manifest(image, auth).await?;
    let mut platforms = BTreeMap::new();
    let images = match manifest {
        OciManifest::Image(_) => vec![image.clone_with_digest(digest.clone())],
        OciManifest::ImageIndex(index) => {
            // Attestations are entries of an unknown platform.
            let real = index.manifests.into_iter().filter(|entry| {
                entry.platform.as_ref().is_none_or(|platform| platform.os.to_string() != "unknown")
            });
            real.map(|entry| image.clone_with_digest(entry.digest)).collect()
        }
    };
    for image in images {
        let (_, _, config) = client.pull_manifest_and_config(&image, auth).await?;
        let config: Value = serde_json::from_str(&config)?;
        platforms.extend(of_config(&config));
    }
    Ok(ImageConfig::Found { digest, platforms })
}

/// The registry has spoken, and asking again will not change it.
fn is_answer(error: &OciDistributionError) -> bool {
    matches!(
        error,
        OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::RegistryError { .. }
            | OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ManifestParsingError(_)
    )
}

/// What the mirror map makes of a reference.
pub(super) fn mirrored(mirrors: &BTreeMap<String, String>, reference: &Reference) -> Reference {
    let whole = format!("{}/{}", reference.registry(), reference.repository());
    // The longest rule counts.
    let rule = mirrors.iter().filter_map(|(from, to)| {
        let rest = whole.strip_prefix(from.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some((from.len(), to, rest))
    });
    let Some((_, to, rest)) = rule.max_by_key(|(len, _, _)| *len) else { return reference.clone() };
    let end = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("@{digest}"),
        (None, Some(tag)) => format!(":{tag}"),
        (None, None) => String::new(),
    };
    format!("{to}{rest}{end}").parse().unwrap_or_else(|_| reference.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
