//! How API objects are kept: the whole JSON document as one row, with `metadata` first.
//!
//! Body: format byte [`FORMAT`], then JSON that begins `{"metadata":{`. The resourceVersion is not in it: it is
//! the row's revision, spliced in behind those bytes when the object is served, without parsing.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::backend::{Op, Pre, Revision, Row, RowKey, Table};

/// First byte of every stored object of this layout.
pub const FORMAT: u8 = 1;

const HEAD: &[u8] = b"{\"metadata\":{";

/// Names an API object inside a Home.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectKey {
    /// Tenant.
    pub tenant: String,
    /// `plural.group`, or `plural` in the core group: `taskruns.tekton.dev`, `pods`.
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The row of this object.
    pub fn row(&self) -> RowKey {
        RowKey::new(
            Table::Object,
            scope(&self.tenant, &self.kind),
            format!("{}/{}", self.namespace, self.name),
        )
    }
}

/// Partition and log scope of a tenant's objects of one kind.
pub fn scope(tenant: &str, kind: &str) -> String {
    format!("{tenant}/{kind}")
}

/// A stored body that is not an object of this layout.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("stored object is damaged: {0}")]
pub struct Damaged(pub &'static str);

/// The stored form of `object`; its resourceVersion is left out.
pub fn encode(object: &Value) -> Bytes {
    let empty = Map::new();
    let object = object.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(1024);
    out.push(FORMAT);
    out.extend_from_slice(HEAD);
    let mut first = true;
    for (key, value) in object.get("metadata").and_then(Value::as_object).into_iter().flatten() {
        if key != "resourceVersion" {
            entry(&mut out, &mut first, key, value);
        }
    }
    out.push(b'}');
    first = false;
    for (key, value) in object {
        if key != "metadata" {
            entry(&mut out, &mut first, key, value);
        }
    }
    out.push(b'}');
    out.into()
}

fn entry(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    // Writing JSON into memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, key);
    out.push(b':');
    let _ = serde_json::to_writer(&mut *out, value);
}

/// The object's JSON with its resourceVersion, without parsing it.
///
/// # Errors
/// [`Damaged`] when `body` is not of this layout.
pub fn to_json(body: &[u8], revision: Revision) -> Result<Vec<u8>, Damaged> {
    let rest = open(body)?;
    let mut out = Vec::with_capacity(body.len() + 48);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    if rest.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// The object as a document, with its resourceVersion.
///
/// # Errors
/// [`Damaged`] when `body` is not of this layout.
pub fn to_value(body: &[u8], revision: Revision) -> Result<Value, Damaged> {
    open(body)?;
    let mut value: Value = serde_json::from_slice(&body[1..]).map_err(|_| Damaged("not JSON"))?;
    value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    Ok(value)
}

/// The object of a row.
///
/// # Errors
/// [`Damaged`] when the row is not of this layout.
pub fn of_row(row: &Row) -> Result<Value, Damaged> {
    to_value(&row.body, row.revision)
}

fn open(body: &[u8]) -> Result<&[u8], Damaged> {
    match body.split_first() {
        Some((&FORMAT, json)) => json.strip_prefix(HEAD).ok_or(Damaged("does not begin with metadata")),
        Some(_) => Err(Damaged("unknown format byte")),
        None => Err(Damaged("empty")),
    }
}

/// Uid of the controlling owner, which indexes the row.
pub fn owner_of(object: &Value) -> Option<String> {
    let refs = object["metadata"]["ownerReferences"].as_array()?;
    let owner = refs.iter().find(|r| r["controller"] == true).or_else(|| refs.first())?;
    owner["uid"].as_str().map(str::to_owned)
}

/// A row that has `object`, as yet without a revision.
pub fn row(key: &ObjectKey, object: &Value) -> Row {
    Row { key: key.row(), revision: Revision(0), owner: owner_of(object), body: encode(object) }
}

/// An op that writes `row`.
pub fn put_row(row: Row, pre: Pre, prev: Option<Bytes>) -> Op {
    Op::Put { key: row.key, pre, owner: row.owner, body: row.body, prev }
}

/// An op that writes `object` at `key`.
pub fn put(key: &ObjectKey, pre: Pre, object: &Value, prev: Option<Bytes>) -> Op {
    put_row(row(key, object), pre, prev)
}

#[cfg(test)]
mod tests;
