//! Where a local installation takes images from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::host::Host;
use cell::images::Images;
use cell::images::registry::{Registry, Settings};
use serde_json::{Value, json};

/// A mirror of a public registry whose names mean the same images.
const SAME: (&str, &str) = ("mirror.gcr.io", "docker.io/library");

/// What agents are told: with a layout, it answers for every registry and none is asked.
pub fn for_agents(cache: &Path, layout: Option<&Path>) -> Value {
    match layout {
        Some(layout) => json!({"cache": cache, "mirrors": {"*": layout}, "offline": true}),
        None => json!({"cache": cache}),
    }
}

/// What the cell looks images up with.
pub fn for_cell(host: &Host, layout: Option<&Path>) -> Arc<dyn Images> {
    let mirrors = BTreeMap::from([(SAME.0.to_owned(), SAME.1.to_owned())]);
    Arc::new(Registry::new(host.clone(), &Settings { mirrors, layout: layout.map(Path::to_owned) }))
}
