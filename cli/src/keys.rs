//! The secrets of a local installation: one file in its data folder, readable by its owner only.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base::host::Host;
use ring::hmac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenancy::id::CellId;
use tenancy::peer::{self, Peer, Peers};
use tenancy::token::KeySet;

/// Everything that must stay the same from one start to the next.
#[derive(Serialize, Deserialize)]
pub struct Keys {
    /// Sign users' and operators' tokens.
    pub tokens: KeySet,
    /// Seals Secrets.
    pub vault: [u8; 32],
    /// Derives machines' tokens.
    pub machines: [u8; 32],
    /// By which gateway and cells prove who they are to each other.
    #[serde(default)]
    pub peers: BTreeMap<Peer, Peers>,
}

/// What a gateway process has of them.
#[derive(Clone, Serialize, Deserialize)]
pub struct GatewayKeys {
    /// Sign users' and operators' tokens.
    pub tokens: KeySet,
    /// Seals Secrets.
    pub vault: [u8; 32],
    /// Signs where a list goes on.
    pub pages: [u8; 32],
    /// Who the gateway is, and whom it believes.
    pub peers: Peers,
}

/// What a cell process has of them.
#[derive(Serialize, Deserialize)]
pub struct CellKeys {
    /// Opens Secrets.
    pub vault: [u8; 32],
    /// Derives machines' tokens.
    pub machines: [u8; 32],
    /// Who the cell is, and whom it believes.
    pub peers: Peers,
}

impl Keys {
    fn new(host: &Host) -> Result<Self> {
        let random = || {
            let mut bytes = [0; 32];
            host.entropy.fill(&mut bytes);
            bytes
        };
        let cells: Vec<_> =
            crate::up::CELLS.iter().map(|(cell, _)| CellId::parse(cell)).collect::<Result<_, _>>()?;
        Ok(Self {
            tokens: KeySet::new(random()),
            vault: random(),
            machines: random(),
            peers: peer::found(cells, random)?,
        })
    }

    /// What a gateway needs.
    ///
    /// # Errors
    /// When the file does not hold it.
    pub fn gateway(&self) -> Result<GatewayKeys> {
        let peers = self.of(&Peer::Gateway)?;
        Ok(GatewayKeys {
            tokens: self.tokens.clone(),
            vault: self.vault,
            pages: self.derived("pages"),
            peers,
        })
    }

    /// What the replicas of a cell need.
    ///
    /// # Errors
    /// When the file does not hold it.
    pub fn cell(&self, cell: &str) -> Result<CellKeys> {
        let peers = self.of(&Peer::Cell(CellId::parse(cell)?))?;
        Ok(CellKeys { vault: self.vault, machines: self.machines, peers })
    }

    fn of(&self, peer: &Peer) -> Result<Peers> {
        self.peers.get(peer).cloned().with_context(|| format!("keys.json has no key of {peer}"))
    }

    /// A key for one purpose, which says nothing of the one it comes from.
    fn derived(&self, purpose: &str) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.vault), purpose.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }
}

/// Loads the keys in `dir`, or makes them.
///
/// # Errors
/// Names the file.
pub fn load_or_make(dir: &Path, host: &Host) -> Result<Keys> {
    let path = dir.join("keys.json");
    if !path.exists() {
        let keys = Keys::new(host)?;
        write(&path, &keys)?;
        return Ok(keys);
    }
    let mut keys: Keys = read(&path)?;
    if keys.peers.is_empty() {
        // Made by a version in which gateway and cells shared one token.
        keys.peers = Keys::new(host)?.peers;
        write(&path, &keys)?;
    }
    Ok(keys)
}

/// Reads a file of secrets.
///
/// # Errors
/// Names the file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Writes a file of secrets, for its owner only. Whole or not at all: a crash in between must not leave half a file.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, secrets: &impl Serialize) -> Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(|| format!("cannot write {}", fresh.display()))?;
    file.write_all(&serde_json::to_vec(secrets)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
}
