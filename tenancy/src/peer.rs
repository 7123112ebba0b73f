//! How a gateway and a cell speak to each other: paths, versions, and (one place) who is believed.
//!
//! Requests go through `base::host::Net` to the address of a replica, and carry `Authorization: Bearer <call token>`:
//! signed (Ed25519) by the caller's own key, for one peer, one method and one path, for a minute. The answer carries
//! a **proof** in [`PROOF`]: a token of the cell that names the nonce of the call, so that whoever answers at an
//! address is the cell that was meant. Private keys stay with their owner; everybody else has public halves
//! ([`Trust`]), so that a stolen cell can pose as no gateway and as no other cell.
//!
//! `now` and nonces are arguments; nothing but [`Reused`] has a state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};

use crate::id::CellId;
use crate::token::{PKCS8_HEAD, Unauthenticated, bytes32, hex};

/// `POST`: there is due work for this cell. Body: empty. It only saves latency; the Due rows are the truth. With
/// `?hold=true` (since version 2) the request stays open while the cell works, at most a minute: on a platform that
/// lets a replica work only while a request is open, that request is what keeps it going.
pub const WAKE: &str = "/cell/v1/wake";

/// `GET /cell/v1/logs/{tenant}/{namespace}/{pod uid}/{container}?offset=N&follow=true|false`: the container's
/// log in the CRI format from byte N. With `follow` the answer ends when the container has ended; without, at
/// what is there. `x-cella-log-ended: true` says that nothing will be added. 404: nothing is known of that log.
pub const LOGS: &str = "/cell/v1/logs";

/// `POST`, between replicas of one cell: look again at these names (a JSON list). A hint.
pub const RING: &str = "/cell/v1/ring";

/// Header of every answer of a cell: its proof.
pub const PROOF: &str = "cella-proof";

/// Header of requests and answers: the version that is spoken.
pub const VERSION_HEADER: &str = "cella-peer-version";
/// The version that this build speaks.
pub const VERSION: u32 = 2;
/// The oldest version that this build still understands: the one of the release before it.
pub const OLDEST: u32 = 1;

/// How long a call token is good, seconds.
const CALL_LIFE_S: i64 = 60;
/// Clocks of two hosts may differ by this much, seconds.
const SKEW_S: i64 = 30;
/// No token is longer.
const TOKEN_MAX: usize = 4 * 1024;
/// What a token is for stands in its header, so that none can be taken for the other (RFC 8725).
const CALL: &str = "cella-call+jwt";
const ANSWER: &str = "cella-proof+jwt";

/// One of our servers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Peer {
    /// Any replica of the gateway.
    Gateway,
    /// Any replica of this cell.
    Cell(CellId),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Gateway => f.write_str("gateway"),
            Peer::Cell(cell) => write!(f, "cell/{cell}"),
        }
    }
}

/// Text that names no peer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no peer; write gateway, or for example cell/us-central1")]
pub struct BadPeer(String);

impl TryFrom<String> for Peer {
    type Error = BadPeer;
    fn try_from(text: String) -> Result<Self, BadPeer> {
        if text == "gateway" {
            return Ok(Peer::Gateway);
        }
        let cell = text.strip_prefix("cell/").and_then(|cell| CellId::parse(cell).ok());
        cell.map(Peer::Cell).ok_or(BadPeer(text))
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> String {
        peer.to_string()
    }
}

/// Who a process is, and the key by which it proves it. Secret; its debug form shows no key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    peer: Peer,
    /// Private key, 32 bytes in hexadecimal.
    key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Keys that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the key of this peer is damaged")]
pub struct BadIdentity;

/// Public keys that are believed, by id. Several of one peer while a key is changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trust(BTreeMap<String, Trusted>);

/// A public key and whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trusted {
    /// Whose.
    pub peer: Peer,
    /// Public key, 32 bytes in hexadecimal.
    pub key: String,
}

/// What both kinds of token say.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: Peer,
    aud: Peer,
    /// Of a call: method and path. Of a proof: the status of the answer.
    sub: String,
    /// The nonce of the call.
    jti: String,
    iat: i64,
    exp: i64,
}

/// A call that is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Who calls.
    pub from: Peer,
    /// Its nonce, which the proof repeats.
    pub nonce: String,
    /// Until when this very token may be believed, µs since 1970.
    pub until_us: i64,
}

impl Identity {
    /// `peer` with a key made of 32 random bytes.
    pub fn new(peer: Peer, random: [u8; 32]) -> Self {
        Self { peer, key: hex(&random) }
    }

    /// Who it is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// A token for one request (`GET /path?query`) to `to`.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn call(&self, to: &Peer, request: &str, nonce: &str, now_us: i64) -> Result<String, BadIdentity> {
        self.sign(CALL, to, request, nonce, now_us)
    }

    /// The proof that an answer with this status to the call with `nonce` is this peer's.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn proof(&self, to: &Peer, status: u16, nonce: &str, now_us: i64) -> Result<String, BadIdentity> {
        self.sign(ANSWER, to, &status.to_string(), nonce, now_us)
    }

    fn sign(&self, typ: &str, to: &Peer, sub: &str, nonce: &str, now_us: i64) -> Result<String, BadIdentity> {
        let seed = bytes32(&self.key).ok_or(BadIdentity)?;
        let mut der = PKCS8_HEAD.to_vec();
        der.extend_from_slice(&seed);
        let now = now_us / 1_000_000;
        let claims = Claims {
            iss: self.peer.clone(),
            aud: to.clone(),
            sub: sub.to_owned(),
            jti: nonce.to_owned(),
            iat: now,
            exp: now + CALL_LIFE_S,
        };
        let kid = Some(key_id(&public(&seed)?));
        let header = Header { kid, typ: Some(typ.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&der)).map_err(|_| BadIdentity)
    }
}

/// Tokens without a nonce, which one process uses again: for hints, whose answers need no proof. Signing is most of the
/// work of a hint.
#[derive(Default)]
pub struct Reused(Mutex<BTreeMap<(Peer, String), (String, i64)>>);

impl Reused {
    /// A token of `me` for such a request (`POST /path`) to `to`, made anew after a third of its life.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn call(&self, me: &Identity, to: &Peer, request: &str, now_us: i64) -> Result<String, BadIdentity> {
        let name = (to.clone(), request.to_owned());
        let tokens = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, since_us)) = tokens().get(&name)
            && (0..CALL_LIFE_S * 1_000_000 / 3).contains(&(now_us - since_us))
        {
            return Ok(token.clone());
        }
        let token = me.call(to, request, "", now_us)?;
        tokens().insert(name, (token.clone(), now_us));
        Ok(token)
    }
}

impl Trust {
    /// Believes one more identity's public half.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn add(&mut self, identity: &Identity) -> Result<(), BadIdentity> {
        let key = public(&bytes32(&identity.key).ok_or(BadIdentity)?)?;
        self.0.insert(key_id(&key), Trusted { peer: identity.peer.clone(), key: hex(&key) });
        Ok(())
    }

    /// Who makes this request (`GET /path?query`) of `me`.
    ///
    /// # Errors
    /// [`Unauthenticated`] says why nobody is believed to.
    pub fn verify_call(
        &self,
        token: &str,
        me: &Peer,
        request: &str,
        now_us: i64,
    ) -> Result<Call, Unauthenticated> {
        let claims = self.verify(token, CALL, me, now_us)?;
        if claims.sub != request {
            return Err(Unauthenticated::Audience);
        }
        let until_us = claims.exp.saturating_add(SKEW_S).saturating_mul(1_000_000);
        Ok(Call { from: claims.iss, nonce: claims.jti, until_us })
    }

    /// The answer with this status to the call with `nonce`, which `me` made, is `from`'s.
    ///
    /// # Errors
    /// [`Unauthenticated`] says why not.
    pub fn verify_proof(
        &self,
        token: &str,
        from: &Peer,
        me: &Peer,
        answer: (u16, &str),
        now_us: i64,
    ) -> Result<(), Unauthenticated> {
        let claims = self.verify(token, ANSWER, me, now_us)?;
        let (status, nonce) = answer;
        if claims.iss != *from || claims.jti != nonce || claims.sub != status.to_string() {
            return Err(Unauthenticated::Audience);
        }
        Ok(())
    }

    fn verify(&self, token: &str, typ: &str, me: &Peer, now_us: i64) -> Result<Claims, Unauthenticated> {
        if token.len() > TOKEN_MAX {
            return Err(Unauthenticated::Forged);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthenticated::Forged)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(typ) {
            return Err(Unauthenticated::Forged);
        }
        let trusted = header.kid.and_then(|id| self.0.get(&id)).ok_or(Unauthenticated::UnknownKey)?;
        let key = bytes32(&trusted.key).ok_or(Unauthenticated::UnknownKey)?;
        let mut rules = Validation::new(Algorithm::EdDSA);
        // Time and audience are checked below, against what we are given.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(&key), &rules);
        let claims = decoded.map_err(|_| Unauthenticated::Forged)?.claims;
        let now = now_us / 1_000_000;
        // The key decides who speaks: a peer cannot name another one as the issuer.
        if claims.iss != trusted.peer {
            return Err(Unauthenticated::Forged);
        }
        if claims.aud != *me {
            return Err(Unauthenticated::Audience);
        }
        if now >= claims.exp.saturating_add(SKEW_S) || claims.exp - claims.iat > CALL_LIFE_S {
            return Err(Unauthenticated::Expired);
        }
        if now < claims.iat.saturating_sub(SKEW_S) {
            return Err(Unauthenticated::NotYet);
        }
        Ok(claims)
    }
}

/// What one process needs: who it is, and whom it believes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peers {
    /// Who it is.
    pub me: Identity,
    /// Whom it believes.
    pub trust: Trust,
}

/// Fresh keys for a whole installation: the gateway and these cells, each of which believes all of them.
///
/// # Errors
/// [`BadIdentity`] when `random` gives no key.
pub fn found(
    cells: impl IntoIterator<Item = CellId>,
    mut random: impl FnMut() -> [u8; 32],
) -> Result<BTreeMap<Peer, Peers>, BadIdentity> {
    let all = std::iter::once(Peer::Gateway).chain(cells.into_iter().map(Peer::Cell));
    let all: Vec<Identity> = all.map(|peer| Identity::new(peer, random())).collect();
    let mut trust = Trust::default();
    for identity in &all {
        trust.add(identity)?;
    }
    let with_trust = |me: Identity| (me.peer.clone(), Peers { me, trust: trust.clone() });
    Ok(all.into_iter().map(with_trust).collect())
}

/// Which version to speak with a peer that has said `said` (the text of [`VERSION_HEADER`]): the greatest that both
/// know. A peer that says nothing speaks the first one.
///
/// # Errors
/// A text for the peer that says what is spoken here.
pub fn agree(said: Option<&str>) -> Result<u32, String> {
    let theirs = said.map_or(Some(1), |text| text.parse::<u32>().ok());
    // One release apart either way: somebody newer speaks our version as well.
    match theirs {
        Some(theirs) if (OLDEST..=VERSION + 1).contains(&theirs) => Ok(theirs.min(VERSION)),
        _ => Err(format!(
            "this cell speaks versions {OLDEST} to {VERSION} of the protocol between gateway and cell, not {}; run both from the same release, or from one release before or after",
            said.unwrap_or("none")
        )),
    }
}

fn public(seed: &[u8; 32]) -> Result<[u8; 32], BadIdentity> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BadIdentity)?;
    pair.public_key().as_ref().try_into().map_err(|_| BadIdentity)
}

/// The id comes from the public half, so that it says nothing of the private one.
fn key_id(public: &[u8; 32]) -> String {
    hex(&public[..8])
}

#[cfg(test)]
mod tests;
