//! The secrets of a local installation: one file in its data folder, readable by its owner only.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base::host::Host;
use serde::{Deserialize, Serialize};
use tenancy::token::KeySet;

/// Everything that must stay the same from one start to the next.
#[derive(Serialize, Deserialize)]
pub struct Keys {
    /// Sign users' tokens.
    pub tokens: KeySet,
    /// Seals Secrets.
    pub vault: [u8; 32],
    /// Derives machines' tokens.
    pub machines: [u8; 32],
    /// What gateway and cells show each other.
    pub peer: String,
}

/// Loads the keys in `dir`, or makes them.
///
/// # Errors
/// Names the file.
pub fn load_or_make(dir: &Path, host: &Host) -> Result<Keys> {
    let path = dir.join("keys.json");
    if let Ok(text) = fs::read(&path) {
        return serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()));
    }
    let random = || {
        let mut bytes = [0; 32];
        host.entropy.fill(&mut bytes);
        bytes
    };
    let peer: String = random().iter().map(|b| format!("{b:02x}")).collect();
    let keys = Keys { tokens: KeySet::new(random()), vault: random(), machines: random(), peer };
    // Whole or not at all: a crash in between must not leave half a file.
    let fresh = dir.join("keys.json.new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(|| format!("cannot write {}", fresh.display()))?;
    file.write_all(&serde_json::to_vec(&keys)?)?;
    file.sync_all()?;
    fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(keys)
}
