//! Kubeconfigs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

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

/// Reads a kubeconfig as [`write`] makes it: a server, its authority and a token. Answers the access, and the namespace
/// of the current context.
///
/// # Errors
/// Names the file and what is missing in it.
pub fn read(path: &Path) -> Result<(Access, String)> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Value =
        serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no kubeconfig", path.display()))?;
    let named = |list: &str, name: &Value| -> Value {
        let all = config[list].as_array().into_iter().flatten();
        all.into_iter().find(|entry| entry["name"] == *name).cloned().unwrap_or_default()
    };
    let context = named("contexts", &config["current-context"])["context"].clone();
    let cluster = named("clusters", &context["cluster"])["cluster"].clone();
    let user = named("users", &context["user"])["user"].clone();
    let missing = |what: &str| format!("{} has no {what}", path.display());
    let server = cluster["server"].as_str().with_context(|| missing("server"))?;
    let authority = cluster["certificate-authority-data"].as_str();
    let authority = authority.with_context(|| missing("certificate-authority-data"))?;
    let token = user["token"].as_str().with_context(|| missing("token"))?.to_owned();
    let authority_pem = String::from_utf8(STANDARD.decode(authority)?)?;
    let address = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let namespace = context["namespace"].as_str().unwrap_or("default").to_owned();
    Ok((Access { address, authority_pem, token }, namespace))
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
