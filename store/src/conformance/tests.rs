use std::path::Path;

use base::real;

use super::*;
use crate::fault::{Faults, Faulty};
use crate::memory::Memory;
use crate::wrapper::Wrapper;

async fn all(make: impl Fn(&Host) -> Store, faults: Option<Faults>) {
    let (host, _jobs) = real::host();
    let inner = make(&host);
    let store: Store = match faults {
        Some(faults) => Faulty::new(inner, host.clone(), faults),
        None => inner,
    };
    let subject = Subject { store, host, bells_are_sure: faults.is_none() };
    let mut failed = Vec::new();
    for case in cases() {
        if let Err(why) = case.run(&subject).await {
            failed.push(format!("{}: {why}", case.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn memory(host: &Host) -> Store {
    Memory::new(host.clock.clone())
}

fn embedded(folder: &Path) -> impl Fn(&Host) -> Store {
    move |host| crate::embedded::open(folder, host).expect("the folder is ours")
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_every_promise() {
    all(memory, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_every_promise_when_it_misbehaves() {
    all(memory, Some(Faults::MANY)).await;
}

/// Revisions of different tenants are equal whenever they may be.
#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_every_promise_when_revisions_are_equal() {
    let loose = |host: &Host| -> Store { Memory::loose(host.clock.clone(), Duration::from_millis(2)) };
    all(loose, None).await;
    all(loose, Some(Faults::MANY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_every_promise() {
    all(embedded(tempfile::tempdir().unwrap().path()), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_every_promise_when_it_misbehaves() {
    all(embedded(tempfile::tempdir().unwrap().path()), Some(Faults::MANY)).await;
}

/// The suite can fail: a store that forgets one in three of what it is told to write is found out.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_writes_is_found_out() {
    let (host, _jobs) = real::host();
    let store: Store = std::sync::Arc::new(Forgetful(memory(&host), std::sync::atomic::AtomicU32::new(0)));
    let subject = Subject { store, host, bells_are_sure: true };
    let mut failed = 0;
    for case in cases().filter(|c| !c.name.contains("writers")) {
        failed += u32::from(case.run(&subject).await.is_err());
    }
    assert!(failed > 5, "only {failed} cases fail");
}

/// Says yes to everything and drops every third write.
struct Forgetful(Store, std::sync::atomic::AtomicU32);

impl Wrapper for Forgetful {
    fn inner(&self) -> &Store {
        &self.0
    }

    fn wrap_txn(&self, mut txn: Txn) -> BoxFuture<'_, Result<Committed, TxnError>> {
        for op in &mut txn.ops {
            if let Op::Put { key, pre, .. } = op
                && self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 == 2
            {
                *op = Op::Check { key: key.clone(), pre: *pre };
            }
        }
        self.0.txn(txn)
    }
}
