//! Typed records beside API objects. Each file says who writes it and who reads it.

pub mod attempt;
pub mod cell;
pub mod due;
pub mod machine;
pub mod tenant;
pub mod volume;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::object::Damaged;

/// First byte of every stored record: JSON follows.
pub const FORMAT: u8 = 1;

/// The stored form of a record.
pub fn encode(record: &impl Serialize) -> Bytes {
    let mut out = vec![FORMAT];
    serde_json::to_writer(&mut out, record).expect("records have string keys and cannot fail to serialise");
    out.into()
}

/// The record of a stored body.
///
/// # Errors
/// [`Damaged`] when the body is of another layout.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Damaged> {
    match body.split_first() {
        Some((&FORMAT, json)) => serde_json::from_slice(json).map_err(|_| Damaged("not the record's JSON")),
        _ => Err(Damaged("unknown format byte")),
    }
}
