use base::real;

use super::*;
use crate::backend::{ChangeKind, Op, Pre, RowKey};

fn put(key: &str, pre: Pre, body: &str) -> Op {
    let key = RowKey::new(Table::Object, "t/tasks", key);
    Op::Put { key, pre, owner: Some("o".into()), body: body.to_owned().into(), prev: None }
}

fn txn(host: &Host, ops: Vec<Op>) -> Txn {
    Txn { id: RequestId(host.id()), name: "test", ops }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let (host, _jobs) = real::host();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &host).unwrap();
    let first = store.txn(txn(&host, vec![put("a", Pre::Absent, "1")])).await.unwrap();
    drop(store);
    let store = open(dir.path(), &host).unwrap();
    let read = Read::Get(RowKey::new(Table::Object, "t/tasks", "a"));
    let snapshot = store.snapshot(At::Latest, vec![read]).await.unwrap();
    assert_eq!(snapshot.answers[0].rows[0].revision, first.revisions[0]);
    let again = store.txn(txn(&host, vec![put("a", Pre::Rev(first.revisions[0]), "2")])).await.unwrap();
    assert!(again.revisions[0] > first.revisions[0]);
    let changes = store.changes("t/tasks", Revision(0), 10).await.unwrap();
    let kinds: Vec<_> = changes.changes.iter().map(|c| c.kind.clone()).collect();
    assert_eq!(kinds, [ChangeKind::Created, ChangeKind::Updated]);
}

#[tokio::test]
async fn a_second_owner_is_told_who_the_first_is() {
    let (host, _jobs) = real::host();
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path(), &host).unwrap();
    let error = open(dir.path(), &host).err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_foreign_file_is_refused() {
    let (host, _jobs) = real::host();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("home.db"), "this is no database at all, but quite long a text").unwrap();
    assert!(open(dir.path(), &host).is_err());
}

#[tokio::test]
async fn pages_of_a_list_are_of_one_moment() {
    let (host, _jobs) = real::host();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &host).unwrap();
    for n in 0..10 {
        store.txn(txn(&host, vec![put(&format!("k{n}"), Pre::Absent, "x")])).await.unwrap();
    }
    let scan = |from: &str| Read::Scan {
        table: Table::Object,
        partition: "t/tasks".into(),
        from: from.into(),
        to: String::new(),
        limit: 4,
    };
    let first = store.snapshot(At::Latest, vec![scan("")]).await.unwrap();
    assert!(first.answers[0].more);
    store.txn(txn(&host, vec![put("k55", Pre::Absent, "late")])).await.unwrap();
    let second = store.snapshot(At::Exact(first.revision), vec![scan("k4")]).await.unwrap();
    let keys: Vec<_> = second.answers[0].rows.iter().map(|r| r.key.key.as_str()).collect();
    assert_eq!(keys, ["k4", "k5", "k6", "k7"]);
    let missing = store.snapshot(At::Exact(Revision(5)), vec![scan("")]).await;
    assert_eq!(missing, Err(ReadError::Expired));
}

#[tokio::test]
async fn a_list_that_is_not_read_on_stops_no_writer() {
    let (host, _jobs) = real::host();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &host).unwrap();
    for n in 0..3 {
        store.txn(txn(&host, vec![put(&format!("k{n}"), Pre::Absent, "x")])).await.unwrap();
    }
    let partition = "t/tasks".to_owned();
    let scan =
        Read::Scan { table: Table::Object, partition, from: String::new(), to: String::new(), limit: 1 };
    let first = store.snapshot(At::Latest, vec![scan.clone()]).await.unwrap();
    assert!(first.answers[0].more);
    // More than the store keeps an older moment for; each write passes, and the file's log is cut in the end.
    let body = "x".repeat(1 << 20);
    for n in 0..300 {
        store.txn(txn(&host, vec![put(&format!("big{}", n % 4), Pre::Any, &body)])).await.unwrap();
    }
    let wal = dir.path().join("home.db-wal");
    for n in 0.. {
        if std::fs::metadata(&wal).unwrap().len() <= 64 << 20 {
            break;
        }
        assert!(n < 100, "the log of SQLite stays long");
        store.txn(txn(&host, vec![put("k0", Pre::Any, "y")])).await.unwrap();
        host.clock.sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(store.snapshot(At::Exact(first.revision), vec![scan]).await, Err(ReadError::Expired));
}
