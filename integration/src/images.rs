//! Stand-in container images, built from Debian's packages into an OCI image layout, for hosts that reach no
//! registry. The content is Debian's, the names are those of the images they stand in for; whoever uses them
//! says so on screen.
//!
//! The layout's `index.json` names each image twice in annotations: `org.opencontainers.image.ref.name`
//! (`docker.io/library/ubuntu:latest`) and [`STANDS_IN_FOR`] (`docker.io/library/ubuntu`): an entry with the
//! second one answers for every tag and digest of that repository.

mod layout;
mod packages;
mod recipes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use packages::run as run_command;
pub use recipes::names;

/// Annotation of an index entry that answers for every tag and digest of a repository.
pub const STANDS_IN_FOR: &str = "dev.cella.stands-in-for";

/// A bundle of Tekton objects that an example takes a task from.
const BUNDLE: &str = "ghcr.io/tektoncd/catalog/upstream/tasks/git-clone";

/// Folder of the authority that the images below `dir` trust, and of the certificate that it has signed for
/// [`crate::outside`].
pub fn authority(dir: &Path) -> PathBuf {
    dir.join("authority")
}

/// Builds the images that are not there yet below `dir`, and returns the layout's folder.
///
/// # Errors
/// When a package cannot be had; the text names it.
pub fn build(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let layout = dir.join("layout");
    let stamp = layout.join("recipes");
    let tls = base::tls::load_or_make(&authority(dir), &crate::outside::names())?;
    let wanted = recipes::fingerprint(&tls.authority_pem);
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(layout);
    }
    let fresh = dir.join(format!("layout.{}", std::process::id()));
    std::fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    let mut writer = layout::Writer::new(&fresh)?;
    for recipe in recipes::all() {
        say(&format!("building a stand-in for {} from Debian's packages", recipe.names[0]));
        let root = dir.join(format!("root.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        recipe
            .unpack(&root, &dir.join("debs"), &tls.authority_pem)
            .with_context(|| format!("cannot build {}", recipe.names[0]))?;
        writer.image(&root, &recipe)?;
        std::fs::remove_dir_all(&root)?;
    }
    let (_, task) = crate::outside::CATALOG[0];
    writer.bundle(BUNDLE, &[("task", "git-clone", task)])?;
    writer.finish()?;
    std::fs::write(fresh.join("recipes"), &wanted)?;
    let _ = std::fs::remove_dir_all(&layout);
    std::fs::rename(&fresh, &layout)?;
    Ok(layout)
}
