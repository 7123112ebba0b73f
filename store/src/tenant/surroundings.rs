//! What an admission needs to know: read at one moment, and kept until something of it changes.
//!
//! A create asks for it every time; it changes a few times a minute. Bells say when. They are hints, so what must
//! not be stale (the namespace) is checked again by the transaction that relies on it, and nothing is kept long.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tenancy::access::Grant;
use tenancy::residency::{BadResidency, Residency};

use super::TenantStore;
use crate::backend::{At, Op, Pre, Read, ReadError, Revision, Row, Rows, Table};
use crate::kept::Kept;
use crate::object::{self, scope};
use crate::records::{cell, decode, tenant};

pub(super) const CELLS_MAX: usize = 1000;

/// What is known of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Namespace {
    /// There is none of that name.
    Absent,
    /// It is there.
    Active,
    /// It is being emptied, and goes then.
    Terminating,
}

/// What an admission needs to know, read at one moment.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The namespace of the request.
    pub namespace: Namespace,
    /// ConfigMap `feature-flags`.
    pub feature_flags: Option<Value>,
    /// ConfigMap `config-defaults`.
    pub config_defaults: Option<Value>,
    /// Where runs of the namespace may be, by its annotation.
    pub residency: Result<Residency, BadResidency>,
    /// The tenant and its policy.
    pub tenant: Option<tenant::Tenant>,
    /// What cells say of themselves.
    pub cells: Vec<cell::CellRow>,
    namespace_row: Option<(crate::backend::RowKey, Revision)>,
    made: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Surroundings {
    /// What `make` makes of them: once, and kept for as long as they are. One type only is kept; others are made anew.
    pub fn make<T: Any + Send + Sync>(&self, make: impl Fn(&Self) -> T) -> Arc<T> {
        let made = self.made.get_or_init(|| Arc::new(make(self))).clone();
        made.downcast().unwrap_or_else(|_| Arc::new(make(self)))
    }

    /// Lets a transaction pass only while the namespace is as it was seen.
    pub(super) fn guard(&self) -> Option<Op> {
        let (key, revision) = self.namespace_row.clone()?;
        Some(Op::Check { key, pre: Pre::Rev(revision) })
    }
}

/// By tenant and namespace.
pub(super) type Cache = Kept<(String, String), Surroundings>;

impl TenantStore {
    /// What admission of an object in `namespace` needs to know.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn surroundings(&self, grant: &Grant, namespace: &str) -> Result<Arc<Surroundings>, ReadError> {
        let tenant = grant.tenant().as_str();
        let key = (tenant.to_owned(), namespace.to_owned());
        let now = self.host.clock.mono();
        if let Some(around) = self.around.get(&key, now) {
            return Ok(around);
        }
        // What changes while this is read rings bells that hang already.
        let bells = vec![
            self.backend.bell(Table::Object, &scope(tenant, "namespaces")),
            self.backend.bell(Table::Object, &scope(tenant, "configmaps")),
            self.backend.bell(Table::Cell, "cells"),
            self.backend.bell(Table::Tenant, "tenants"),
        ];
        let around = Arc::new(self.look_around(grant, namespace).await?);
        self.around.put(key, around.clone(), bells, now);
        Ok(around)
    }

    /// Looks again next time.
    pub(super) fn forget_surroundings(&self, grant: &Grant, namespace: &str) {
        self.around.forget(&(grant.tenant().to_string(), namespace.to_owned()));
    }

    async fn look_around(&self, grant: &Grant, namespace: &str) -> Result<Surroundings, ReadError> {
        let get = |kind: &str, namespace: &str, name: &str| {
            Read::Get(Self::key(grant, kind, namespace, name).row())
        };
        let reads = vec![
            get("namespaces", "", namespace),
            get("configmaps", "tekton-pipelines", "feature-flags"),
            get("configmaps", "tekton-pipelines", "config-defaults"),
            Read::Get(tenant::row(grant.tenant().as_str())),
            Read::Scan {
                table: Table::Cell,
                partition: "cells".into(),
                from: String::new(),
                to: String::new(),
                limit: CELLS_MAX,
            },
        ];
        let answers = self.backend.snapshot(At::Latest, reads).await?.answers;
        let first = |n: usize| answers.get(n).and_then(|Rows { rows, .. }| rows.first());
        let document = |row: &Row| object::of_row(row).ok();
        let found = first(0);
        let namespace = found.and_then(document);
        let residency = namespace.as_ref().map_or(Ok(Residency::ANYWHERE), residency);
        let namespace = match namespace {
            None => Namespace::Absent,
            Some(found) if found["metadata"]["deletionTimestamp"].is_null() => Namespace::Active,
            Some(_) => Namespace::Terminating,
        };
        let cells = answers.get(4).map_or(&[][..], |rows| &rows.rows);
        Ok(Surroundings {
            namespace,
            residency,
            feature_flags: first(1).and_then(document),
            config_defaults: first(2).and_then(document),
            tenant: first(3).and_then(|row| decode(&row.body).ok()),
            cells: cells.iter().filter_map(|row| decode(&row.body).ok()).collect(),
            namespace_row: found.map(|row| (row.key.clone(), row.revision)),
            made: OnceLock::new(),
        })
    }
}

/// Where runs of a namespace may be, by its annotation.
///
/// # Errors
/// When the annotation cannot be read: then they may be nowhere.
pub fn residency(namespace: &Value) -> Result<Residency, BadResidency> {
    let annotations = namespace["metadata"]["annotations"].as_object().into_iter().flatten();
    Residency::parse(&annotations.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
}
