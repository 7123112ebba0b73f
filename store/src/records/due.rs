//! "Look at this run, at this time." Written in the same transaction as everything that concerns a run
//! (gateway: submit, cancel, edit, delete; cell: report, child done, timer). Read and consumed by the runs
//! loop of the cell. Finding work is one small scan, also after any crash.

use crate::backend::{Op, Pre, RowKey, Table};
use crate::object::ObjectKey;

/// Buckets of a cell's Due rows.
pub const BUCKETS: u32 = 4;

/// Partition of one bucket of a cell.
pub fn partition(cell: &str, bucket: u32) -> String {
    format!("{cell}/{bucket}")
}

/// Bucket of a run: all its Due rows are in one.
pub fn bucket(run: &ObjectKey) -> u32 {
    // FNV-1a: stable over versions and processes, unlike the standard hasher.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{}/{}/{}/{}", run.tenant, run.kind, run.namespace, run.name).bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash % u64::from(BUCKETS)) as u32
}

/// The row that makes `cell` look at `run` at `at_us` (µs since 1970; 0: now). Rows for "now" coalesce.
pub fn key(cell: &str, run: &ObjectKey, at_us: i64) -> RowKey {
    let key = format!("{at_us:020}/{}/{}/{}/{}", run.tenant, run.kind, run.namespace, run.name);
    RowKey::new(Table::Due, partition(cell, bucket(run)), key)
}

/// When and which run a row names; `None` if the key is not one of ours.
pub fn parse(key: &str) -> Option<(i64, ObjectKey)> {
    let mut parts = key.splitn(5, '/');
    let at_us = parts.next()?.parse().ok()?;
    let mut next = || parts.next().map(str::to_owned);
    Some((at_us, ObjectKey { tenant: next()?, kind: next()?, namespace: next()?, name: next()? }))
}

/// The op that makes `cell` look at `run` at `at_us`.
pub fn put(cell: &str, run: &ObjectKey, at_us: i64) -> Op {
    Op::Put { key: key(cell, run, at_us), pre: Pre::Any, owner: None, body: super::encode(&()), prev: None }
}

/// The op that makes `cell` look at `run` now, and tells it the run's uid: what belongs to a run is found by its uid, and
/// a cell that knows it looks once where it would have to look twice.
pub fn put_with_uid(cell: &str, run: &ObjectKey, uid: &str) -> Op {
    Op::Put {
        key: key(cell, run, 0),
        pre: Pre::Any,
        owner: None,
        body: super::encode(&Some(uid)),
        prev: None,
    }
}

/// The uid that a row tells; `None`: it tells none.
pub fn uid(body: &[u8]) -> Option<String> {
    super::decode(body).ok().flatten()
}
