//! Request ids: what was done is not done again, and what was given up stays undone.

use super::{Case, Subject, Verdict, case, holds, object, put, same};
use crate::backend::{Op, Pre, RequestId, Settled, Txn, TxnError};

pub(super) const CASES: &[Case] = &[
    case!("a request that is repeated is not done twice, and has the same answer", repeated),
    case!("what was committed is settled as committed", committed),
    case!("what was settled as never cannot commit any more, and is no conflict", never),
    case!("a request that was refused can be asked again", refused),
    case!("of a commit and its being settled at the same time one wins, for good", raced),
];

/// Sends the very same transaction until there is an answer.
async fn sent(s: &Subject, txn: &Txn) -> Result<Result<crate::backend::Committed, TxnError>, String> {
    s.insist(|| async {
        Ok::<_, String>(match s.store.txn(txn.clone()).await {
            Err(TxnError::Unknown | TxnError::Unavailable(_)) => None,
            answer => Some(answer),
        })
    })
    .await
}

async fn repeated(s: &Subject) -> Verdict {
    let key = object("repeated", "tasks", "a");
    let add = Op::Add { counter: "repeated/runs/0".into(), delta: 1, max: None };
    let txn =
        Txn { id: RequestId(s.host.id()), name: "conformance", ops: vec![put(&key, Pre::Absent, "1"), add] };
    let first = sent(s, &txn).await?.map_err(|e| e.to_string())?;
    let second = sent(s, &txn).await?.map_err(|e| e.to_string())?;
    same("revisions", second, first)?;
    same("the counter", s.counter("repeated/runs/0").await?, 1)
}

async fn committed(s: &Subject) -> Verdict {
    let key = object("committed", "tasks", "a");
    let txn = Txn { id: RequestId(s.host.id()), name: "conformance", ops: vec![put(&key, Pre::Absent, "1")] };
    let done = sent(s, &txn).await?.map_err(|e| e.to_string())?;
    same("settled", s.settle(txn.id).await?, Settled::Committed(done))
}

async fn never(s: &Subject) -> Verdict {
    let key = object("never", "tasks", "a");
    let txn = Txn { id: RequestId(s.host.id()), name: "conformance", ops: vec![put(&key, Pre::Absent, "1")] };
    same("settled", s.settle(txn.id).await?, Settled::Never)?;
    for _ in 0..5 {
        let late = s.store.txn(txn.clone()).await;
        holds("a late commit is refused", late.is_err())?;
        holds("it is no conflict", !matches!(late, Err(TxnError::Conflict { .. })))?;
    }
    same("the row", s.row(&key).await?, None)?;
    same("settled again", s.settle(txn.id).await?, Settled::Never)
}

async fn refused(s: &Subject) -> Verdict {
    let key = object("refused", "tasks", "a");
    let txn =
        Txn { id: RequestId(s.host.id()), name: "conformance", ops: vec![put(&key, Pre::Present, "1")] };
    holds("refused", matches!(sent(s, &txn).await?, Err(TxnError::Conflict { .. })))?;
    s.done(vec![put(&key, Pre::Absent, "0")]).await?;
    holds("asked again", sent(s, &txn).await?.is_ok())
}

async fn raced(s: &Subject) -> Verdict {
    for n in 0..12 {
        let key = object("raced", "tasks", &format!("n{n}"));
        let txn =
            Txn { id: RequestId(s.host.id()), name: "conformance", ops: vec![put(&key, Pre::Absent, "1")] };
        let (id, writer) = (txn.id, s.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        s.host.spawn("writer", async move { drop(tell.send(writer.store.txn(txn).await)) });
        let settled = s.settle(id).await?;
        let answered = told.await.map_err(|_| "the writer has died")?;
        let row = s.row(&key).await?;
        match (&settled, &answered) {
            (Settled::Committed(done), Ok(heard)) => same("what the writer heard", heard, done)?,
            (Settled::Committed(_), Err(TxnError::Unknown)) | (Settled::Never, Err(_)) => {}
            other => return Err(format!("settled and answered: {other:?}")),
        }
        same("the row is there", row.is_some(), matches!(settled, Settled::Committed(_)))?;
        same("settled again", s.settle(id).await?, settled)?;
    }
    Ok(())
}
