//! The schema tree: one table of nodes for all kinds. It drives pruning, validation, defaults, OpenAPI, apply and
//! the reading of protobuf bodies.
//!
//! The table is made by `examples/schemas` and is parsed when it is first needed.

use serde_json::Value;

use crate::kind::Kind;
use crate::meta;
use crate::status::Status;

mod node;
mod prune;
mod validate;

pub use node::{Codec, ListType, Node, Type};
pub use validate::Required;

/// A node of the tree, together with the table that its children are in.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    table: &'static node::Table,
    at: u32,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Schema {
    /// The schema of a kind by its apiVersion (`tekton.dev/v1`, `v1`) and name.
    pub fn find(api_version: &str, kind: &str) -> Option<Self> {
        let table = node::table();
        let at = *table.kinds.get(node::kind_key(api_version, kind).as_str())?;
        Some(Self { table, at })
    }

    /// The schema of a registered kind in one of its versions.
    pub fn of(kind: &Kind, version: &str) -> Option<Self> {
        Self::find(&kind.api_version(version), kind.kind)
    }

    /// What the node says.
    pub fn node(self) -> &'static Node {
        &self.table.nodes[self.at as usize]
    }

    /// Identity of the node; equal subtrees share it.
    pub fn id(self) -> u32 {
        self.at
    }

    /// The schema of a declared property.
    pub fn property(self, name: &str) -> Option<Self> {
        self.node().properties.get(name).map(|at| self.go(*at))
    }

    /// Every declared property, by name.
    pub fn properties(self) -> impl Iterator<Item = (&'static str, Self)> {
        self.node().properties.iter().map(move |(name, at)| (*name, self.go(*at)))
    }

    /// The schema of the values of a map.
    pub fn additional(self) -> Option<Self> {
        self.node().additional.map(|at| self.go(at))
    }

    /// The schema of what is under `name`, declared or as a value of a map.
    pub fn member(self, name: &str) -> Option<Self> {
        self.property(name).or_else(|| self.additional())
    }

    /// The schema of the elements of a list.
    pub fn items(self) -> Option<Self> {
        self.node().items.map(|at| self.go(at))
    }

    /// The message under a field number whose members stand in this object.
    pub(crate) fn inline(self, number: u32) -> Option<Self> {
        self.node().inline.get(&number).map(|at| self.go(*at))
    }

    fn go(self, at: u32) -> Self {
        Self { table: self.table, at }
    }
}

/// What to do about fields that the schema doesn't know and keys that occur twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

impl FieldValidation {
    /// Values of the `fieldValidation` parameter, as error messages list them.
    pub const VALUES: &[&str] = &["", "Ignore", "Strict", "Warn"];

    /// Reads the `fieldValidation` parameter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// Brings a decoded object into stored form: unknown fields pruned, metadata normalised, nulls dropped, defaults
/// set. `duplicates` are the decoder's complaints about the same body. Gives what `mode` says to tell the client.
///
/// # Errors
/// 400 when metadata has wrong types, in a core kind when anything has, and in strict mode for every complaint.
pub fn conform(
    kind: &Kind,
    version: &str,
    object: &mut Value,
    duplicates: &[String],
    mode: FieldValidation,
) -> Result<Vec<String>, Status> {
    let mut complaints: Vec<String> = duplicates.to_vec();
    complaints.extend(prune_unknown(kind, version, object));
    if mode == FieldValidation::Strict && !complaints.is_empty() {
        return Err(Status::cannot_be_handled(version, kind.kind, &strict_message(&complaints)));
    }
    complete(kind, version, object)?;
    if mode == FieldValidation::Ignore {
        complaints.clear();
    }
    Ok(complaints)
}

/// As [`conform`], for the outcome of a patch, whose faults the reference reports as a bad patch.
///
/// # Errors
/// 422 about the patch instead of 400.
pub fn conform_patched(
    kind: &Kind,
    version: &str,
    object: &mut Value,
    mode: FieldValidation,
) -> Result<Vec<String>, Status> {
    let patched = object.clone();
    let complaints = prune_unknown(kind, version, object);
    if mode == FieldValidation::Strict && !complaints.is_empty() {
        return Err(crate::patch::unreadable(&patched, &strict_message(&complaints)));
    }
    complete(kind, version, object).map_err(|status| crate::patch::unreadable(&patched, &status.message))?;
    Ok(if mode == FieldValidation::Ignore { Vec::new() } else { complaints })
}

/// Validates everything but metadata. For a write to `status` only `status` is looked at.
///
/// # Errors
/// 422 with every fault.
pub fn validate(
    kind: &Kind,
    version: &str,
    object: &Value,
    part: meta::Part,
    required: Required,
) -> Result<(), Status> {
    let Some(schema) = Schema::of(kind, version).filter(|_| kind.custom) else { return Ok(()) };
    let errors = match part {
        meta::Part::Main => validate::object(schema, object, required),
        meta::Part::Status => match (schema.property("status"), object.get("status")) {
            (Some(schema), Some(status)) => validate::below(schema, status, "status", required),
            _ => Vec::new(),
        },
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.group, kind.kind, meta::name(object), &errors))
}

/// Drops what the schema doesn't know; gives a complaint for each: metadata first, then by path.
fn prune_unknown(kind: &Kind, version: &str, object: &mut Value) -> Vec<String> {
    let Some(schema) = Schema::of(kind, version) else { return Vec::new() };
    let paths = prune::unknown(schema, object);
    paths.iter().map(|path| format!("unknown field \"{path}\"")).collect()
}

fn strict_message(complaints: &[String]) -> String {
    format!("strict decoding error: {}", complaints.join(", "))
}

fn complete(kind: &Kind, version: &str, object: &mut Value) -> Result<(), Status> {
    meta::normalise(kind, version, object)?;
    let Some(schema) = Schema::of(kind, version) else { return Ok(()) };
    prune::nulls(schema, object);
    prune::defaults(schema, object);
    if !kind.custom
        && let Some(error) = validate::object(schema, object, Required::Loose).first()
    {
        return Err(Status::cannot_be_handled(version, kind.kind, &error.text()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
