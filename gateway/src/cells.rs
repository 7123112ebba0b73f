//! What a gateway says to cells: wake up, and give me that log. Cells are found by the rows of their replicas; each
//! request is signed for one cell, and only an answer that proves to be that cell's is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use base::host::Host;
use http::{Method, Request, Response, StatusCode, header};
use store::backend::ReadError;
use store::tenant::{Reach, TenantStore};
use tenancy::id::CellId;
use tenancy::peer::{PROOF, Peer, Peers, Reused, VERSION, VERSION_HEADER, WAKE};

use crate::app::App;

/// How long one replica may take to begin its answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A held wake-up stays open for longer.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// Pauses between two tries to wake a cell that has not taken its work.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// What comes while a cell is told, or within such a time after it, is told together.
const GATHER: Duration = Duration::from_millis(5);
/// How often to look for cells that have not taken their work, whoever was to wake them.
const FORWARD: Duration = Duration::from_secs(5);
/// A cell that was heard within this time looks by itself, µs.
const HEARD_US: i64 = 15_000_000;

/// Cells as a gateway reaches them.
pub struct Cells {
    host: Host,
    tenants: TenantStore,
    peers: Peers,
    /// Cells that are being woken, and whether somebody has asked again meanwhile.
    waking: Mutex<BTreeMap<String, bool>>,
    /// Cells for which a wake-up is held open.
    holding: Mutex<BTreeSet<String>>,
    tokens: Reused,
}

/// Why a cell has not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Away {
    /// The store does not say where it is.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// No replica answers, or none that can prove who it is.
    #[error("no replica of cell {0} answers")]
    Silent(String),
    /// A replica has refused, and says why.
    #[error("cell {cell} refuses: {why}")]
    Refused {
        /// Which.
        cell: String,
        /// In its words.
        why: String,
    },
}

impl Cells {
    /// Cells of the store, called as `peers.me`.
    pub fn new(host: Host, tenants: TenantStore, peers: Peers) -> Self {
        Self {
            host,
            tenants,
            peers,
            waking: Mutex::default(),
            holding: Mutex::default(),
            tokens: Reused::default(),
        }
    }

    /// Asks a cell, whichever replica answers.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn get(&self, cell: &str, path: &str) -> Result<Response<Body>, Away> {
        let reach = self.tenants.cell_reach(cell).await?;
        let reach = reach.ok_or_else(|| Away::Silent(cell.to_owned()))?;
        let mut last = Away::Silent(cell.to_owned());
        for address in &reach.addresses {
            match self.ask(cell, address, path).await {
                Ok(response) => return Ok(response),
                Err(away) => {
                    tracing::debug!(cell, address, %away, "a replica does not answer");
                    last = away;
                }
            }
        }
        Err(last)
    }

    async fn ask(&self, cell: &str, address: &str, path: &str) -> Result<Response<Body>, Away> {
        let silent = || Away::Silent(cell.to_owned());
        let peer = Peer::Cell(CellId::parse(cell).map_err(|_| silent())?);
        let nonce = format!("{:032x}", self.host.id());
        let now_us = self.host.clock.utc().0;
        let token = self.peers.me.call(&peer, &format!("GET {path}"), &nonce, now_us);
        let request = self.request(Method::GET, path, &token.map_err(|_| silent())?).ok_or_else(silent)?;
        let answer = self.host.within(ANSWER_MAX, self.host.net.call(address, request)).await;
        let response = answer.map_err(|_| silent())?.map_err(|_| silent())?;
        let status = response.status();
        if status == StatusCode::BAD_REQUEST && !response.headers().contains_key(PROOF) {
            let why = http_body_util::Limited::new(response.into_body(), 4096);
            let why = http_body_util::BodyExt::collect(why).await.map(|body| body.to_bytes());
            let why = why.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            tracing::warn!(cell, address, why, "a cell refuses to speak with this gateway");
            return Err(Away::Refused { cell: cell.to_owned(), why });
        }
        let proof = response.headers().get(PROOF).and_then(|v| v.to_str().ok()).unwrap_or("");
        let now_us = self.host.clock.utc().0;
        let answer = (status.as_u16(), nonce.as_str());
        if let Err(why) = self.peers.trust.verify_proof(proof, &peer, self.peers.me.peer(), answer, now_us) {
            tracing::warn!(cell, address, %why, "whoever answers there does not prove to be the cell");
            return Err(silent());
        }
        Ok(response)
    }

    fn request(&self, method: Method, path: &str, token: &str) -> Option<Request<Body>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(VERSION_HEADER, VERSION)
            .body(Body::empty())
            .ok()
    }

    /// Wakes a cell. It is told once for all that came while it was being told; and never waited for. If nobody
    /// takes the wake-up, it is repeated for as long as there is due work that the cell has not taken.
    pub fn wake(self: &Arc<Self>, cell: &str) {
        {
            let mut waking = lock(&self.waking);
            if let Some(again) = waking.get_mut(cell) {
                *again = true;
                return;
            }
            waking.insert(cell.to_owned(), false);
        }
        let (cells, cell) = (self.clone(), cell.to_owned());
        self.host.spawn("gateway-wake", async move {
            let mut pause = AGAIN_FIRST;
            loop {
                if cells.tell(&cell).await {
                    pause = AGAIN_FIRST;
                } else if cells.tenants.cell_overdue(&cell, cells.host.clock.utc().0).await != Ok(false) {
                    cells.host.clock.sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_MAX);
                    continue;
                }
                if !cells.has_more(&cell) {
                    return;
                }
                cells.host.clock.sleep(GATHER).await;
                lock(&cells.waking).insert(cell.clone(), false);
            }
        });
    }

    /// Somebody has asked to wake `cell` while it was being woken; if not, it is not being woken any more.
    fn has_more(&self, cell: &str) -> bool {
        let mut waking = lock(&self.waking);
        let more = waking.get(cell).is_some_and(|again| *again);
        if !more {
            waking.remove(cell);
        }
        more
    }

    /// Tells one replica; whether it has heard. What it answers needs no proof: it only saves time, the cell's Due
    /// rows say whether the work is taken.
    async fn tell(self: &Arc<Self>, cell: &str) -> bool {
        let Ok(Some(reach)) = self.tenants.cell_reach(cell).await else { return false };
        for address in &reach.addresses {
            if self.wake_at(cell, address, WAKE, ANSWER_MAX).await {
                if reach.cell.asleep_until_us.is_some() {
                    self.hold(&reach, address);
                }
                return true;
            }
        }
        false
    }

    async fn wake_at(&self, cell: &str, address: &str, path: &str, time: Duration) -> bool {
        let Some(token) = self.wake_token(cell, path) else { return false };
        let Some(request) = self.request(Method::POST, path, &token) else { return false };
        match self.host.within(time, self.host.net.call(address, request)).await {
            Ok(Ok(response)) if response.status().is_success() => true,
            Ok(Ok(response)) => {
                tracing::warn!(cell, address, status = %response.status(), "a cell refuses to be woken");
                false
            }
            Ok(Err(error)) => {
                tracing::debug!(cell, address, %error, "cannot wake the cell");
                // The cell may have heard; asking again does no harm.
                false
            }
            Err(_) => false,
        }
    }

    /// Keeps a request to a cell that slept open while it works: on a platform that gives it no time otherwise.
    fn hold(self: &Arc<Self>, reach: &Reach, address: &str) {
        let cell = reach.cell.cell.clone();
        if !lock(&self.holding).insert(cell.clone()) {
            return;
        }
        let (cells, address) = (self.clone(), address.to_owned());
        self.host.spawn("gateway-hold", async move {
            cells.wake_at(&cell, &address, &format!("{WAKE}?hold=true"), HOLD_MAX).await;
            lock(&cells.holding).remove(&cell);
        });
    }

    fn wake_token(&self, cell: &str, path: &str) -> Option<String> {
        let peer = Peer::Cell(CellId::parse(cell).ok()?);
        self.tokens.call(&self.peers.me, &peer, &format!("POST {path}"), self.host.clock.utc().0).ok()
    }

    /// Starts the job that wakes cells which sleep or are silent while there is work for them: whoever accepted it
    /// may have died before the wake-up was taken.
    pub fn forward(self: &Arc<Self>) {
        let cells = self.clone();
        self.host.spawn("gateway-forward", async move {
            loop {
                cells.host.clock.sleep(FORWARD).await;
                let Ok(all) = cells.tenants.cells().await else { continue };
                let now_us = cells.host.clock.utc().0;
                for cell in all {
                    let looks =
                        cell.asleep_until_us.is_none() && now_us.saturating_sub(cell.at_us) < HEARD_US;
                    if !looks && cells.tenants.cell_overdue(&cell.cell, now_us).await == Ok(true) {
                        cells.wake(&cell.cell);
                    }
                }
            }
        });
    }
}

impl App {
    /// Wakes a cell; see [`Cells::wake`].
    pub fn wake(&self, cell: &str) {
        self.cells.wake(cell);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
