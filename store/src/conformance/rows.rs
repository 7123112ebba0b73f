//! Rows, preconditions, reads of one moment, counters.

use super::{Case, Refused, Subject, Verdict, case, holds, number, object, put, same};
use crate::backend::{At, Op, Pre, Read, RowKey, Table};

pub(super) const CASES: &[Case] = &[
    case!("what was written is read back, with its revision and owner", written),
    case!("absent and present are told apart", absent),
    case!("a stale revision is refused, and the row as it is comes back", stale),
    case!("a transaction is all or nothing", all_or_nothing),
    case!("preconditions look at the state before the transaction", before),
    case!("a check guards a transaction by a row that it does not write", checked),
    case!("a scan keeps to its bounds, its order and its limit", scanned),
    case!("owned rows are found in their tenant only, and not when deleted", owned),
    case!("the reads of a snapshot are of one moment", one_moment),
    case!("an older moment is read as it was, or not at all", older),
    case!("increments by compare-and-set lose nothing", increments),
    case!("a counter keeps its bounds, and refuses the whole transaction", counters),
    case!("clients that share a bounded counter never exceed it, and use it up", bounded),
    case!("a body of one MiB with any bytes comes back", large),
    case!("due rows coalesce and are found earliest first", due),
];

async fn written(s: &Subject) -> Verdict {
    let key = object("written", "tasks", "a");
    let op =
        Op::Put { key: key.clone(), pre: Pre::Absent, owner: Some("o".into()), body: "1".into(), prev: None };
    let done = s.done(vec![op]).await?;
    let row = s.row(&key).await?.ok_or("it is not there")?;
    same("body", row.body.as_ref(), b"1")?;
    same("owner", row.owner.as_deref(), Some("o"))?;
    same("revision", row.revision, done.revisions[0])
}

async fn absent(s: &Subject) -> Verdict {
    let key = object("absent", "tasks", "a");
    let missing = s.commit(vec![put(&key, Pre::Present, "1")]).await?;
    same("present, of nothing", missing, Err(Refused::Conflict { op: 0, current: None }))?;
    s.done(vec![put(&key, Pre::Absent, "1")]).await?;
    let again = s.commit(vec![put(&key, Pre::Absent, "2")]).await?;
    let there = s.row(&key).await?.map(Box::new);
    same("absent, of something", again, Err(Refused::Conflict { op: 0, current: there }))?;
    s.done(vec![put(&key, Pre::Present, "3")]).await?;
    s.done(vec![Op::Delete { key: key.clone(), pre: Pre::Present, last: None }]).await?;
    same("after the delete", s.row(&key).await?, None)?;
    s.done(vec![put(&key, Pre::Absent, "4")]).await.map(drop)
}

async fn stale(s: &Subject) -> Verdict {
    let key = object("stale", "tasks", "a");
    let first = s.done(vec![put(&key, Pre::Absent, "1")]).await?.revisions[0];
    let second = s.done(vec![put(&key, Pre::Rev(first), "2")]).await?.revisions[0];
    holds("revisions grow", second > first)?;
    let refused = s.commit(vec![put(&key, Pre::Rev(first), "3")]).await?;
    let there = s.row(&key).await?.map(Box::new);
    same("stale", refused, Err(Refused::Conflict { op: 0, current: there }))?;
    let refused = s.commit(vec![Op::Delete { key: key.clone(), pre: Pre::Rev(first), last: None }]).await?;
    holds("a stale delete is refused", refused.is_err())
}

async fn all_or_nothing(s: &Subject) -> Verdict {
    let (a, b) = (object("all", "tasks", "a"), object("all", "runs", "b"));
    let ops = vec![
        put(&a, Pre::Absent, "1"),
        Op::Add { counter: "all/runs/0".into(), delta: 5, max: None },
        put(&b, Pre::Present, "1"),
    ];
    let refused = s.commit(ops).await?;
    same("refused", refused, Err(Refused::Conflict { op: 2, current: None }))?;
    same("the first row", s.row(&a).await?, None)?;
    same("the counter", s.counter("all/runs/0").await?, 0)
}

async fn before(s: &Subject) -> Verdict {
    let (a, b) = (object("before", "tasks", "a"), object("before", "tasks", "b"));
    let done = s.done(vec![put(&a, Pre::Absent, "1"), put(&b, Pre::Absent, "1")]).await?;
    let first = done.revisions[0];
    let ops = vec![
        put(&a, Pre::Rev(first), "2"),
        Op::Check { key: a.clone(), pre: Pre::Rev(first) },
        Op::Delete { key: b.clone(), pre: Pre::Present, last: None },
    ];
    s.done(ops).await?;
    same("b", s.row(&b).await?, None)
}

async fn checked(s: &Subject) -> Verdict {
    let (a, b) = (object("checked", "tasks", "a"), object("checked", "tasks", "b"));
    let rev = s.done(vec![put(&a, Pre::Absent, "1")]).await?.revisions[0];
    let guarded = |pre| vec![Op::Check { key: a.clone(), pre }, put(&b, Pre::Any, "1")];
    s.done(guarded(Pre::Rev(rev))).await?;
    s.done(vec![put(&a, Pre::Any, "2")]).await?;
    holds("a changed row guards", s.commit(guarded(Pre::Rev(rev))).await?.is_err())?;
    holds("a row that is there guards", s.commit(guarded(Pre::Absent)).await?.is_err())?;
    same("the checked row", s.row(&a).await?.map(|r| r.body), Some("2".into()))
}

async fn scanned(s: &Subject) -> Verdict {
    let key = |name: &str| RowKey::new(Table::Object, "scan/tasks", name);
    for name in ["b", "a", "d", "c", "a/b", "a\u{10ffff}"] {
        s.done(vec![put(&key(name), Pre::Absent, "1")]).await?;
    }
    s.done(vec![put(&RowKey::new(Table::Object, "scan/tasks2", "a"), Pre::Absent, "1")]).await?;
    let scan = |from: &str, to: &str, limit| Read::Scan {
        table: Table::Object,
        partition: "scan/tasks".into(),
        from: from.into(),
        to: to.into(),
        limit,
    };
    let names = async |read| -> Result<(Vec<String>, bool), String> {
        let rows = s.rows(read).await?;
        Ok((rows.rows.into_iter().map(|r| r.key.key).collect(), rows.more))
    };
    let all = ["a", "a/b", "a\u{10ffff}", "b", "c", "d"].map(str::to_owned).to_vec();
    same("all", names(scan("", "", 100)).await?, (all.clone(), false))?;
    same("exactly the limit", names(scan("", "", 6)).await?, (all.clone(), false))?;
    same("below the limit", names(scan("", "", 5)).await?, (all[..5].to_vec(), true))?;
    same("bounds", names(scan("a/", "c", 100)).await?, (all[1..4].to_vec(), false))?;
    same("behind a key", names(scan("a\u{0}", "", 2)).await?, (all[1..3].to_vec(), true))?;
    same("nothing", names(scan("x", "", 100)).await?, (Vec::new(), false))
}

async fn owned(s: &Subject) -> Verdict {
    let own = |key: &RowKey, owner: &str| Op::Put {
        key: key.clone(),
        pre: Pre::Absent,
        owner: Some(owner.into()),
        body: "1".into(),
        prev: None,
    };
    let keys = [object("owned", "pods", "b"), object("owned", "events", "a"), object("owned", "pods", "a")];
    for key in &keys {
        s.done(vec![own(key, "uid-1")]).await?;
    }
    s.done(vec![own(&object("owned", "pods", "c"), "uid-2")]).await?;
    s.done(vec![own(&object("ownedx", "pods", "a"), "uid-1")]).await?;
    let read = Read::Owned { tenant: "owned".into(), owner: "uid-1".into() };
    let found: Vec<_> = s.rows(read.clone()).await?.rows.into_iter().map(|r| r.key).collect();
    same("in order", found, vec![keys[1].clone(), keys[2].clone(), keys[0].clone()])?;
    s.done(vec![Op::Delete { key: keys[1].clone(), pre: Pre::Any, last: None }]).await?;
    same("after a delete", s.rows(read).await?.rows.len(), 2)
}

async fn one_moment(s: &Subject) -> Verdict {
    let (a, b) = (object("moment", "tasks", "a"), object("moment", "runs", "b"));
    s.done(vec![put(&a, Pre::Absent, "100"), put(&b, Pre::Absent, "0")]).await?;
    let (w, x, y) = (s.clone(), a.clone(), b.clone());
    let writer = Box::pin(async move {
        for n in 1..=40 {
            w.done(vec![put(&x, Pre::Any, format!("{}", 100 - n)), put(&y, Pre::Any, n.to_string())]).await?;
        }
        Ok(())
    });
    let r = s.clone();
    let reader = Box::pin(async move {
        for _ in 0..60 {
            let answers = r.read(vec![Read::Get(a.clone()), Read::Get(b.clone())]).await?.answers;
            let sum: i64 = answers.iter().flat_map(|rows| &rows.rows).map(number).sum();
            same("the sum of both", sum, 100)?;
        }
        Ok(())
    });
    let both: [base::host::BoxFuture<'static, Verdict>; 2] = [writer, reader];
    s.together(both).await
}

async fn older(s: &Subject) -> Verdict {
    let key = object("older", "tasks", "a");
    s.done(vec![put(&key, Pre::Absent, "1")]).await?;
    let scan = Read::Scan {
        table: Table::Object,
        partition: "older/tasks".into(),
        from: String::new(),
        to: String::new(),
        limit: 10,
    };
    let then = s.read(vec![scan.clone()]).await?.revision;
    s.done(vec![put(&key, Pre::Any, "2"), put(&object("older", "tasks", "b"), Pre::Any, "1")]).await?;
    // A back end may no longer have it; if it has, nothing later may show.
    if let Some(old) = s.read_at(At::Exact(then), vec![scan]).await? {
        let bodies: Vec<_> = old.answers[0].rows.iter().map(number).collect();
        same("then", bodies, vec![1])?;
        same("its revision", old.revision, then)?;
    }
    Ok(())
}

async fn increments(s: &Subject) -> Verdict {
    let key = object("increments", "tasks", "a");
    s.done(vec![put(&key, Pre::Absent, "0")]).await?;
    let clients = (0..6).map(|_| {
        let (s, key) = (s.clone(), key.clone());
        async move {
            let mut left = 8;
            while left > 0 {
                let row = s.row(&key).await?.ok_or("it is gone")?;
                let op = put(&key, Pre::Rev(row.revision), (number(&row) + 1).to_string());
                left -= i32::from(s.commit(vec![op]).await?.is_ok());
            }
            Ok(())
        }
    });
    s.together(clients).await?;
    same("the sum", s.row(&key).await?.map(|r| number(&r)), Some(48))
}

async fn counters(s: &Subject) -> Verdict {
    let name = "counters/runs/0";
    let add = |delta, max| Op::Add { counter: name.into(), delta, max };
    let key = object("counters", "tasks", "a");
    s.done(vec![add(2, Some(3))]).await?;
    let refused = s.commit(vec![put(&key, Pre::Any, "1"), add(2, Some(3))]).await?;
    same("above the bound", refused, Err(Refused::Limit { op: 1 }))?;
    same("the row beside it", s.row(&key).await?, None)?;
    s.done(vec![add(1, Some(3))]).await?;
    same("at the bound", s.counter(name).await?, 3)?;
    s.done(vec![add(-10, Some(3))]).await?;
    same("never negative", s.counter(name).await?, 0)?;
    let clients = (0..5).map(|_| {
        let s = s.clone();
        async move {
            for _ in 0..6 {
                s.done(vec![Op::Add { counter: name.into(), delta: 1, max: None }]).await?;
            }
            Ok(())
        }
    });
    s.together(clients).await?;
    same("the sum", s.counter(name).await?, 30)
}

async fn bounded(s: &Subject) -> Verdict {
    const MAX: i64 = 20;
    let name = "bounded/runs/0";
    let clients = (0..4).map(|client| {
        let s = s.clone();
        async move {
            for n in 0..8 {
                let key = object("bounded", "tasks", &format!("c{client}-{n}"));
                let add = Op::Add { counter: name.into(), delta: 1, max: Some(MAX) };
                match s.commit(vec![add, put(&key, Pre::Absent, "1")]).await? {
                    Ok(_) | Err(Refused::Limit { op: 0 }) => {}
                    Err(other) => return Err(format!("{other:?}")),
                }
            }
            Ok(())
        }
    });
    s.together(clients).await?;
    same("the counter", s.counter(name).await?, MAX)?;
    let (table, partition, from, to) = (Table::Object, "bounded/tasks".into(), String::new(), String::new());
    let rows = s.rows(Read::Scan { table, partition, from, to, limit: 100 }).await?.rows;
    same("the rows that were let in", rows.len(), MAX as usize)
}

async fn large(s: &Subject) -> Verdict {
    let key = object("large", "tasks", "a");
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
    s.done(vec![put(&key, Pre::Absent, body.clone())]).await?;
    let row = s.row(&key).await?.ok_or("it is not there")?;
    holds("every byte is as it was", row.body == body)
}

async fn due(s: &Subject) -> Verdict {
    let key =
        |at: u64, run: &str| RowKey::new(Table::Due, "due-cell/0", format!("{at:020}/t/runs/default/{run}"));
    for (at, run) in [(7, "late"), (0, "now"), (0, "now"), (3, "soon")] {
        s.done(vec![put(&key(at, run), Pre::Any, "1")]).await?;
    }
    let (from, to) = (String::new(), format!("{:020}", 4));
    let scan = Read::Scan { table: Table::Due, partition: "due-cell/0".into(), from, to, limit: 10 };
    let found: Vec<_> = s.rows(scan).await?.rows;
    let keys: Vec<_> = found.iter().map(|r| r.key.clone()).collect();
    same("what is due", keys, vec![key(0, "now"), key(3, "soon")])?;
    // Consumed only as it was seen: what was put again meanwhile stays.
    let seen = found[0].revision;
    s.done(vec![put(&key(0, "now"), Pre::Any, "1")]).await?;
    let consume = Op::Delete { key: key(0, "now"), pre: Pre::Rev(seen), last: None };
    holds("a row that was put again is not consumed", s.commit(vec![consume]).await?.is_err())
}
