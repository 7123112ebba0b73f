//! What registries say of images: entrypoint and command, for steps that have neither command nor script.

use std::collections::BTreeMap;

use base::host::BoxFuture;
use protocol::order::RegistryAuth;
use serde_json::Value;
use tekton::engine::decide::ImageConfig;

pub mod layout;
pub mod registry;

/// Credentials by registry host.
pub type Auths = BTreeMap<String, RegistryAuth>;

/// Looks images up.
pub trait Images: Send + Sync {
    /// What is known of the image `reference`. `Err` says why nobody can tell now.
    fn look_up(&self, reference: &str, auths: &Auths) -> BoxFuture<'_, Result<ImageConfig, String>>;
}

/// A fixed list of images, for tests and the simulated world.
#[derive(Clone, Default)]
pub struct Fixed(pub BTreeMap<String, ImageConfig>);

impl Images for Fixed {
    fn look_up(&self, reference: &str, _auths: &Auths) -> BoxFuture<'_, Result<ImageConfig, String>> {
        let found = self.0.get(reference).cloned();
        let missing = || ImageConfig::Missing(format!("image {reference:?} is not in the list"));
        let found = found.unwrap_or_else(missing);
        Box::pin(async move { Ok(found) })
    }
}

/// Entrypoint and command.
type Commands = (Vec<String>, Vec<String>);

/// Platform (`linux/arm/v7`), entrypoint and command of an image's configuration.
fn of_config(config: &Value) -> Option<(String, Commands)> {
    let (os, arch) = (config["os"].as_str()?, config["architecture"].as_str()?);
    let platform = match config["variant"].as_str() {
        Some(variant) if !variant.is_empty() => format!("{os}/{arch}/{variant}"),
        _ => format!("{os}/{arch}"),
    };
    let words = |member: &str| {
        let list = config["config"][member].as_array().into_iter().flatten();
        list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    Some((platform, (words("Entrypoint"), words("Cmd"))))
}

#[cfg(test)]
mod tests;
