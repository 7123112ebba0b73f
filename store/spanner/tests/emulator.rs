//! The back end against Google's emulator. Where that is missing, these tests are shown as ignored; in CI they fail.

use std::sync::Arc;
use std::time::Duration;

use base::host::Host;
use base::real;
use spanner::emulator::{self, Emulator};
use spanner::{OpenError, Settings, Spanner, schema};
use store::backend::{At, Backend, Op, Pre, Read, RequestId, RowKey, Store, Table, Txn};
use store::conformance::{Subject, cases};
use store::fault::{Faults, Faulty};

struct Rig {
    host: Host,
    emulator: Emulator,
}

async fn rig() -> Rig {
    let (host, _jobs) = real::host();
    let emulator = emulator::start(&host).await.unwrap_or_else(|why| panic!("{why}"));
    Rig { host, emulator }
}

impl Rig {
    fn settings(&self, name: &str) -> Settings {
        self.emulator.database("tests", name).unwrap()
    }

    async fn fresh(&self, name: &str) -> Arc<Spanner> {
        let settings = self.settings(name);
        assert_eq!(schema::migrate(&settings, &self.host).await.unwrap(), 0);
        spanner::open(&settings, &self.host).await.unwrap()
    }
}

async fn all(name: &str, faults: Option<Faults>) {
    let rig = rig().await;
    let inner = rig.fresh(name).await;
    let store: Store = match faults {
        Some(faults) => Faulty::new(inner, rig.host.clone(), faults),
        None => inner,
    };
    let subject = Subject { store, host: rig.host.clone(), bells_are_sure: faults.is_none() };
    let mut failed = Vec::new();
    for case in cases() {
        if let Err(why) = case.run(&subject).await {
            failed.push(format!("{}: {why}", case.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn row(table: Table, partition: &str, key: &str) -> RowKey {
    RowKey::new(table, partition, key)
}

fn put(key: RowKey, body: &str) -> Op {
    Op::Put { key, pre: Pre::Any, owner: None, body: body.to_owned().into(), prev: None }
}

fn txn(host: &Host, ops: Vec<Op>) -> Txn {
    Txn { id: RequestId(host.id()), name: "test", ops }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn it_keeps_every_promise() {
    all("plain", None).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn it_keeps_every_promise_when_it_misbehaves() {
    all("faulty", Some(Faults::MANY)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn a_schema_is_asked_for_and_applied_once() {
    let rig = rig().await;
    let settings = rig.settings("schema");
    assert!(matches!(spanner::open(&settings, &rig.host).await, Err(OpenError::Unusable { .. })));
    assert_eq!(schema::migrate(&settings, &rig.host).await.unwrap(), 0);
    assert_eq!(schema::migrate(&settings, &rig.host).await.unwrap(), schema::VERSION);
    let (one, other) = (rig.settings("twice"), rig.settings("twice"));
    let (one, other) =
        futures_util::future::join(schema::migrate(&one, &rig.host), schema::migrate(&other, &rig.host))
            .await;
    one.unwrap();
    other.unwrap();
    spanner::open(&rig.settings("twice"), &rig.host).await.unwrap();
    schema::remove(&settings).await.unwrap();
    assert!(spanner::open(&settings, &rig.host).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn processes_ring_the_bells_of_one_another() {
    let rig = rig().await;
    let one = rig.fresh("bells").await;
    let other = spanner::open(&rig.settings("bells"), &rig.host).await.unwrap();
    let partitions =
        [(Table::Object, "acme/taskruns.tekton.dev"), (Table::Due, "cell/3"), (Table::Cell, "cells")];
    // The stream of the other one is open when its first bell rings: everybody is rung then.
    let mut opened = other.bell(Table::Machine, "nobody");
    rig.host.within(Duration::from_secs(30), opened.rung()).await.expect("the change stream is opened");
    for n in 0..3 {
        for (table, partition) in partitions {
            let mut bell = other.bell(table, partition);
            let mut quiet = other.bell(table, "another/partition");
            one.txn(txn(&rig.host, vec![put(row(table, partition, "a"), &n.to_string())])).await.unwrap();
            let rung = rig.host.within(Duration::from_secs(10), bell.rung()).await;
            assert!(rung.is_ok(), "{partition} has not rung in the other process, round {n}");
            assert!(
                rig.host.within(Duration::from_millis(5), quiet.rung()).await.is_err(),
                "a bell too many"
            );
        }
    }
    let get = Read::Get(row(Table::Due, "cell/3", "a"));
    let seen = other.snapshot(At::Latest, vec![get]).await.unwrap();
    assert_eq!(seen.answers[0].rows[0].body, "2");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn an_emulator_that_stands_still_is_away_and_comes_back() {
    let rig = rig().await;
    let mut settings = rig.settings("still");
    settings.deadline = Duration::from_secs(4);
    // Changing the schema may take its time; only the store is impatient.
    let patient = rig.fresh("still").await;
    drop(patient);
    let store = spanner::open(&settings, &rig.host).await.unwrap();
    store.txn(txn(&rig.host, vec![put(row(Table::Object, "t/k", "a"), "1")])).await.unwrap();
    let signal = |name: &str| {
        for pid in rig.emulator.processes() {
            let done = std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
            assert!(done.success());
        }
    };
    signal("-STOP");
    let late = txn(&rig.host, vec![put(row(Table::Object, "t/k", "a"), "2")]);
    let answer = store.txn(late.clone()).await;
    let read = store.snapshot(At::Latest, vec![Read::Get(row(Table::Object, "t/k", "a"))]).await;
    signal("-CONT");
    assert!(answer.is_err(), "{answer:?}");
    assert!(read.is_err());
    let back = async {
        loop {
            if let Ok(settled) = store.settle(late.id).await {
                return settled;
            }
        }
    };
    let settled = rig.host.within(Duration::from_secs(60), back).await.expect("it comes back");
    let now = store.snapshot(At::Latest, vec![Read::Get(row(Table::Object, "t/k", "a"))]).await.unwrap();
    let wanted = if matches!(settled, store::backend::Settled::Committed(_)) { "2" } else { "1" };
    assert_eq!(now.answers[0].rows[0].body, wanted);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn an_emulator_leaves_nothing_behind() {
    let rig = rig().await;
    let processes = rig.emulator.processes();
    assert_eq!(processes.len(), 2);
    drop(rig.emulator);
    for pid in processes {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{pid} is still there: {state}");
    }
}
