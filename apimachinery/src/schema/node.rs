//! The table of nodes, as it is in `schemas/nodes.json`. Keys are short, because the table is part of the binary.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

const TEXT: &str = include_str!("../../schemas/nodes.json");

/// JSON type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Type {
    /// An object.
    #[serde(rename = "o")]
    Object,
    /// A list.
    #[serde(rename = "a")]
    Array,
    /// Text.
    #[serde(rename = "s")]
    String,
    /// A whole number.
    #[serde(rename = "i")]
    Integer,
    /// A number.
    #[serde(rename = "n")]
    Number,
    /// A truth value.
    #[serde(rename = "b")]
    Boolean,
}

impl Type {
    /// As schemas and messages call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How several managers share a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListType {
    /// It has one owner.
    Atomic,
    /// Each value has its owners.
    Set,
    /// Each element has its owners, by its keys.
    Map,
}

/// A value whose form on the wire is not what its JSON type suggests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// ObjectMeta: marks the node.
    Meta,
    /// Seconds and nanoseconds; JSON has RFC 3339 in seconds.
    Time,
    /// The same; JSON has RFC 3339 in microseconds.
    MicroTime,
    /// Bytes of JSON.
    Raw,
    /// A message with text.
    Quantity,
    /// A message with a number or text.
    IntStr,
    /// A list in a message of its own.
    Wrapped,
}

/// A node: what may stand at a place of a document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Type; without one anything may stand here.
    #[serde(rename = "t", default)]
    pub kind: Option<Type>,
    /// Declared properties.
    #[serde(rename = "p", default, borrow)]
    pub(super) properties: BTreeMap<&'static str, u32>,
    /// Schema of the values of a map.
    #[serde(rename = "a", default)]
    pub(super) additional: Option<u32>,
    /// Schema of the elements of a list.
    #[serde(rename = "i", default)]
    pub(super) items: Option<u32>,
    /// Properties that must be there.
    #[serde(rename = "r", default, borrow)]
    pub required: Vec<&'static str>,
    /// `date-time`, `int32`, `int64`, `byte`.
    #[serde(rename = "f", default, borrow)]
    pub format: Option<&'static str>,
    /// Regular expression of texts.
    #[serde(rename = "g", default, borrow)]
    pub pattern: Option<Cow<'static, str>>,
    /// Allowed values.
    #[serde(rename = "e", default)]
    pub values: Vec<Value>,
    /// What is set when nothing is.
    #[serde(rename = "d", default)]
    pub default: Option<Value>,
    /// 1: fields that are not declared are kept.
    #[serde(rename = "x", default)]
    preserve: u8,
    /// 1: an integer or text.
    #[serde(rename = "q", default)]
    int_or_string: u8,
    /// How managers share the list, where it is said.
    #[serde(rename = "l", default)]
    pub list: Option<ListType>,
    /// Keys of the elements of a [`ListType::Map`].
    #[serde(rename = "k", default, borrow)]
    pub keys: Vec<&'static str>,
    /// `atomic`: the object has one owner.
    #[serde(rename = "m", default, borrow)]
    map: Option<&'static str>,
    /// Form on the wire.
    #[serde(rename = "c", default)]
    pub codec: Option<Codec>,
    /// Property by field number.
    #[serde(rename = "w", default, borrow)]
    pub(crate) wire: BTreeMap<u32, &'static str>,
    /// Properties whose zero on the wire means something; of all others it means that nothing was said.
    #[serde(rename = "n", default, borrow)]
    pub(crate) pointers: Vec<&'static str>,
    /// Messages, by field number, whose members stand in this object.
    #[serde(rename = "z", default)]
    pub(super) inline: BTreeMap<u32, u32>,
}

impl Node {
    /// Fields that are not declared are kept.
    pub fn preserves(&self) -> bool {
        self.preserve == 1
    }

    /// An integer or text may stand here.
    pub fn is_int_or_string(&self) -> bool {
        self.int_or_string == 1
    }

    /// The object is owned as a whole.
    pub fn is_atomic_map(&self) -> bool {
        self.map == Some("atomic")
    }

    /// How managers share the list; atomic unless said otherwise.
    pub fn list_type(&self) -> ListType {
        self.list.unwrap_or(ListType::Atomic)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Table {
    #[serde(borrow)]
    pub(super) kinds: BTreeMap<&'static str, u32>,
    pub(super) nodes: Vec<Node>,
}

/// The table; parsed at the first call.
pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_json::from_str(TEXT).expect("schemas/nodes.json is made by our own tool and tested")
    })
}

/// The name of a kind in the table: `group/version/kind`, with an empty group for core kinds.
pub(super) fn kind_key(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}/{kind}")
}
