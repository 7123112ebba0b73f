//! The global front: it knows who asks, admits their objects, places their runs, and serves the Kubernetes API.
//!
//! **For:** clients (kubectl, tkn, informers) over https, and the simulated world, which calls the router.
//! **May use:** store, tekton (`api` only), tenancy, apimachinery, base.
//! **Invariants:** the tenant comes from the credential, never from the path; nothing is read or decoded before
//! the caller is known; every route has a rule; one write per request, and never a wait for a cell on the way
//! to it; every refusal is a Kubernetes `Status`.
//! **Read in this order:** [`entry`] (a request's way in), [`route`], [`authn`], [`homes`], [`objects`] with [`admit`],
//! [`watch`], [`logs`], [`cells`], [`info`], [`reviews`], [`why`], [`admin`].

pub mod admin;
pub mod admit;
pub mod answer;
pub mod app;
pub mod authn;
pub mod cells;
pub mod entry;
#[cfg(any(test, feature = "golden"))]
pub mod golden;
pub mod homes;
pub mod info;
pub mod logs;
pub mod metrics;
pub mod objects;
pub mod reviews;
pub mod route;
mod trace;
mod versions;
pub mod watch;
pub mod why;

pub use app::{Admission, App, Parts};
pub use entry::{router, router_of_homes};
