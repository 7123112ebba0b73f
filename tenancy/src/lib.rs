//! Who may do what, and where it runs: tenants, callers, tokens, roles, quotas, residency, placement.
//!
//! **For:** `gateway` (authentication, authorisation, placement) and `store` (façades ask for a [`access::Grant`]).
//! **May use:** `apimachinery`. Pure: no async, no clock, no randomness, no I/O; `now` is an argument.
//! **Invariants:** the tenant comes from the credential only; a [`access::Grant`] can be made here only.
//! **Read in this order:** [`id`], [`access`], [`token`], [`residency`], [`placement`], [`peer`].

pub mod access;
pub mod id;
pub mod peer;
pub mod placement;
pub mod residency;
pub mod token;
