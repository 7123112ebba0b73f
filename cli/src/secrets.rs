//! Secrets of a local installation: sealed in their objects, opened with the installation's key.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::host::BoxFuture;
use cell::secrets::{SecretError, Secrets, decode};
use serde_json::Value;
use store::vault::Vault;

/// Opens Secrets with a vault.
pub struct Vaulted(pub Arc<Vault>);

impl Secrets for Vaulted {
    fn open(&self, tenant: &str, object: &Value) -> BoxFuture<'_, Result<BTreeMap<String, Vec<u8>>, SecretError>> {
        let mut object = object.clone();
        let opened = self.0.open(tenant, &mut object).map_err(|e| SecretError(e.to_string()));
        let values = opened.and_then(|()| decode(&object["data"]));
        Box::pin(async move { values })
    }
}
