//! Replays recorded conversations of a reference API server against the router. For tests and tools; the only part
//! of this crate that reads files.

pub mod bindings;
pub mod compare;
mod scenario;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::host::Host;
use futures_util::StreamExt;
use serde_json::Value;

/// Outcome of each scenario, in order of name.
pub type Outcomes = Vec<(String, Result<(), String>)>;

/// Scenarios played at the same time: most of their time is waiting.
const AT_ONCE: usize = 8;

/// Where the recorded conversations are: `CELLA_SHARED`, or beside the workspace.
pub fn shared() -> PathBuf {
    #[allow(clippy::disallowed_methods, reason = "a developer's setting; this module is for tests only")]
    let named = std::env::var("CELLA_SHARED").ok();
    named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
}

/// Plays every scenario below `dir`, each against a gateway of its own.
///
/// # Errors
/// When the files cannot be read.
pub async fn run(dir: &Path, host: &Host) -> Result<Outcomes, String> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    let host = Arc::new(host.clone());
    let (serial, together): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, s)| s["serial"] == true);
    let play = |(name, scenario): (String, Value)| {
        let host = host.clone();
        async move { (name, scenario::play(&scenario, &host).await) }
    };
    let mut outcomes: Outcomes =
        futures_util::stream::iter(together).map(play).buffer_unordered(AT_ONCE).collect().await;
    for file in serial {
        outcomes.push(play(file).await);
    }
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(outcomes)
}

fn collect(dir: &Path, out: &mut Vec<(String, Value)>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            collect(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "json") {
            let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
            let value: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            if value["format"] == "golden-api/1" {
                out.push((value["name"].as_str().unwrap_or("").to_owned(), value));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
