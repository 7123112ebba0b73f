//! What a cell and an agent say to each other.
//!
//! **For:** `cell` (serves it) and `agent` (calls it).
//! **May use:** serde and the Kubernetes core types; nothing of ours, so that the agent can name neither
//! Tekton nor tenants nor the store. Pure.
//! **Invariants:** messages are JSON and versioned; a field is added, never given another meaning; cell and
//! agent may be one version apart. The agent always dials; the cell never calls an agent.
//! **Read in this order:** [`message`] (the conversation), [`order`] (what to run).

pub mod message;
pub mod order;

/// The version of the conversation that this build speaks.
pub const VERSION: u32 = 1;
