//! Types as read views, defaulting, validation, conversion: all that admission needs.

pub mod config;
pub mod defaults;
