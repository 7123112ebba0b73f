//! Identifiers of tenants, regions and cells. They parse at the edge, or there are none.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses a DNS-1123 label of at most 63 characters.
            ///
            /// # Errors
            /// [`BadName`] says what was given.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                if is_label(text) { Ok(Self(text.to_owned())) } else { Err(BadName { kind: stringify!($type), text: text.to_owned() }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> { Self::parse(&text) }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String { name.0 }
        }
    };
}

name! {
    /// A tenant: a complete virtual cluster with namespaces and a resourceVersion sequence of its own.
    TenantId
}
name! {
    /// A region, by the cloud's name for it, for example `europe-west1`.
    RegionId
}
name! {
    /// A Home: the database that holds a tenant. `global`, or a jurisdiction's, for example `eu`.
    HomeId
}
name! {
    /// A cell: one failure domain of compute in a region; belongs to exactly one Home.
    CellId
}

/// A name that is not a DNS-1123 label.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{kind} {text:?} must be 1 to 63 lower-case letters, digits or '-', starting and ending with a letter or digit"
)]
pub struct BadName {
    kind: &'static str,
    text: String,
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
