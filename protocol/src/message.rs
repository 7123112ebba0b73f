//! The conversation, in the order in which it happens. All requests are `POST` with a JSON body (logs: raw
//! bytes) and `Authorization: Bearer <machine token>`.
//!
//! ```text
//! hello  -> Order | Wait | Burn          which attempt owns this machine (claim, with the boot nonce)
//! start  -> Go | Revoked | Burn          the start gate: no user container before Go
//! report -> desired state                cumulative, ordered by seq; repeated ones are harmless
//! watch  -> desired state, when changed  long poll; this is how cancel and sidecar readiness arrive
//! renew  -> Lease | Revoked              only for an Order with a lease: may it go on for another one
//! logs   -> next offset                  chunks addressed by (container, offset)
//! ```

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;
use serde::{Deserialize, Serialize};

use crate::order::Order;

/// Path of [`Hello`].
pub const HELLO: &str = "/agent/v1/hello";
/// Path of [`Start`].
pub const START: &str = "/agent/v1/start";
/// Path of [`Report`].
pub const REPORT: &str = "/agent/v1/report";
/// Path of [`Watch`].
pub const WATCH: &str = "/agent/v1/watch";
/// Path of [`Renew`].
pub const RENEW: &str = "/agent/v1/renew";
/// Capability of [`Hello`]: the runtime ends everything when a lease runs out, whatever the agent does.
pub const CAPABILITY_LEASE: &str = "lease";
/// Path prefix of log chunks: `/agent/v1/logs/{machine}/{nonce}/{attempt}/{container}?offset=N`.
///
/// The body is bytes of the CRI log format (`<RFC 3339 nano> stdout|stderr F|P <text>\n`), N its offset in
/// the container's stream. The answer is [`LogAnswer`].
pub const LOGS: &str = "/agent/v1/logs";

/// Which boot of which machine is speaking. Every message carries it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Speaker {
    /// The machine's id, as the provider named it.
    pub machine: String,
    /// Random per boot of the machine: a reboot is another speaker and is told to burn.
    pub nonce: String,
}

/// The first message: who is there and what it can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks.
    pub speaker: Speaker,
    /// [`crate::VERSION`] of the agent.
    pub version: u32,
    /// [`crate::OLDEST`] of the agent; absent: it speaks `version` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u32>,
    /// What this machine's runtime offers, for the cell's log and `cella doctor`.
    #[serde(default)]
    pub capabilities: BTreeMap<String, String>,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum HelloAnswer {
    /// The attempt that owns this machine is claimed for this speaker; run it.
    Order(Box<Order>),
    /// No attempt yet (a warm machine): say hello again at once; the cell holds the request open.
    Wait,
    /// This machine must not run anything any more.
    Burn {
        /// Why, for the agent's log.
        reason: String,
    },
}

/// Asks to pass the start gate. Sent when everything is prepared and nothing of the user's has run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Who speaks.
    pub speaker: Speaker,
    /// The attempt of the Order.
    pub attempt: String,
    /// Volumes that are attached, with the generation of each as the Order said it.
    #[serde(default)]
    pub volumes: BTreeMap<String, u64>,
    /// Pod status at this moment (images pulled, containers created), so that it need not be reported apart.
    pub status: PodStatus,
}

/// Answer to [`Start`]. Until it is `Go`, no user container may start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum StartAnswer {
    /// `started` is committed: go.
    Go,
    /// Another attempt has won, or the run is cancelled: stop, report nothing.
    Revoked,
    /// This machine must not run anything any more.
    Burn {
        /// Why, for the agent's log.
        reason: String,
    },
}

/// What the agent has seen so far. Cumulative: a later one replaces an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who speaks.
    pub speaker: Speaker,
    /// The attempt of the Order.
    pub attempt: String,
    /// Grows with every report of this attempt.
    pub seq: u64,
    /// The Pod's status as a kubelet would give it.
    pub status: PodStatus,
    /// Nothing will follow: all containers ended, logs are delivered.
    pub last: bool,
    /// Durations and instants that the agent alone knows, in µs since 1970: `booted`, `pulled`, `created`,
    /// `first_step`, `done`.
    #[serde(default)]
    pub timings: BTreeMap<String, i64>,
}

/// Asks for the desired state, and waits for it to differ from `seen`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// Who speaks.
    pub speaker: Speaker,
    /// The attempt of the Order.
    pub attempt: String,
    /// The desired state known to the agent.
    pub seen: Desired,
    /// How long the cell may hold the request open, in ms.
    pub wait_ms: u64,
}

/// Asks to go on for another lease. The lease counts from the moment at which the agent *sent* this, on a clock that
/// counts suspend: the cell's answer is about a moment after that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Renew {
    /// Who speaks.
    pub speaker: Speaker,
    /// The attempt of the Order.
    pub attempt: String,
}

/// Answer to [`Renew`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum RenewAnswer {
    /// Another lease, as long as the Order says.
    Lease,
    /// Another attempt may be running: end everything, report nothing.
    Revoked,
}

/// What the cell wants of the attempt. Answer to [`Report`] and [`Watch`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Desired {
    /// `Some`: stop all containers (TERM, then KILL after the grace), report, end.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// Annotations of the Pod that downward volumes show (`tekton.dev/ready`, `tekton.dev/cancel`).
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Sidecars shall be stopped: every step has ended.
    #[serde(default)]
    pub stop_sidecars: bool,
}

/// How to stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stop {
    /// For the agent's log: `cancelled`, `timeout`, `deleted`, `revoked`.
    pub reason: String,
    /// Time between TERM and KILL, in ms.
    pub grace_ms: u64,
}

/// Answer to a log chunk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The offset that the sink expects next; send from there.
    pub next: u64,
}

/// Body of every answer that is not 200.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What was wrong.
    pub message: String,
}
