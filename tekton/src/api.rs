//! Types as read views, defaulting, validation, conversion: all that admission needs.

pub mod config;
pub mod convert;
pub mod decode;
pub mod defaults;
pub mod fault;
mod flags;
pub mod hint;
mod read;
pub mod validate;
mod values;
