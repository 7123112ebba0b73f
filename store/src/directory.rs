//! The directory, in the global database: which Home a tenant lives in, for which tenants an issuer speaks, which
//! tenant a host means. Nothing else of a pinned tenant is ever written there.
//!
//! Written by the admin API and by `cella tenant`; read by every gateway.

use std::time::Duration;

use base::host::Host;
use serde::{Deserialize, Serialize};
use tenancy::id::{HomeId, TenantId};

use crate::backend::{At, Op, Pre, Read, ReadError, RequestId, RowKey, Settled, Store, Table, Txn, TxnError};
use crate::records::{decode, encode};

/// Longest issuer, audience or host.
const NAME_MAX: usize = 512;
/// Most tenants that one issuer and audience may speak for.
const TENANTS_MAX: usize = 1000;
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// The directory.
#[derive(Clone)]
pub struct Directory {
    global: Store,
    host: Host,
}

/// Why the directory does not take something.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The tenant lives elsewhere, or the host means another tenant.
    #[error("{0} is in the directory already, as {1}")]
    Taken(String, String),
    /// It is too long, or holds what separates names.
    #[error("{0:?} cannot be in the directory: at most {NAME_MAX} characters, and no blanks")]
    Name(String),
    /// The store is away.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

#[derive(Serialize, Deserialize)]
struct Lives {
    home: HomeId,
}

#[derive(Serialize, Deserialize)]
struct Means {
    tenant: TenantId,
}

impl Directory {
    /// The directory in the global database.
    pub fn new(global: Store, host: Host) -> Self {
        Self { global, host }
    }

    /// Where a tenant lives; `None`: it is not known.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn home_of(&self, tenant: &TenantId) -> Result<Option<HomeId>, ReadError> {
        Ok(self.get::<Lives>(tenant_row(tenant)).await?.map(|lives| lives.home))
    }

    /// Says where a tenant lives. That is said once; repeating it is harmless.
    ///
    /// # Errors
    /// [`DirectoryError::Taken`] when it lives elsewhere.
    pub async fn tenant_add(&self, tenant: &TenantId, home: &HomeId) -> Result<(), DirectoryError> {
        let row = encode(&Lives { home: home.clone() });
        if self.put(tenant_row(tenant), row).await? {
            return Ok(());
        }
        match self.home_of(tenant).await.map_err(away)? {
            Some(there) if there == *home => Ok(()),
            there => Err(taken(format!("tenant {tenant}"), there)),
        }
    }

    /// The tenant that a host means.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn host_tenant(&self, host: &str) -> Result<Option<TenantId>, ReadError> {
        Ok(self.get::<Means>(host_row(host)).await?.map(|means| means.tenant))
    }

    /// Says which tenant a host means.
    ///
    /// # Errors
    /// [`DirectoryError::Taken`] when it means another one.
    pub async fn host_add(&self, host: &str, tenant: &TenantId) -> Result<(), DirectoryError> {
        check(host)?;
        if self.put(host_row(host), encode(&Means { tenant: tenant.clone() })).await? {
            return Ok(());
        }
        match self.host_tenant(host).await.map_err(away)? {
            Some(there) if there == *tenant => Ok(()),
            there => Err(taken(format!("host {host}"), there)),
        }
    }

    /// Lets an issuer speak for a tenant, with tokens for this audience.
    ///
    /// # Errors
    /// [`DirectoryError::Name`].
    pub async fn issuer_add(
        &self,
        issuer: &str,
        audience: &str,
        tenant: &TenantId,
    ) -> Result<(), DirectoryError> {
        check(issuer)?;
        check(audience)?;
        let key = format!("{issuer} {audience} {tenant}");
        let key = RowKey::new(Table::Directory, "issuers", key);
        self.put(key, encode(&Means { tenant: tenant.clone() })).await.map(drop)
    }

    /// Tenants that an issuer speaks for with tokens for this audience.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn issuer_tenants(&self, issuer: &str, audience: &str) -> Result<Vec<TenantId>, ReadError> {
        // '!' follows the blank that separates the names.
        let scan = Read::Scan {
            table: Table::Directory,
            partition: "issuers".into(),
            from: format!("{issuer} {audience} "),
            to: format!("{issuer} {audience}!"),
            limit: TENANTS_MAX,
        };
        let answers = self.global.snapshot(At::Latest, vec![scan]).await?.answers;
        let rows = answers.into_iter().flat_map(|answer| answer.rows);
        Ok(rows.filter_map(|row| Some(decode::<Means>(&row.body).ok()?.tenant)).collect())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, key: RowKey) -> Result<Option<T>, ReadError> {
        let answers = self.global.snapshot(At::Latest, vec![Read::Get(key)]).await?.answers;
        let row = answers.into_iter().flat_map(|answer| answer.rows).next();
        let damaged = |_| ReadError::Unavailable("a row of the directory is damaged".into());
        row.map(|row| decode(&row.body).map_err(damaged)).transpose()
    }

    /// Whether it was not there.
    async fn put(&self, key: RowKey, body: bytes::Bytes) -> Result<bool, DirectoryError> {
        let mut why = String::new();
        for _ in 0..TRIES {
            let id = RequestId(self.host.id());
            let op =
                Op::Put { key: key.clone(), pre: Pre::Absent, owner: None, body: body.clone(), prev: None };
            match self.global.txn(Txn { id, name: "directory_add", ops: vec![op] }).await {
                Ok(_) => return Ok(true),
                Err(TxnError::Conflict { .. }) => return Ok(false),
                Err(TxnError::Unknown) => match self.global.settle(id).await {
                    Ok(Settled::Committed(_)) => return Ok(true),
                    Ok(Settled::Never) => {}
                    Err(error) => why = error.to_string(),
                },
                Err(error) => why = error.to_string(),
            }
            self.host.clock.sleep(PAUSE).await;
        }
        Err(DirectoryError::Unavailable(why))
    }
}

fn tenant_row(tenant: &TenantId) -> RowKey {
    RowKey::new(Table::Directory, "tenants", tenant.as_str())
}

fn host_row(host: &str) -> RowKey {
    RowKey::new(Table::Directory, "hosts", host)
}

fn check(name: &str) -> Result<(), DirectoryError> {
    let good = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(|c: char| c <= ' ');
    if good { Ok(()) } else { Err(DirectoryError::Name(name.to_owned())) }
}

fn taken(what: String, there: Option<impl std::fmt::Display>) -> DirectoryError {
    DirectoryError::Taken(what, there.map_or_else(|| "something else".to_owned(), |t| t.to_string()))
}

fn away(error: ReadError) -> DirectoryError {
    DirectoryError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
