//! The meaning of Tekton's API, as Tekton Pipelines v1.15 defines it.
//!
//! **For:** `gateway` (the [`api`] half: admission) and `cell` (the [`engine`] half).
//! **May use:** `apimachinery`. Pure: no async, no clock, no randomness, no I/O; `now` and ids are arguments,
//! new uids and name suffixes are hashes of parent and name.
//! **Invariants:** objects are JSON documents; code reads them through views and edits the document, so that
//! nothing is lost in a typed round trip. [`api`] never imports [`engine`]. `BTreeMap`, never `HashMap`.
//! **Read in this order:** [`api`], [`engine`]; [`cel`] is used by both.

pub mod api;
pub mod cel;
pub mod engine;
#[cfg(any(test, feature = "golden"))]
pub mod fuzz;
#[cfg(any(test, feature = "golden"))]
pub mod golden;
