//! Types as read views, defaulting, validation, conversion: all that admission needs.

pub mod config;
pub mod decode;
pub mod defaults;
pub mod fault;
mod flags;
mod read;
pub mod validate;
