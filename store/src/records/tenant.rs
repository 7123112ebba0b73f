//! A tenant and its policy. Written by the gateway's admin API and by `cella tenant`; read by every gateway.

use serde::{Deserialize, Serialize};

use crate::backend::{RowKey, Table};

/// A tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// Regions that may hold and run its objects; empty: any.
    #[serde(default)]
    pub residency: Vec<String>,
    /// Most runs that it may have at one time; `None`: no limit.
    #[serde(default)]
    pub runs_max: Option<u32>,
    /// Runs are run again after their machine was lost, unless they say otherwise.
    #[serde(default)]
    pub rerun_after_loss: bool,
    /// µs since 1970.
    pub created_us: i64,
}

/// Row of a tenant.
pub fn row(id: &str) -> RowKey {
    RowKey::new(Table::Tenant, "tenants", id)
}
