//! Values of Secrets: encrypted before they reach a row, opened only for a Grant or a claimed session.
//!
//! Each value of `data` is sealed by itself (AES-256-GCM, random nonce); what binds it to its place is the
//! additional data tenant/namespace/key, so that a value copied to another tenant or key does not open.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Map, Value};

/// Begins every sealed value.
const SEALED: &str = "cella-vault-1:";

/// Seals and opens the values of Secrets.
pub struct Vault {
    key: LessSafeKey,
}

/// A Secret that cannot be sealed or opened. Says no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VaultError {
    /// A value was sealed with another key, or somewhere else, or is damaged.
    #[error("the value of {0:?} cannot be opened")]
    Closed(String),
    /// Out of the ordinary: sealing failed.
    #[error("a value cannot be sealed")]
    Seal,
}

impl Vault {
    /// A vault with a key of 32 random bytes.
    ///
    /// # Panics
    /// Never: the length fits the algorithm.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key of this algorithm");
        Self { key: LessSafeKey::new(key) }
    }

    /// Seals every value of `data` that is not sealed yet. `nonce` gives random bytes.
    ///
    /// # Errors
    /// [`VaultError::Seal`].
    pub fn seal(
        &self,
        tenant: &str,
        secret: &mut Value,
        mut nonce: impl FnMut(&mut [u8]),
    ) -> Result<(), VaultError> {
        let namespace = secret["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
        for (name, value) in data(secret) {
            let Some(text) = value.as_str().filter(|t| !t.starts_with(SEALED)) else { continue };
            let mut random = [0; NONCE_LEN];
            nonce(&mut random);
            let mut bytes = text.as_bytes().to_vec();
            let place = place(tenant, &namespace, name);
            let sealed = self.key.seal_in_place_append_tag(
                Nonce::assume_unique_for_key(random),
                Aad::from(place),
                &mut bytes,
            );
            sealed.map_err(|_| VaultError::Seal)?;
            let packed = [&random[..], &bytes].concat();
            *value = Value::String(format!("{SEALED}{}", STANDARD.encode(packed)));
        }
        Ok(())
    }

    /// Opens every sealed value of `data`.
    ///
    /// # Errors
    /// [`VaultError::Closed`] names the first key that does not open.
    pub fn open(&self, tenant: &str, secret: &mut Value) -> Result<(), VaultError> {
        let namespace = secret["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
        for (name, value) in data(secret) {
            let Some(packed) = value.as_str().and_then(|t| t.strip_prefix(SEALED)) else { continue };
            let closed = || VaultError::Closed(name.clone());
            let mut bytes = STANDARD.decode(packed).map_err(|_| closed())?;
            let sealed = bytes.split_off_checked(NONCE_LEN).ok_or_else(closed)?;
            let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| closed())?;
            let mut sealed = sealed;
            let place = place(tenant, &namespace, name);
            let opened =
                self.key.open_in_place(nonce, Aad::from(place), &mut sealed).map_err(|_| closed())?;
            *value = Value::String(String::from_utf8(opened.to_vec()).map_err(|_| closed())?);
        }
        Ok(())
    }
}

/// `Vec::split_off` that does not panic.
trait SplitOffChecked: Sized {
    fn split_off_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitOffChecked for Vec<u8> {
    fn split_off_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_off(at))
    }
}

fn place(tenant: &str, namespace: &str, key: &str) -> String {
    format!("{tenant}/{namespace}/{key}")
}

fn data(secret: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    secret.get_mut("data").and_then(Value::as_object_mut).into_iter().flat_map(Map::iter_mut)
}

#[cfg(test)]
mod tests;
