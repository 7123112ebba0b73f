//! The log of changes, revisions, and bells.

use std::time::Duration;

use super::{Case, Subject, Verdict, case, holds, number, object, put, same};
use crate::backend::{ChangeKind, Op, Pre, Revision, RowKey, Table};

pub(super) const CASES: &[Case] = &[
    case!("revisions of one tenant grow together, over all kinds", grow),
    case!("the changes of a transaction have ordinals in its order", ordinals),
    case!("the log says what was created, updated and deleted, with the bodies it was given", told),
    case!("what a transaction does to one object twice is logged twice, in order", twice),
    case!("a transaction may have 512 parts, all of one moment", many),
    case!("only objects are logged", only_objects),
    case!("changes come in pages, and progress never skips", pages),
    case!("a tail beside many writers sees every change once, in order", tail),
    case!("a bell rings for what was written", bell),
    case!("what was trimmed is said to be gone", trimmed),
];

async fn grow(s: &Subject) -> Verdict {
    let mut last = Revision::default();
    for n in 0..12 {
        let key = object("grow", ["tasks", "runs", "pods"][n % 3], &format!("n{n}"));
        let revision = s.done(vec![put(&key, Pre::Absent, "1")]).await?.revisions[0];
        holds("it grows", revision > last)?;
        last = revision;
    }
    holds("it is decimal microseconds and more", last.micros() > 1_000_000_000_000_000)
}

async fn ordinals(s: &Subject) -> Verdict {
    let (a, b) = (object("ordinals", "tasks", "a"), object("ordinals", "tasks", "b"));
    let due = RowKey::new(Table::Due, "ordinals-cell/0", "x");
    let done =
        s.done(vec![put(&a, Pre::Absent, "1"), put(&due, Pre::Any, ""), put(&b, Pre::Absent, "1")]).await?;
    let [first, _, second] = done.revisions[..] else { return Err("one revision for each op".into()) };
    same("of one moment", first.micros(), second.micros())?;
    holds("in order", first < second)?;
    let changes = s.changes("ordinals/tasks", Revision(0), 10).await?.ok_or("expired")?.changes;
    let revisions: Vec<_> = changes.iter().map(|c| c.revision).collect();
    same("as logged", revisions, vec![first, second])
}

async fn told(s: &Subject) -> Verdict {
    let key = object("told", "tasks", "a");
    s.done(vec![put(&key, Pre::Absent, "1")]).await?;
    let prev = Some("1".into());
    s.done(vec![Op::Put { key: key.clone(), pre: Pre::Any, owner: None, body: "2".into(), prev }]).await?;
    s.done(vec![put(&key, Pre::Any, "3")]).await?;
    s.done(vec![Op::Delete { key: key.clone(), pre: Pre::Any, last: Some("4".into()) }]).await?;
    s.done(vec![Op::Delete { key, pre: Pre::Any, last: None }]).await?;
    let changes = s.changes("told/tasks", Revision(0), 10).await?.ok_or("expired")?.changes;
    let told: Vec<_> = changes
        .iter()
        .map(|c| (c.kind.clone(), c.key.as_str(), c.body.to_vec(), c.prev.as_ref().map(|p| p.to_vec())))
        .collect();
    let one = |kind, body: &str, prev: Option<&str>| {
        (kind, "default/a", body.as_bytes().to_vec(), prev.map(|p| p.as_bytes().to_vec()))
    };
    let (kinds, last) = told.split_at(3.min(told.len()));
    let wanted = [
        one(ChangeKind::Created, "1", None),
        one(ChangeKind::Updated, "2", Some("1")),
        one(ChangeKind::Updated, "3", None),
    ];
    same("created and updated", kinds, &wanted[..])?;
    // What a deleted row was before may come along.
    let last: Vec<_> = last.iter().map(|c| (c.0.clone(), c.2.clone())).collect();
    same("deleted, and nothing for the delete of nothing", last, vec![(ChangeKind::Deleted, b"4".to_vec())])
}

async fn twice(s: &Subject) -> Verdict {
    let (a, b) = (object("twice", "tasks", "a"), object("twice", "tasks", "b"));
    s.done(vec![put(&b, Pre::Absent, "0")]).await?;
    let delete = |key: &RowKey| Op::Delete { key: key.clone(), pre: Pre::Any, last: None };
    let ops = vec![put(&a, Pre::Absent, "1"), put(&a, Pre::Any, "2"), delete(&b), put(&b, Pre::Any, "3")];
    let done = s.done(ops).await?;
    let changes = s.changes("twice/tasks", Revision(done.revisions[0].0 - 1), 10).await?.ok_or("expired")?;
    let told: Vec<_> = changes.changes.iter().map(|c| (c.kind.clone(), c.revision)).collect();
    let kinds = [ChangeKind::Created, ChangeKind::Updated, ChangeKind::Deleted, ChangeKind::Created];
    same("the log", told, kinds.into_iter().zip(done.revisions).collect())?;
    let rows = [s.row(&a).await?, s.row(&b).await?].map(|row| row.map(|r| r.body));
    same("the rows", rows, [Some("2".into()), Some("3".into())])
}

async fn many(s: &Subject) -> Verdict {
    let key = |n: i64| object("many", "tasks", &format!("n{n:03}"));
    let done =
        s.done((0..Revision::ORDINALS).map(|n| put(&key(n), Pre::Absent, n.to_string())).collect()).await?;
    let first = done.revisions[0];
    let wanted: Vec<_> = (0..Revision::ORDINALS).map(|n| Revision::at(first.micros(), n)).collect();
    same("the revisions", &done.revisions, &wanted)?;
    let changes = s.changes("many/tasks", Revision(0), 1000).await?.ok_or("expired")?.changes;
    same("the log", changes.iter().map(|c| c.revision).collect::<Vec<_>>(), wanted)
}

async fn only_objects(s: &Subject) -> Verdict {
    let key = RowKey::new(Table::Machine, "quiet/tasks", "a");
    s.done(vec![put(&key, Pre::Any, "1")]).await?;
    let changes = s.changes("quiet/tasks", Revision(0), 10).await?.ok_or("expired")?;
    same("changes", changes.changes.len(), 0)
}

async fn pages(s: &Subject) -> Verdict {
    for n in 0..9 {
        s.done(vec![put(&object("pages", "tasks", &format!("n{n}")), Pre::Absent, n.to_string())]).await?;
    }
    let (mut after, mut seen) = (Revision(0), Vec::new());
    loop {
        let page = s.changes("pages/tasks", after, 4).await?.ok_or("expired")?;
        seen.extend(page.changes.iter().map(|c| c.key.clone()));
        holds("progress covers what was told", page.changes.iter().all(|c| c.revision <= page.progress))?;
        if page.changes.len() < 4 {
            after = page.progress;
            break;
        }
        after = page.progress;
    }
    same("all of them", seen, (0..9).map(|n| format!("default/n{n}")).collect())?;
    let next = s.done(vec![put(&object("pages", "tasks", "late"), Pre::Absent, "1")]).await?.revisions[0];
    holds("what comes later is above the progress", next > after)
}

async fn tail(s: &Subject) -> Verdict {
    const EACH: usize = 15;
    let writers = (0..4).map(|writer| {
        let s = s.clone();
        async move {
            for n in 0..EACH {
                let key = object("tail", "tasks", &format!("w{writer}"));
                s.done(vec![put(&key, Pre::Any, n.to_string())]).await?;
            }
            Ok(())
        }
    });
    let reader = s.clone();
    let reads = async move {
        let (mut after, mut last, mut next) = (Revision(0), Revision(0), [0_i64; 4]);
        while next.iter().sum::<i64>() < (4 * EACH) as i64 {
            let page = reader.changes("tail/tasks", after, 7).await?.ok_or("expired")?;
            for change in page.changes {
                holds("in order, each revision once", change.revision > last)?;
                last = change.revision;
                let writer: usize =
                    change.key.trim_start_matches("default/w").parse().map_err(|_| "a key")?;
                let row = crate::backend::Row {
                    key: object("tail", "tasks", ""),
                    revision: last,
                    owner: None,
                    body: change.body,
                };
                same("each writer's own order", number(&row), next[writer])?;
                next[writer] += 1;
            }
            after = page.progress;
            reader.host.clock.sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    };
    let mut all: Vec<base::host::BoxFuture<'static, Verdict>> = vec![Box::pin(reads)];
    all.extend(writers.map(|w| Box::pin(w) as base::host::BoxFuture<'static, Verdict>));
    s.together(all).await
}

async fn bell(s: &Subject) -> Verdict {
    for (table, partition) in [
        (Table::Object, "bell/tasks"),
        (Table::Due, "bell-cell/0"),
        (Table::Attempt, "bell"),
        (Table::Machine, "bell-cell"),
        (Table::Cell, "cells"),
    ] {
        let mut bell = s.store.bell(table, partition);
        s.done(vec![put(&RowKey::new(table, partition, "a"), Pre::Any, "1")]).await?;
        let rung = s.host.within(Duration::from_secs(5), bell.rung()).await.is_ok();
        // A bell is a hint. Where nothing swallows it, it must ring all the same: latency depends on it.
        holds("it rings", rung || !s.bells_are_sure)?;
    }
    Ok(())
}

async fn trimmed(s: &Subject) -> Verdict {
    let key = object("trimmed", "tasks", "a");
    let first = s.done(vec![put(&key, Pre::Absent, "1")]).await?.revisions[0];
    let second = s.done(vec![put(&key, Pre::Any, "2")]).await?.revisions[0];
    while s.store.trim(second.micros()).await.is_err() {
        s.host.clock.sleep(Duration::from_millis(1)).await;
    }
    holds("below the floor", s.changes("trimmed/tasks", Revision(first.0 - 1), 10).await?.is_none())?;
    let left = s
        .changes("trimmed/tasks", Revision(second.micros() * 1000), 10)
        .await?
        .ok_or("the floor is too high")?;
    holds("above the floor", left.changes.iter().all(|c| c.revision >= second))?;
    same("the row itself", s.row(&key).await?.map(|r| r.body), Some("2".into()))
}
