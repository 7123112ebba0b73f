//! Transactions, and what became of them.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::host::Host;
use google_cloud_gax::error::rpc::Code;
use google_cloud_spanner::key::{Key, KeySet};
use google_cloud_spanner::mutation::Mutation;
use google_cloud_spanner::read::ReadRequest;
use google_cloud_spanner::statement::Statement;
use google_cloud_spanner::transaction::ReadWriteTransaction;
use google_cloud_spanner::value::ToValue;
use google_cloud_spanner::{Error, Result as SpannerResult};
use store::backend::{Committed, ReadError, RequestId, Revision, Settled, TxnError};

use crate::client::Clients;
use crate::plan::{Plan, Seen, request, request_key, unpack};
use crate::read::away;
use crate::rows::{all, floor_key, moment, record, records, revision};

/// How often a request is looked up when somebody else has just settled or done it.
const SETTLE_TRIES: u32 = 3;

/// Leaves a transaction from inside: nothing is written.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused(TxnError);

/// One transaction, repeated by the client while Spanner aborts it.
pub(crate) async fn transaction(clients: &Clients, host: &Host, plan: Plan) -> Result<Committed, TxnError> {
    let (id, sent) = (plan.id, Arc::new(AtomicBool::new(false)));
    let run = run(clients, plan, sent.clone());
    let failed = match host.within(clients.deadline, run).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error,
        Err(_) if sent.load(Ordering::SeqCst) => return Err(TxnError::Unknown),
        Err(_) => return Err(TxnError::Unavailable("Spanner has not answered in time".into())),
    };
    if let Some(Refused(why)) = failed.source().and_then(|source| source.downcast_ref()) {
        // It may be refused because it has been done already.
        let known = host.within(clients.deadline, find(clients, id)).await;
        return match known {
            Ok(Ok(None)) => Err(why.clone()),
            Ok(Ok(Some(Some(done)))) => Ok(done),
            Ok(Ok(Some(None))) => Err(given_up()),
            Ok(Err(_)) | Err(_) => Err(TxnError::Unavailable("Spanner does not answer".into())),
        };
    }
    match failed.status().map(|status| status.code) {
        // Only requests are inserted: this one is known.
        Some(Code::AlreadyExists) => match host.within(clients.deadline, find(clients, id)).await {
            Ok(Ok(Some(Some(done)))) => Ok(done),
            Ok(Ok(Some(None))) => Err(given_up()),
            Ok(_) | Err(_) => Err(TxnError::Unknown),
        },
        // A commit that was aborted or not understood is not done; everything else might be said of one that was
        // repeated after its answer was lost.
        Some(Code::Aborted | Code::InvalidArgument | Code::PermissionDenied) => {
            Err(TxnError::Unavailable(failed.to_string()))
        }
        _ if sent.load(Ordering::SeqCst) => Err(TxnError::Unknown),
        _ => Err(TxnError::Unavailable(failed.to_string())),
    }
}

fn given_up() -> TxnError {
    TxnError::Unavailable("this request was given up".into())
}

async fn run(clients: &Clients, plan: Plan, sent: Arc<AtomicBool>) -> SpannerResult<Committed> {
    let lease = clients.writer().await?;
    let runner = lease
        .client
        .read_write_transaction()
        .set_transaction_tag(plan.name)
        .with_transaction_timeout(clients.deadline)
        .build();
    let plan = Arc::new(plan);
    let done = runner
        .run(async move |tx: ReadWriteTransaction| attempt(tx, plan.clone(), sent.clone()).await)
        .await?;
    let at = done.commit_timestamp().ok_or_else(|| Error::deser("a commit without a timestamp"))?;
    Ok(Committed { revisions: done.result.iter().map(|ord| revision(at, *ord)).collect() })
}

async fn attempt(
    tx: ReadWriteTransaction,
    plan: Arc<Plan>,
    sent: Arc<AtomicBool>,
) -> SpannerResult<Vec<i64>> {
    // An attempt before this one was aborted, so it is not committed.
    sent.store(false, Ordering::SeqCst);
    let mut seen = Seen::default();
    let keys = plan.keys();
    if !keys.is_empty() {
        for row in all(tx.execute_read(records(&keys)).await?, record).await? {
            seen.rows.insert(row.key.clone(), row);
        }
    }
    let counters = plan.counters();
    if !counters.is_empty() {
        let mut set = KeySet::builder();
        for name in &counters {
            set = set.add_key(Key::new(vec![name.to_value()]));
        }
        let read = ReadRequest::builder("Counters", ["Name", "Value"]).with_keys(set.build()).build();
        let found = all(tx.execute_read(read).await?, |row| Ok((row.get(0)?, row.get(1)?))).await?;
        seen.counters.extend(found);
    }
    let writes = plan.decide(seen).map_err(|why| Error::binding(Refused(why)))?;
    tx.buffer(writes.mutations)?;
    sent.store(true, Ordering::SeqCst);
    Ok(writes.ordinals)
}

/// What is known of a request: nothing, that it was given up, or what it did.
async fn find(clients: &Clients, id: RequestId) -> SpannerResult<Option<Option<Committed>>> {
    let read = ReadRequest::builder("Requests", ["Ts", "Ords"]).with_keys(request_key(id)).build();
    let answer = clients.plain().single_use().build().execute_read(read).await?;
    let found = all(answer, |row| {
        let (at, ords) = (row.get(0)?, row.get::<Option<Vec<u8>>>(1)?);
        let revisions = |ords: Vec<u8>| unpack(&ords).into_iter().map(|ord| revision(at, ord)).collect();
        Ok(ords.map(|ords| Committed { revisions: revisions(ords) }))
    });
    Ok(found.await?.pop())
}

/// What became of a request; if nothing, nothing will.
pub(crate) async fn settle(clients: &Clients, id: RequestId) -> Result<Settled, ReadError> {
    for _ in 0..SETTLE_TRIES {
        match find(clients, id).await.map_err(away)? {
            Some(Some(done)) => return Ok(Settled::Committed(done)),
            Some(None) => return Ok(Settled::Never),
            None => {}
        }
        let lease = clients.writer().await.map_err(away)?;
        match lease.client.write_only_transaction().build().write([request(id, None)]).await {
            Ok(_) => return Ok(Settled::Never),
            // It has been done, or given up, a moment ago.
            Err(error) if error.status().is_some_and(|s| s.code == Code::AlreadyExists) => {}
            Err(error) => return Err(away(error)),
        }
    }
    Err(ReadError::Unavailable("the request is being settled by somebody else".into()))
}

/// Raises the floor, then forgets what is below it.
pub(crate) async fn trim(clients: &Clients, micros_before: i64) -> Result<(), ReadError> {
    let floor = {
        let lease = clients.writer().await.map_err(away)?;
        let runner = lease.client.read_write_transaction().with_transaction_timeout(clients.deadline).build();
        let raised = runner.run(async move |tx: ReadWriteTransaction| raise(tx, micros_before).await).await;
        raised.map_err(away)?.result
    };
    let before = moment(Revision(floor).micros());
    for sql in
        ["DELETE FROM Log WHERE Scope != '' AND Ts < @before", "DELETE FROM Requests WHERE Ts < @before"]
    {
        let lease = clients.writer().await.map_err(away)?;
        let statement = Statement::builder(sql).add_param("before", before).build();
        let delete = lease.client.partitioned_dml_transaction().build();
        delete.execute_update(statement).await.map_err(away)?;
    }
    Ok(())
}

async fn raise(tx: ReadWriteTransaction, micros_before: i64) -> SpannerResult<i64> {
    let read = ReadRequest::builder("Log", ["Kind"]).with_keys(floor_key()).build();
    let old = all(tx.execute_read(read).await?, |row| row.get::<i64>(0)).await?.pop();
    let floor = old.unwrap_or(0).max(Revision(micros_before.saturating_mul(1000)).0);
    let row = Mutation::new_insert_or_update_builder("Log").set("Scope").to("").set("Ts").to(moment(0));
    let row =
        row.set("Ord").to(0_i64).set("Kind").to(floor).set("Key").to("").set("Body").to(Vec::<u8>::new());
    tx.buffer([row.build()])?;
    Ok(floor)
}
