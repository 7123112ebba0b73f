//! Kubeconfigs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::client::Access;

/// A kubeconfig for one tenant's user.
pub fn text(tenant: &str, access: &Access) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": tenant, "cluster": {
            "server": format!("https://{}", access.address),
            "certificate-authority-data": STANDARD.encode(&access.authority_pem),
        }}],
        "users": [{"name": tenant, "user": {"token": access.token}}],
        "contexts": [{"name": tenant, "context": {"cluster": tenant, "user": tenant, "namespace": "default"}}],
        "current-context": tenant,
    });
    serde_yaml_ng::to_string(&config).unwrap_or_default()
}

/// Writes a kubeconfig that only its owner can read: it holds a token.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, tenant: &str, access: &Access) -> Result<()> {
    write_private(path, text(tenant, access).as_bytes())
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// Names the file.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(bytes).with_context(|| format!("cannot write {}", path.display()))
}
