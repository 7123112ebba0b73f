//! What a transaction looks at and what it then writes: decided without Spanner, so that it can be run again when
//! Spanner aborts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use google_cloud_spanner::key::{Key, KeySet};
use google_cloud_spanner::mutation::Mutation;
use google_cloud_spanner::value::ToValue;
use store::backend::{Op, Pre, RequestId, Revision, Row, RowKey, Table, TxnError};
use store::memory::holds;

use crate::rows::{COMMIT, record_key};

/// Rows of `Bells`: transactions write one of them, by chance.
pub(crate) const BELL_SLOTS: u128 = 64;

/// A transaction as it is asked for.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) id: RequestId,
    pub(crate) name: &'static str,
    pub(crate) ops: Arc<Vec<Op>>,
    pub(crate) bell: Bell,
}

/// Which row of `Bells` to write, and who writes it.
#[derive(Clone)]
pub(crate) struct Bell {
    pub(crate) slot: i64,
    pub(crate) writer: String,
}

/// The rows that a plan looks at, as they are.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) rows: BTreeMap<RowKey, Row>,
    pub(crate) counters: BTreeMap<String, i64>,
}

/// What a plan writes.
pub(crate) struct Writes {
    pub(crate) mutations: Vec<Mutation>,
    /// Ordinal of each op: its own, or that of the next one that is logged.
    pub(crate) ordinals: Vec<i64>,
}

impl Plan {
    /// Rows to look at: those with a precondition, and objects, whose log says what they were before.
    pub(crate) fn keys(&self) -> BTreeSet<RowKey> {
        let look = |op: &Op| match op {
            Op::Put { key, pre, .. } | Op::Delete { key, pre, .. } | Op::Check { key, pre } => {
                (*pre != Pre::Any || key.table == Table::Object).then(|| key.clone())
            }
            Op::Add { .. } => None,
        };
        self.ops.iter().filter_map(look).collect()
    }

    /// Counters to look at.
    pub(crate) fn counters(&self) -> BTreeSet<String> {
        let look = |op: &Op| match op {
            Op::Add { counter, .. } => Some(counter.clone()),
            Op::Put { .. } | Op::Delete { .. } | Op::Check { .. } => None,
        };
        self.ops.iter().filter_map(look).collect()
    }

    /// Decides. All preconditions are checked against one state, before anything is applied.
    pub(crate) fn decide(&self, mut seen: Seen) -> Result<Writes, TxnError> {
        check(&self.ops, &seen)?;
        let mut out = Writes { mutations: Vec::new(), ordinals: Vec::with_capacity(self.ops.len()) };
        let (mut ordinal, mut tenants, mut rang) = (0, BTreeSet::new(), BTreeSet::new());
        for op in self.ops.iter() {
            out.ordinals.push(ordinal);
            match op {
                Op::Put { key, owner, body, prev, .. } => {
                    out.mutations.push(put(key, ordinal, owner.as_deref(), body));
                    let row = Row {
                        key: key.clone(),
                        revision: Revision(0),
                        owner: owner.clone(),
                        body: body.clone(),
                    };
                    let before = seen.rows.insert(key.clone(), row);
                    if key.table == Table::Object {
                        let kind = i64::from(before.is_some());
                        out.mutations.push(log(key, ordinal, kind, body, prev.as_ref()));
                        ordinal += 1;
                    }
                }
                Op::Delete { key, last, .. } => {
                    let before = seen.rows.remove(key);
                    if key.table != Table::Object {
                        out.mutations.push(delete(key));
                    } else if let Some(before) = before {
                        out.mutations.push(delete(key));
                        let body = last.as_ref().unwrap_or(&before.body);
                        out.mutations.push(log(key, ordinal, 2, body, Some(&before.body)));
                        ordinal += 1;
                    }
                }
                Op::Check { .. } => {}
                Op::Add { counter, delta, .. } => {
                    let value = seen.counters.entry(counter.clone()).or_default();
                    *value = value.saturating_add(*delta).max(0);
                }
            }
            if let Op::Put { key, .. } | Op::Delete { key, .. } = op
                && key.table == Table::Object
            {
                tenants.insert(key.partition.split('/').next().unwrap_or_default());
            }
            if let Some((table, partition)) = store::bells::concerns(op) {
                rang.insert(format!("{}:{partition}", table.number()));
            }
        }
        let changed = |name: &&String| {
            self.ops.iter().any(|op| matches!(op, Op::Add { counter, .. } if counter == *name))
        };
        for (name, value) in seen.counters.iter().filter(|(name, _)| changed(name)) {
            let counter = Mutation::new_insert_or_update_builder("Counters");
            out.mutations.push(counter.set("Name").to(name.as_str()).set("Value").to(*value).build());
        }
        for tenant in tenants {
            let head = Mutation::new_insert_or_update_builder("Heads");
            out.mutations.push(head.set("Tenant").to(tenant).set("Ts").to(COMMIT).build());
        }
        if !rang.is_empty() {
            out.mutations.push(self.ring(rang.into_iter().collect()));
        }
        out.mutations.push(request(self.id, Some(&out.ordinals)));
        Ok(out)
    }

    fn ring(&self, rang: Vec<String>) -> Mutation {
        let bell = Mutation::new_insert_or_update_builder("Bells");
        bell.set("Slot")
            .to(self.bell.slot)
            .set("Ts")
            .to(COMMIT)
            .set("Writer")
            .to(self.bell.writer.as_str())
            .set("Rang")
            .to(rang)
            .build()
    }
}

fn check(ops: &[Op], seen: &Seen) -> Result<(), TxnError> {
    for (op, what) in ops.iter().enumerate() {
        match what {
            Op::Put { key, pre, .. } | Op::Delete { key, pre, .. } | Op::Check { key, pre } => {
                let current = seen.rows.get(key);
                if !holds(*pre, current.map(|row| row.revision)) {
                    return Err(TxnError::Conflict { op, current: current.cloned().map(Box::new) });
                }
            }
            Op::Add { counter, delta, max } => {
                let sum = seen.counters.get(counter).copied().unwrap_or(0).saturating_add(*delta);
                if max.is_some_and(|max| *delta > 0 && sum > max) {
                    return Err(TxnError::Limit { op });
                }
            }
        }
    }
    Ok(())
}

fn put(key: &RowKey, ordinal: i64, owner: Option<&str>, body: &Bytes) -> Mutation {
    Mutation::new_insert_or_update_builder("Records")
        .set("Tbl")
        .to(key.table.number())
        .set("Part")
        .to(key.partition.as_str())
        .set("Key")
        .to(key.key.as_str())
        .set("Ts")
        .to(COMMIT)
        .set("Ord")
        .to(ordinal)
        .set("Owner")
        .to(owner)
        .set("Body")
        .to(body)
        .build()
}

fn delete(key: &RowKey) -> Mutation {
    Mutation::delete("Records", KeySet::from(record_key(key)))
}

fn log(key: &RowKey, ordinal: i64, kind: i64, body: &Bytes, prev: Option<&Bytes>) -> Mutation {
    Mutation::new_insert_or_update_builder("Log")
        .set("Scope")
        .to(key.partition.as_str())
        .set("Ts")
        .to(COMMIT)
        .set("Ord")
        .to(ordinal)
        .set("Kind")
        .to(kind)
        .set("Key")
        .to(key.key.as_str())
        .set("Body")
        .to(body)
        .set("Prev")
        .to(prev)
        .build()
}

/// Remembers a request: done, or given up. An insert: whoever comes second fails.
pub(crate) fn request(id: RequestId, ordinals: Option<&[i64]>) -> Mutation {
    let packed = ordinals
        .map(|ordinals| ordinals.iter().flat_map(|ord| (*ord as u16).to_be_bytes()).collect::<Vec<u8>>());
    let request = Mutation::new_insert_builder("Requests");
    request.set("Id").to(request_id(id)).set("Ts").to(COMMIT).set("Ords").to(packed).build()
}

/// Key of a request.
pub(crate) fn request_key(id: RequestId) -> Key {
    Key::new(vec![request_id(id).to_value()])
}

fn request_id(id: RequestId) -> String {
    format!("{:032x}", id.0)
}

/// Ordinals of a request's row.
pub(crate) fn unpack(bytes: &[u8]) -> Vec<i64> {
    let number = |pair: &[u8]| pair.try_into().map_or(0, u16::from_be_bytes);
    bytes.chunks(2).map(|pair| i64::from(number(pair))).collect()
}
