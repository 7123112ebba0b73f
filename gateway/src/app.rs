//! What every request shares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::host::{Host, Mono};
use store::tenant::TenantStore;
use store::tenant::admin::AdminStore;
use store::vault::Vault;
use tenancy::peer::Peers;
use tenancy::token::KeySet;

use crate::authn::Believed;
use crate::cells::Cells;

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

/// Verb, resource, code.
type Label = (String, String, u16);

/// Requests by what they were and how they ended. Labels are bounded: verbs, resources that exist, classes of codes.
#[derive(Default)]
pub struct Counts {
    requests: Mutex<BTreeMap<Label, (u64, u64)>>,
    /// Watches that are open.
    pub watches: AtomicU64,
}

impl Counts {
    /// Counts a request and its duration in µs.
    pub fn request(&self, verb: &str, resource: &str, code: u16, micros: u64) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = requests.entry((verb.to_owned(), resource.to_owned(), code)).or_default();
        entry.0 += 1;
        entry.1 += micros;
    }

    /// The counts in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# HELP gateway_requests_total Requests by verb, resource and code.\n# TYPE gateway_requests_total counter\n",
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let label = |(verb, resource, code): &Label| {
            format!("{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}}")
        };
        for (key, (count, _)) in requests.iter() {
            out.push_str(&format!("gateway_requests_total{} {count}\n", label(key)));
        }
        out.push_str("# HELP gateway_request_seconds_sum Time spent in requests.\n# TYPE gateway_request_seconds_sum counter\n");
        for (key, (_, micros)) in requests.iter() {
            out.push_str(&format!("gateway_request_seconds_sum{} {}\n", label(key), *micros as f64 / 1e6));
        }
        out.push_str("# HELP gateway_watches Watches that are open.\n# TYPE gateway_watches gauge\n");
        out.push_str(&format!("gateway_watches {}\n", self.watches.load(Ordering::Relaxed)));
        out
    }
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
