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

/// The version of the conversation that this build speaks. 2: an Order names the addresses of the cell's replicas.
pub const VERSION: u32 = 2;
/// The oldest version that this build still speaks: the one of the release before it.
pub const OLDEST: u32 = 1;

/// The version that a cell of this build speaks with an agent that speaks `oldest` to `newest`: the greatest that
/// both know.
///
/// # Errors
/// A text for the agent that says what is spoken here.
pub fn agree(newest: u32, oldest: Option<u32>) -> Result<u32, String> {
    // An agent that names no oldest one speaks exactly one.
    let (theirs, oldest) = (newest.min(VERSION), oldest.unwrap_or(newest));
    if theirs >= oldest.max(OLDEST) {
        return Ok(theirs);
    }
    Err(format!(
        "this cell speaks versions {OLDEST} to {VERSION} of the agents' protocol, and the agent {oldest} to {newest}; use an agent of the cell's release, or of one before or after it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_one_apart_agree_and_others_are_told() {
        assert_eq!(agree(1, None), Ok(1));
        assert_eq!(agree(2, Some(1)), Ok(2));
        assert_eq!(agree(3, Some(2)), Ok(2));
        for (newest, oldest) in [(0, None), (3, Some(3)), (3, None), (9, Some(8))] {
            assert!(agree(newest, oldest).unwrap_err().contains("versions 1 to 2"), "{newest} {oldest:?}");
        }
    }
}
