//! What every request shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use base::host::{Host, Mono};
use http::{Request, header};
use store::tenant::TenantStore;
use store::vault::Vault;
use tenancy::token::KeySet;

use crate::authn::Believed;
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
    /// What cells of this installation expect of a gateway.
    pub peer_token: String,
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
    /// Cells that are being woken.
    waking: Mutex<BTreeMap<String, bool>>,
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
    /// What cells of this installation expect of a gateway.
    pub peer_token: String,
    /// What is done to objects before they are stored.
    pub admission: Admission,
    /// What was committed.
    pub commits: Arc<store::counted::Counts>,
}

impl App {
    /// A gateway.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            began: parts.host.clock.mono(),
            host: parts.host,
            tenants: parts.tenants,
            vault: parts.vault,
            keys: parts.keys,
            audience: parts.audience,
            peer_token: parts.peer_token,
            admission: parts.admission,
            believed: Believed::default(),
            counts: Counts::default(),
            commits: parts.commits,
            waking: Mutex::default(),
        })
    }

    /// Wakes a cell. It is told once for all that came while it was being told; and never waited for.
    pub fn wake(self: &Arc<Self>, cell: &str) {
        {
            let mut waking = self.waking.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(again) = waking.get_mut(cell) {
                *again = true;
                return;
            }
            waking.insert(cell.to_owned(), false);
        }
        let (app, cell) = (self.clone(), cell.to_owned());
        self.host.spawn("gateway-wake", async move {
            loop {
                app.tell(&cell).await;
                let mut waking = app.waking.lock().unwrap_or_else(PoisonError::into_inner);
                match waking.get_mut(&cell) {
                    Some(again) if *again => *again = false,
                    _ => {
                        waking.remove(&cell);
                        return;
                    }
                }
            }
        });
    }

    async fn tell(&self, cell: &str) {
        let Ok(Some(address)) = self.tenants.cell_address(cell).await else { return };
        let request = Request::post(tenancy::peer::WAKE)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.peer_token))
            .body(Body::empty());
        if let Ok(request) = request
            && let Err(error) = self.host.net.call(&address, request).await
        {
            // It only saves time: the cell scans its Due rows in any case.
            tracing::debug!(cell, %error, "cannot wake the cell");
        }
    }
}
