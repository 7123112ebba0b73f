//! The `cella` command.
//!
//! **For:** people (a laptop's `up`, `demo`, `doctor`) and the local machine provider (`agent`, `supervisor`).
//! **May use:** gateway, cell, agent, and what they use.
//! **Invariants:** standard output is data, standard error is talk; exit code 0 says that what was asked came
//! true, 1 that it did not, 64 that it was asked wrongly; nothing is left behind.
//! **Read in this order:** [`arguments`], [`run`], [`up`], [`server`], [`operate`], [`demo`], [`why`], [`replay`].

pub mod arguments;
pub mod client;
pub mod demo;
pub mod doctor;
pub mod documents;
mod images;
pub mod keys;
mod kubeconfig;
pub mod operate;
pub mod replay;
pub mod resolvers;
pub mod run;
pub mod server;
pub mod store;
pub mod up;
pub mod why;
