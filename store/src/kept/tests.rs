use super::*;
use crate::backend::{Op, Pre, RowKey, Table};
use crate::bells::Bells;

fn later(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000)
}

fn put(table: Table, partition: &str) -> Op {
    let key = RowKey::new(table, partition, "k");
    Op::Put { key, pre: Pre::Any, owner: None, body: "1".into(), prev: None }
}

#[test]
fn it_is_kept_until_its_bell_rings_or_it_is_old() {
    let (bells, kept) = (Bells::default(), Kept::<u8, &str>::default());
    let keep = || {
        let bell = bells.subscribe(Table::Object, "acme/configmaps");
        kept.put(1, Arc::new("settings"), vec![bell], later(100));
    };
    keep();
    assert_eq!(kept.get(&1, later(101)).as_deref(), Some(&"settings"));
    assert_eq!(kept.get(&2, later(101)), None);
    bells.ring_for(&[put(Table::Object, "acme/secrets")]);
    assert!(kept.get(&1, later(102)).is_some(), "another partition");
    bells.ring_for(&[put(Table::Object, "acme/configmaps")]);
    assert_eq!(kept.get(&1, later(102)), None);
    keep();
    assert_eq!(kept.get(&1, later(106)), None, "bells are hints");
    keep();
    kept.forget(&1);
    assert_eq!(kept.get(&1, later(101)), None);
}

#[test]
fn a_due_row_that_goes_rings_no_bell() {
    let bells = Bells::default();
    let mut bell = bells.subscribe(Table::Due, "cell/0");
    let key = RowKey::new(Table::Due, "cell/0", "k");
    bells.ring_for(&[Op::Delete { key, pre: Pre::Any, last: None }]);
    assert!(bell.rung().now_or_never().is_none());
    bells.ring_for(&[put(Table::Due, "cell/0")]);
    assert!(bell.rung().now_or_never().is_some());
}
