//! Tokens that we issue: signed JWTs (Ed25519), with key id, audience and expiry.
//!
//! Pure: `now` is an argument, and the library's own clock is never asked. The algorithm is pinned by the key,
//! not taken from the token (RFC 8725).

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::{Caller, Operator, Role};
use crate::id::TenantId;

/// Issuer of our tokens.
pub const ISSUER: &str = "cella";
/// Clocks of two machines may differ by this much, seconds.
const SKEW_S: i64 = 60;
/// No token is longer.
const TOKEN_MAX: usize = 8 * 1024;
/// DER before the 32 bytes of an Ed25519 private key (RFC 8410).
pub(crate) const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Signing keys: the one in use and those that are still believed.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeySet {
    /// Id of the key that signs.
    active: String,
    /// Private keys (32 bytes, hex) by id. Secret.
    keys: BTreeMap<String, String>,
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    tenant: TenantId,
    #[serde(default)]
    groups: Vec<String>,
    role: Role,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// What an operator's token says: it belongs to no tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct OperatorClaims {
    iss: String,
    aud: String,
    sub: String,
    /// Tells it from a user's token whatever the audience.
    operator: bool,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Why a credential is not believed. For the log; the client is told nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unauthenticated {
    /// It is not a token of ours, or its signature is wrong.
    #[error("not a token that this installation signed")]
    Forged,
    /// It names a key that is not (or no longer) believed.
    #[error("its key is not believed")]
    UnknownKey,
    /// It is for somebody else.
    #[error("it is for another audience")]
    Audience,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
}

/// Keys that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the signing keys are damaged")]
pub struct BadKeys;

impl KeySet {
    /// A set of one new key, made of 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        let mut set = Self { active: String::new(), keys: BTreeMap::new() };
        set.rotate(random);
        set
    }

    /// Adds a key, which signs from now on; tokens of the older ones are still believed.
    pub fn rotate(&mut self, random: [u8; 32]) {
        // The id comes from the public half, so that it says nothing of the private one.
        let id = public(&random).map_or_else(|_| String::new(), |key| hex(&key[..8]));
        self.keys.insert(id.clone(), hex(&random));
        self.active = id;
    }

    /// Signs a token for `caller`, valid for `life_s` seconds from `now_us`.
    ///
    /// # Errors
    /// [`BadKeys`] when the active key cannot be used.
    pub fn issue(
        &self,
        caller: &Caller,
        audience: &str,
        now_us: i64,
        life_s: i64,
    ) -> Result<String, BadKeys> {
        let now = now_us / 1_000_000;
        self.sign(&Claims {
            iss: ISSUER.into(),
            aud: audience.into(),
            sub: caller.user.clone(),
            tenant: caller.tenant.clone(),
            groups: caller.groups.clone(),
            role: caller.role,
            iat: now,
            nbf: now,
            exp: now + life_s,
        })
    }

    /// Signs a token for an operator of the installation.
    ///
    /// # Errors
    /// [`BadKeys`] when the active key cannot be used.
    pub fn issue_operator(
        &self,
        operator: &Operator,
        audience: &str,
        now_us: i64,
        life_s: i64,
    ) -> Result<String, BadKeys> {
        let now = now_us / 1_000_000;
        self.sign(&OperatorClaims {
            iss: ISSUER.into(),
            aud: audience.into(),
            sub: operator.user.clone(),
            operator: true,
            iat: now,
            nbf: now,
            exp: now + life_s,
        })
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, BadKeys> {
        let seed = self.seed(&self.active).ok_or(BadKeys)?;
        let mut der = PKCS8_HEAD.to_vec();
        der.extend_from_slice(&seed);
        let header = Header { kid: Some(self.active.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&der)).map_err(|_| BadKeys)
    }

    /// Who a token speaks for, and until when (µs since 1970) that can be believed.
    ///
    /// # Errors
    /// [`Unauthenticated`] says what is wrong with it.
    pub fn verify(&self, token: &str, audience: &str, now_us: i64) -> Result<(Caller, i64), Unauthenticated> {
        let claims: Claims = self.decode(token)?;
        let until_us = checked(&claims.iss, &claims.aud, (claims.nbf, claims.exp), audience, now_us)?;
        let caller =
            Caller { tenant: claims.tenant, user: claims.sub, groups: claims.groups, role: claims.role };
        Ok((caller, until_us))
    }

    /// Which operator a token speaks for.
    ///
    /// # Errors
    /// [`Unauthenticated`] says what is wrong with it.
    pub fn verify_operator(
        &self,
        token: &str,
        audience: &str,
        now_us: i64,
    ) -> Result<Operator, Unauthenticated> {
        let claims: OperatorClaims = self.decode(token)?;
        checked(&claims.iss, &claims.aud, (claims.nbf, claims.exp), audience, now_us)?;
        if claims.operator { Ok(Operator { user: claims.sub }) } else { Err(Unauthenticated::Forged) }
    }

    fn decode<C: DeserializeOwned>(&self, token: &str) -> Result<C, Unauthenticated> {
        if token.len() > TOKEN_MAX {
            return Err(Unauthenticated::Forged);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthenticated::Forged)?;
        if header.alg != Algorithm::EdDSA {
            return Err(Unauthenticated::Forged);
        }
        let id = header.kid.ok_or(Unauthenticated::UnknownKey)?;
        let seed = self.seed(&id).ok_or(Unauthenticated::UnknownKey)?;
        let key = public(&seed).map_err(|_| Unauthenticated::UnknownKey)?;
        let mut rules = Validation::new(Algorithm::EdDSA);
        // Time and audience are checked against what we are given.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<C>(token, &DecodingKey::from_ed_der(&key), &rules);
        Ok(decoded.map_err(|_| Unauthenticated::Forged)?.claims)
    }

    fn seed(&self, id: &str) -> Option<[u8; 32]> {
        bytes32(self.keys.get(id)?)
    }
}

/// Issuer, audience and time of a token whose signature holds; until when (µs since 1970) it can be believed.
fn checked(
    issuer: &str,
    meant: &str,
    (nbf, exp): (i64, i64),
    audience: &str,
    now_us: i64,
) -> Result<i64, Unauthenticated> {
    let now = now_us / 1_000_000;
    if issuer != ISSUER {
        return Err(Unauthenticated::Forged);
    }
    if meant != audience {
        return Err(Unauthenticated::Audience);
    }
    if now >= exp.saturating_add(SKEW_S) {
        return Err(Unauthenticated::Expired);
    }
    if now < nbf.saturating_sub(SKEW_S) {
        return Err(Unauthenticated::NotYet);
    }
    Ok(exp.saturating_add(SKEW_S).saturating_mul(1_000_000))
}

/// 32 bytes from their hexadecimal form.
pub(crate) fn bytes32(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

fn public(seed: &[u8; 32]) -> Result<Vec<u8>, BadKeys> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BadKeys)?;
    Ok(pair.public_key().as_ref().to_vec())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
