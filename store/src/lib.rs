//! Everything durable: the [`backend::Backend`] contract, typed records and façades above it.
//!
//! **For:** `gateway` (through the tenant façade, under a Grant) and `cell` (through the cell façade).
//! **May use:** tenancy, apimachinery, base.
//! **Invariants:** one writer per section of a record, enforced by the façade types; every transaction is all
//! or nothing inside one Home; every stored body begins with a format byte; an unknown outcome is settled by
//! its RequestId before anybody is answered.
//! **Read in this order:** [`backend`] (the contract), [`object`] (how API objects are kept), [`records`], [`cell`],
//! [`tenant`], [`kept`].

pub mod backend;
pub mod bells;
pub mod cell;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod counted;
pub mod directory;
pub mod embedded;
pub mod fault;
pub mod homes;
pub mod kept;
pub mod memory;
pub mod object;
pub mod quota;
pub mod records;
pub mod slow;
pub mod tenant;
pub mod vault;
pub mod wrapper;
