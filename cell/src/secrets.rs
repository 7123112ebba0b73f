//! Values of Secrets. They are asked for when a claimed session needs them, and held no longer.

use std::collections::BTreeMap;

use base::host::BoxFuture;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use store::vault::Vault;

/// Why a Secret cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a secret cannot be opened: {0}")]
pub struct SecretError(pub String);

/// Opens Secrets.
pub trait Secrets: Send + Sync {
    /// The values of the Secret `object` of `tenant`, by key.
    fn open(
        &self,
        tenant: &str,
        object: &Value,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Vec<u8>>, SecretError>>;
}

/// Secrets whose values are sealed in a vault.
pub struct Vaulted(pub std::sync::Arc<Vault>);

impl Secrets for Vaulted {
    fn open(
        &self,
        tenant: &str,
        object: &Value,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Vec<u8>>, SecretError>> {
        let mut object = object.clone();
        let opened = self.0.open(tenant, &mut object).map_err(|error| SecretError(error.to_string()));
        let values = opened.and_then(|()| decode(&object["data"]));
        Box::pin(async move { values })
    }
}

/// Secrets whose object holds the values itself.
pub struct InObject;

impl Secrets for InObject {
    fn open(
        &self,
        _tenant: &str,
        object: &Value,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Vec<u8>>, SecretError>> {
        let values = decode(&object["data"]);
        Box::pin(async move { values })
    }
}

/// Values of a `data` (or `binaryData`) member.
///
/// # Errors
/// [`SecretError`] when a value is not base64.
pub fn decode(data: &Value) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    let mut values = BTreeMap::new();
    for (key, value) in data.as_object().into_iter().flatten() {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
        values.insert(key.clone(), bytes.map_err(|_| SecretError(format!("{key} is not base64")))?);
    }
    Ok(values)
}
