//! What registries say of images: entrypoint and command, for steps that have neither command nor script.

use std::collections::BTreeMap;

use base::host::BoxFuture;
use tekton::engine::decide::ImageConfig;

/// Looks images up.
pub trait Images: Send + Sync {
    /// What is known of the image `reference`. `Err` says why nobody can tell now; it is asked again.
    fn look_up(&self, reference: &str) -> BoxFuture<'_, Result<ImageConfig, String>>;
}

/// A fixed list of images, for tests and the simulated world.
#[derive(Clone, Default)]
pub struct Fixed(pub BTreeMap<String, ImageConfig>);

impl Images for Fixed {
    fn look_up(&self, reference: &str) -> BoxFuture<'_, Result<ImageConfig, String>> {
        let found = self.0.get(reference).cloned();
        let missing = || ImageConfig::Missing(format!("image {reference:?} is not in the list"));
        let found = found.unwrap_or_else(missing);
        Box::pin(async move { Ok(found) })
    }
}
