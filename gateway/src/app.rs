//! What every request shares.

use std::sync::Arc;

use base::host::{Host, Mono};
use store::tenant::TenantStore;
use store::tenant::admin::AdminStore;
use store::vault::Vault;
use tenancy::peer::Peers;
use tenancy::token::KeySet;

use crate::authn::Believed;
use crate::cells::Cells;
use crate::metrics::Counts;

/// What is done to objects before they are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Tekton's defaulting, and placement of runs.
    Tekton,
    /// Only what the API machinery itself does: runs are stored and go nowhere. For replays of recorded
    /// conversations.
    Bare,
}

/// One gateway.
pub struct App {
    /// The world.
    pub host: Host,
    /// Everything durable, under Grants.
    pub tenants: TenantStore,
    /// Seals Secrets.
    pub vault: Arc<Vault>,
    /// Whose tokens are believed.
    pub keys: KeySet,
    /// What tokens for this gateway are for.
    pub audience: String,
    /// Signs where a list goes on; the same in all replicas of the gateway.
    pub page_key: [u8; 32],
    /// The cells.
    pub cells: Arc<Cells>,
    /// What operators may do.
    pub admin: AdminStore,
    /// What is done to objects before they are stored.
    pub admission: Admission,
    /// Tokens that were verified, until they expire.
    pub believed: Believed,
    /// What was done.
    pub counts: Counts,
    /// What was committed.
    pub commits: Arc<store::counted::Counts>,
    /// When this gateway was made.
    pub began: Mono,
}

/// What a gateway is made of.
pub struct Parts {
    /// The world.
    pub host: Host,
    /// Everything durable.
    pub tenants: TenantStore,
    /// Seals Secrets.
    pub vault: Arc<Vault>,
    /// Whose tokens are believed.
    pub keys: KeySet,
    /// What tokens for this gateway are for.
    pub audience: String,
    /// Who this gateway is for cells, and whom it believes.
    pub peers: Peers,
    /// Signs where a list goes on; the same in all replicas of the gateway.
    pub page_key: [u8; 32],
    /// What operators may do.
    pub admin: AdminStore,
    /// What is done to objects before they are stored.
    pub admission: Admission,
    /// What was committed.
    pub commits: Arc<store::counted::Counts>,
}

impl App {
    /// A gateway.
    pub fn new(parts: Parts) -> Arc<Self> {
        let cells = Arc::new(Cells::new(parts.host.clone(), parts.tenants.clone(), parts.peers));
        Arc::new(Self {
            began: parts.host.clock.mono(),
            cells,
            admin: parts.admin,
            page_key: parts.page_key,
            host: parts.host,
            tenants: parts.tenants,
            vault: parts.vault,
            keys: parts.keys,
            audience: parts.audience,
            admission: parts.admission,
            believed: Believed::default(),
            counts: Counts::default(),
            commits: parts.commits,
        })
    }
}
