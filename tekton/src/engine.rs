//! What a controller does, as pure functions: [`decide`](decide::decide) looks at a snapshot and says which
//! rows to write. Reading order: [`decide`] (the contract), then its two halves.

pub mod decide;
pub mod substitution;
