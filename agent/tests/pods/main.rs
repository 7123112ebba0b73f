//! Real pods of real containers, run by the real agent against a cell that only records. Needs root.

mod cell;
mod failures;
mod host;
mod kills;
mod leases;
mod life;
