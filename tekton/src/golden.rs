//! Replays answers recorded from the reference implementation. For tests and `cargo x golden`; the only part of
//! this crate that reads files.

pub mod admission;
pub mod compare;
pub mod config;
pub mod conversion;
pub mod pipelinerun;
pub mod pod;
pub mod tables;
pub mod taskrun_status;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Outcome of each case, in order of name.
pub type Outcomes = Vec<(String, Result<(), String>)>;

/// Where the recorded answers are: `CELLA_SHARED`, or beside the workspace.
pub fn shared() -> PathBuf {
    #[allow(clippy::disallowed_methods, reason = "a developer's setting; this module is for tests only")]
    let named = std::env::var("CELLA_SHARED").ok();
    named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
}

/// The YAML files of `dir` in order, with their names without the ending.
pub fn files(dir: &Path) -> Result<Vec<(String, Value)>, String> {
    let mut out = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
            let value = serde_yaml_ng::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            out.push((name, value));
        }
    }
    out.sort_by(|a: &(String, Value), b| a.0.cmp(&b.0));
    Ok(out)
}

#[cfg(test)]
mod tests;
