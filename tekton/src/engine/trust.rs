//! Trusted resources: whether a fetched Task or Pipeline is signed by whom the tenant's policies name.
//!
//! Reading order: [`canonical`] (the bytes that are signed), [`keys`] (one signature, one key), [`verify`] (policies).

pub mod canonical;
pub mod keys;
mod verify;

pub use canonical::checksum;
pub use verify::{Verdict, verify};

/// The condition of a run that tells the verdict.
pub const CONDITION: &str = "TrustedResourcesVerified";

#[cfg(test)]
mod tests;
