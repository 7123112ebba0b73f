//! Which of an installation's Homes a process may hold, and where to send whoever asks for another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::host::{Host, Mono};
use tenancy::id::{HomeId, TenantId};

use crate::backend::ReadError;
use crate::directory::Directory;

/// Where a tenant lives is asked again after this time.
const AGE_MAX: Duration = Duration::from_secs(60);
/// So many tenants are remembered.
const KEPT_MAX: usize = 100_000;

/// The Homes as one process sees them. It remembers tenants' names and Homes, nothing else of theirs.
pub struct Homes {
    directory: Directory,
    host: Host,
    held: BTreeSet<HomeId>,
    elsewhere: BTreeMap<HomeId, String>,
    known: Mutex<BTreeMap<TenantId, (HomeId, Mono)>>,
}

/// Where a tenant lives, seen from here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// In a Home that this process holds.
    Here(HomeId),
    /// In one that it may not hold.
    Elsewhere {
        /// That Home.
        home: HomeId,
        /// Address of a gateway that holds it, if it is known.
        gateway: Option<String>,
    },
    /// There is no such tenant.
    Nowhere,
}

impl Homes {
    /// A process that holds `held`; `elsewhere` are the addresses of gateways of other Homes.
    pub fn new(
        directory: Directory,
        host: Host,
        held: impl IntoIterator<Item = HomeId>,
        elsewhere: BTreeMap<HomeId, String>,
    ) -> Self {
        Self { directory, host, held: held.into_iter().collect(), elsewhere, known: Mutex::default() }
    }

    /// Where a tenant lives.
    ///
    /// # Errors
    /// When the directory is away, and the answer is not remembered.
    pub async fn find(&self, tenant: &TenantId) -> Result<Found, ReadError> {
        let now = self.host.clock.mono();
        let fresh = |(home, since): &(HomeId, Mono)| (now.since(*since) < AGE_MAX).then(|| home.clone());
        let remembered = self.known().get(tenant).cloned();
        if let Some(home) = remembered.as_ref().and_then(fresh) {
            return Ok(self.seen(home));
        }
        let home = match (self.directory.home_of(tenant).await, remembered) {
            (Ok(Some(home)), _) => home,
            (Ok(None), _) => return Ok(Found::Nowhere),
            // A tenant does not move while the directory is away.
            (Err(_), Some((home, _))) => return Ok(self.seen(home)),
            (Err(error), None) => return Err(error),
        };
        let mut known = self.known();
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(tenant.clone(), (home.clone(), now));
        drop(known);
        Ok(self.seen(home))
    }

    fn seen(&self, home: HomeId) -> Found {
        if self.held.contains(&home) {
            return Found::Here(home);
        }
        let gateway = self.elsewhere.get(&home).cloned();
        Found::Elsewhere { home, gateway }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<TenantId, (HomeId, Mono)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
