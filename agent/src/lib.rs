//! The agent of a single-use machine: it asks its cell what to run, runs it, and tells what it sees.
//!
//! **For:** the `cella` command (the local provider re-executes it), the `agent` binary of machine images, and the
//! simulated world (engine and session only).
//! **May use:** protocol, base. It can name neither Tekton, nor tenants, nor the store.
//! **Invariants:** no user code before the start gate said go; what runs dies with its supervisor, and the
//! supervisor with the agent; secrets are on tmpfs only, in no log and no argument; engine and session ask the
//! world for nothing but a [`base::host::Host`] and a [`runtime::PodRuntime`].
//! **Read in this order:** [`engine`] (what to do next), [`session`] (the conversation with the cell),
//! [`runtime`] (the contract of what runs pods), [`oci`] (containers on this host), [`image`].

pub mod doctor;
pub mod engine;
pub mod image;
pub mod oci;
pub mod process;
pub mod runtime;
pub mod session;
pub mod sweep;

pub use engine::Outcome;
pub use oci::supervisor::main as supervisor_main;
pub use process::{Config, RunError, run};
pub use sweep::sweep;
