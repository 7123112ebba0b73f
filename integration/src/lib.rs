//! What tests Cella as a whole, and what a developer runs beside the compiler.
//!
//! **For:** `cargo demo`, `cargo verify`, `cargo x NAME` (binary `x`), the end-to-end tests.
//! **May use:** every crate of ours.
//! **Invariants:** what a command prints was measured in that very run; a test that cannot run here says so and
//! fails in CI; nothing is left behind (process, mount, cgroup, network namespace).
//! **Read in this order:** [`commands`], [`server`], [`leaks`], [`images`], [`outside`], [`tools`];
//! [`world`] stands by itself.

pub mod commands;
pub mod images;
pub mod leaks;
pub mod outside;
pub mod server;
pub mod tools;
pub mod world;
