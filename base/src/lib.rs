//! How our processes start, tell time, are configured, observed and stopped.
//!
//! **For:** every process of Cella (gateway, cell, agent, the `cella` command) and the simulated world.
//! **May use:** nothing of ours. A closed list of modules, not a place for helpers.
//! **Invariants:** a process asks the outside world for time, randomness, jobs and other processes only
//! through [`host::Host`]; the real side of those seams is here and nowhere else.
//! **Read in this order:** [`host`] (the seams), [`real`] (their real side), [`serve`], [`tls`],
//! [`telemetry`], `config`.

#[cfg(feature = "config")]
pub mod config;
pub mod host;
pub mod real;
pub mod serve;
pub mod telemetry;
pub mod tls;
