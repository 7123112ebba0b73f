//! What an operator may read and write: which cells take new runs, what is left on them, and what tenants may. No
//! tenant's object.

use std::collections::BTreeSet;

use base::host::Host;
use tenancy::access::Operator;

use super::{Refusal, TenantStore, WriteError};
use crate::backend::{At, Op, Pre, Read, ReadError, Row, RowKey, Snapshot, Store, Table};
use crate::quota;
use crate::records::attempt::{Attempt, Phase};
use crate::records::cell::{CellRow, Drain};
use crate::records::machine::Machine;
use crate::records::tenant::Tenant;
use crate::records::{self, cell, due, tenant};

/// Lost races in a row before an operator is told to ask again.
const RACES_MAX: usize = 20;
/// Rows that are counted of each kind; more are told as "at least".
const COUNTED_MAX: usize = 10_000;

/// A store as operators see it.
#[derive(Clone)]
pub struct AdminStore(TenantStore);

/// A cell and what is left on it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    /// What it says of itself.
    pub cell: CellRow,
    /// The wish that it takes no new runs.
    pub drain: Option<Drain>,
    /// Runs that it still has to look at, now or at some time: unfinished ones.
    pub runs: usize,
    /// Machines that wait for the start gate, and machines on which user code may run.
    pub waiting: usize,
    /// Machines on which user code may run.
    pub started: usize,
}

impl AdminStore {
    /// A store on a back end.
    pub fn new(backend: Store, host: Host) -> Self {
        Self(TenantStore::new(backend, host))
    }

    /// All cells, by their ids.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn cells(&self, _: &Operator) -> Result<Vec<CellRow>, ReadError> {
        self.0.cells().await
    }

    /// One cell and what is left on it; `None`: there is no such cell.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn standing(&self, _: &Operator, id: &str) -> Result<Option<Standing>, ReadError> {
        let scan = |table, partition| Read::Scan {
            table,
            partition,
            from: String::new(),
            to: String::new(),
            limit: COUNTED_MAX,
        };
        let mut reads = vec![
            Read::Get(cell::row(id)),
            Read::Get(cell::drain_row(id)),
            scan(Table::Machine, id.to_owned()),
        ];
        reads.extend((0..due::BUCKETS).map(|bucket| scan(Table::Due, due::partition(id, bucket))));
        let answers = self.snapshot(reads).await?.answers;
        let Some(cell) = decoded::<CellRow>(answers.first().and_then(|a| a.rows.first())) else {
            return Ok(None);
        };
        let drain = decoded(answers.get(1).and_then(|a| a.rows.first()));
        let runs: BTreeSet<_> = answers
            .iter()
            .skip(3)
            .flat_map(|answer| &answer.rows)
            .filter_map(|row| due::parse(&row.key.key))
            .map(|(_, run)| run)
            .filter(|run| crate::cell::apply::is_run(&run.kind))
            .collect();
        let machines = answers.get(2).map_or(&[][..], |a| &a.rows);
        let attempts = machines.iter().filter_map(|row| decoded::<Machine>(Some(row))?.attempt);
        let reads: Vec<_> =
            attempts.map(|(tenant, key)| Read::Get(RowKey::new(Table::Attempt, tenant, key))).collect();
        let attempts = if reads.is_empty() { Vec::new() } else { self.snapshot(reads).await?.answers };
        let phases = attempts.iter().filter_map(|a| Some(decoded::<Attempt>(a.rows.first())?.phase));
        let (mut waiting, mut started) = (0, 0);
        for phase in phases {
            match phase {
                Phase::Free | Phase::Claimed => waiting += 1,
                Phase::Started => started += 1,
                Phase::Revoked | Phase::Lost | Phase::Done => {}
            }
        }
        Ok(Some(Standing { cell, drain, runs: runs.len(), waiting, started }))
    }

    /// Wishes that a cell takes no new runs, or takes them again. False: there is no such cell.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn drain(&self, operator: &Operator, id: &str, draining: bool) -> Result<bool, WriteError> {
        for _ in 0..RACES_MAX {
            let reads = vec![Read::Get(cell::row(id)), Read::Get(cell::drain_row(id))];
            let away = |error: ReadError| WriteError::Unavailable(error.to_string());
            let answers = self.snapshot(reads).await.map_err(away)?.answers;
            let row = answers.first().and_then(|a| a.rows.first());
            let Some(found) = decoded::<CellRow>(row) else { return Ok(false) };
            let revision = row.map(|row| row.revision).unwrap_or_default();
            let wish = answers.get(1).and_then(|a| a.rows.first());
            if wish.is_some() == draining && found.draining == draining {
                return Ok(true);
            }
            let key = cell::drain_row(id);
            let pre = wish.map_or(Pre::Absent, |row| Pre::Rev(row.revision));
            let op = if draining {
                let since_us = self.0.host.clock.utc().0;
                let drain = Drain { cell: id.to_owned(), since_us, by: operator.user.clone() };
                Op::Put { key, pre, owner: None, body: records::encode(&drain), prev: None }
            } else if wish.is_some() {
                Op::Delete { key, pre, last: None }
            } else {
                Op::Check { key, pre }
            };
            // The heartbeat as well, so that everybody who places sees it at once.
            let body = records::encode(&CellRow { draining, ..found });
            let beat = Op::Put { key: cell::row(id), pre: Pre::Rev(revision), owner: None, body, prev: None };
            match self.0.write("cell_drain", vec![op, beat]).await {
                Ok(_) => return Ok(true),
                Err(Refusal::Precondition { .. }) => {}
                Err(Refusal::Other(error)) => return Err(error),
            }
        }
        Err(WriteError::Changed)
    }

    /// A tenant's policy, and how many of its runs have a place; `None`: there is no such tenant here.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn tenant(&self, _: &Operator, id: &str) -> Result<Option<(Tenant, i64)>, ReadError> {
        let answers = self.snapshot(vec![Read::Get(tenant::row(id))]).await?.answers;
        let Some(found) = decoded(answers.first().and_then(|a| a.rows.first())) else { return Ok(None) };
        Ok(Some((found, self.0.backend.counter(&quota::counter(id)).await?)))
    }

    /// Changes a tenant's policy. False: there is no such tenant here.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn tenant_change(
        &self,
        _: &Operator,
        id: &str,
        change: impl Fn(&mut Tenant) + Send,
    ) -> Result<bool, WriteError> {
        let key = tenant::row(id);
        for _ in 0..RACES_MAX {
            let away = |error: ReadError| WriteError::Unavailable(error.to_string());
            let answers = self.snapshot(vec![Read::Get(key.clone())]).await.map_err(away)?.answers;
            let row = answers.first().and_then(|a| a.rows.first());
            let Some(found) = decoded::<Tenant>(row) else { return Ok(false) };
            let mut wanted = found.clone();
            change(&mut wanted);
            if wanted == found {
                return Ok(true);
            }
            let pre = row.map_or(Pre::Present, |row| Pre::Rev(row.revision));
            let op =
                Op::Put { key: key.clone(), pre, owner: None, body: records::encode(&wanted), prev: None };
            match self.0.write("tenant_change", vec![op]).await {
                Ok(_) => return Ok(true),
                Err(Refusal::Precondition { .. }) => {}
                Err(Refusal::Other(error)) => return Err(error),
            }
        }
        Err(WriteError::Changed)
    }

    async fn snapshot(&self, reads: Vec<Read>) -> Result<Snapshot, ReadError> {
        self.0.backend.snapshot(At::Latest, reads).await
    }
}

fn decoded<T: serde::de::DeserializeOwned>(row: Option<&Row>) -> Option<T> {
    row.and_then(|row| records::decode(&row.body).ok())
}
