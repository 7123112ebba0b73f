//! What every back end promises, as tests that any of them can be put through, plain and behind the fault wrapper.
//!
//! A case sees the store as a careful client does: what is unavailable is asked again, what is unknown is settled,
//! what was settled as never is asked again under a new id. So the same cases hold for a back end that misbehaves
//! within its rights. Every case has the store to itself or keeps to its own tenant.

mod log;
mod requests;
mod rows;

use std::future::Future;
use std::time::Duration;

use base::host::{BoxFuture, Host};
use bytes::Bytes;

use crate::backend::{
    At, Changes, Committed, Op, Pre, Read, ReadError, RequestId, Revision, Row, RowKey, Rows, Settled,
    Snapshot, Store, Table, Txn, TxnError,
};

/// How often something is asked again before the store is taken for dead.
const TRIES: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(1);
/// Longest time of a case.
const CASE_MAX: Duration = Duration::from_secs(120);

/// A store under test.
#[derive(Clone)]
pub struct Subject {
    /// The store.
    pub store: Store,
    /// The world of the tests.
    pub host: Host,
    /// Bells ring whenever they should: nothing between us and the store swallows them.
    pub bells_are_sure: bool,
}

/// What a case found wrong.
pub type Verdict = Result<(), String>;
type Run = fn(Subject) -> BoxFuture<'static, Verdict>;

/// One promise.
pub struct Case {
    /// The promise, in words.
    pub name: &'static str,
    run: Run,
}

/// All promises.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    rows::CASES.iter().chain(log::CASES).chain(requests::CASES)
}

impl Case {
    /// Puts a store through it.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn run(&self, subject: &Subject) -> Verdict {
        let run = (self.run)(subject.clone());
        subject.host.within(CASE_MAX, run).await.unwrap_or_else(|_| Err("it takes too long".into()))
    }
}

/// Why a careful client's transaction was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Refused {
    Conflict { op: usize, current: Option<Box<Row>> },
    Limit { op: usize },
}

impl Subject {
    async fn insist<T, E, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, String>
    where
        F: Future<Output = Result<Option<T>, E>>,
        E: std::fmt::Display,
    {
        for _ in 0..TRIES {
            if let Some(answer) = ask().await.map_err(|e| e.to_string())? {
                return Ok(answer);
            }
            self.host.clock.sleep(PAUSE).await;
        }
        Err("the store never answers".into())
    }

    async fn settle(&self, id: RequestId) -> Result<Settled, String> {
        self.insist(|| async {
            match self.store.settle(id).await {
                Ok(settled) => Ok(Some(settled)),
                Err(ReadError::Unavailable(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Result<Committed, Refused>, String> {
        for _ in 0..TRIES {
            let id = RequestId(self.host.id());
            match self.store.txn(Txn { id, name: "conformance", ops: ops.clone() }).await {
                Ok(done) => return Ok(Ok(done)),
                Err(TxnError::Conflict { op, current }) => return Ok(Err(Refused::Conflict { op, current })),
                Err(TxnError::Limit { op }) => return Ok(Err(Refused::Limit { op })),
                Err(TxnError::Full) => return Err("the store has no room".into()),
                Err(TxnError::Unavailable(_)) => self.host.clock.sleep(PAUSE).await,
                Err(TxnError::Unknown) => {
                    if let Settled::Committed(done) = self.settle(id).await? {
                        return Ok(Ok(done));
                    }
                }
            }
        }
        Err("no transaction gets through".into())
    }

    /// A transaction that must pass.
    async fn done(&self, ops: Vec<Op>) -> Result<Committed, String> {
        self.commit(ops).await?.map_err(|refused| format!("refused: {refused:?}"))
    }

    async fn read_at(&self, at: At, reads: Vec<Read>) -> Result<Option<Snapshot>, String> {
        self.insist(|| async {
            match self.store.snapshot(at, reads.clone()).await {
                Ok(snapshot) => Ok::<_, String>(Some(Some(snapshot))),
                Err(ReadError::Unavailable(_)) => Ok(None),
                Err(ReadError::Expired) => Ok(Some(None)),
            }
        })
        .await
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Snapshot, String> {
        self.read_at(At::Latest, reads).await?.ok_or_else(|| "now is no longer kept".to_owned())
    }

    async fn row(&self, key: &RowKey) -> Result<Option<Row>, String> {
        Ok(self.read(vec![Read::Get(key.clone())]).await?.answers.remove(0).rows.pop())
    }

    async fn rows(&self, read: Read) -> Result<Rows, String> {
        Ok(self.read(vec![read]).await?.answers.remove(0))
    }

    /// `None`: below the floor.
    async fn changes(&self, scope: &str, after: Revision, limit: usize) -> Result<Option<Changes>, String> {
        self.insist(|| async {
            match self.store.changes(scope, after, limit).await {
                Ok(changes) => Ok::<_, String>(Some(Some(changes))),
                Err(ReadError::Unavailable(_)) => Ok(None),
                Err(ReadError::Expired) => Ok(Some(None)),
            }
        })
        .await
    }

    async fn counter(&self, name: &str) -> Result<i64, String> {
        self.insist(|| async {
            match self.store.counter(name).await {
                Ok(value) => Ok(Some(value)),
                Err(ReadError::Unavailable(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Runs several clients at the same time.
    async fn together<F>(&self, clients: impl IntoIterator<Item = F>) -> Verdict
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let outcomes: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let (tell, told) = tokio::sync::oneshot::channel();
                self.host.spawn("client", async move { drop(tell.send(client.await)) });
                told
            })
            .collect();
        for outcome in outcomes {
            outcome.await.map_err(|_| "a client has died".to_owned())??;
        }
        Ok(())
    }
}

fn object(tenant: &str, kind: &str, name: &str) -> RowKey {
    RowKey::new(Table::Object, format!("{tenant}/{kind}"), format!("default/{name}"))
}

fn put(key: &RowKey, pre: Pre, body: impl Into<Bytes>) -> Op {
    Op::Put { key: key.clone(), pre, owner: None, body: body.into(), prev: None }
}

fn number(row: &Row) -> i64 {
    std::str::from_utf8(&row.body).ok().and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Verdict {
    if got == wanted { Ok(()) } else { Err(format!("{what}: {got:?} instead of {wanted:?}")) }
}

fn holds(what: &str, holds: bool) -> Verdict {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// A case by its name and an async function.
macro_rules! case {
    ($name:literal, $run:path) => {
        super::Case { name: $name, run: |subject| Box::pin(async move { $run(&subject).await }) }
    };
}
use case;

#[cfg(test)]
mod tests;
