//! How Kubernetes objects behave, on JSON documents.
//!
//! **For:** `gateway` (everything), `tekton`, `tenancy` and `store` (metadata, selectors, Status).
//! **May use:** serde and friends. Pure: no async, no clock, no randomness, no I/O; `now`, uids and random
//! bytes are arguments.
//! **Invariants:** the stored and served form of an object is its schema-pruned document; one schema tree
//! drives pruning, validation, OpenAPI and apply; nothing panics on any input; what clients grep is said in the
//! reference's words.
//! **Read in this order:** [`status`] and [`field_error`] (how refusals look), [`kind`] (what is served) and its
//! views [`discovery`] and [`table`], [`decode`] and [`protobuf`] (bytes to documents), [`schema`] (documents to
//! objects) and [`openapi`], [`meta`], [`builtin`], [`patch`] and [`apply`] (what a write does), [`mod@write`] (all of it
//! in its order), [`selector`]. Small tools: [`accept`], [`options`], [`names`], [`time`].

pub mod accept;
pub mod apply;
pub mod builtin;
pub mod decode;
pub mod discovery;
pub mod field_error;
pub mod kind;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod options;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod write;
