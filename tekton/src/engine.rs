//! What a controller does, as pure functions: a `decide` looks at a snapshot and says which rows to write.
//!
//! Reading order: [`decide`] (the contract), [`taskrun`] with [`pod`] and [`status`], [`pipelinerun`] with
//! [`graph`]; [`resolution`] and [`trust`] (what is fetched from elsewhere); below them [`params`], [`workspaces`], [`substitution`], [`names`], [`condition`], [`doc`].

pub mod claims;
pub mod cloudevents;
pub mod condition;
pub mod decide;
#[cfg(test)]
mod dice;
pub mod doc;
pub mod graph;
pub mod names;
pub mod params;
pub mod pipelinerun;
pub mod pod;
pub mod quantity;
pub mod resolution;
pub mod scripts;
pub mod status;
pub mod stepaction;
pub mod substitution;
pub mod taskrun;
pub mod taskspec;
pub mod termination;
pub mod time;
pub mod trust;
pub mod workspaces;
