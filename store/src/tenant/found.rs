//! Founding a tenant: its row, its first namespaces, its settings.

use base::host::Host;
use serde_json::{Value, json};
use tenancy::id::TenantId;

use super::settings::{PIPELINES, RESOLVERS, SETTINGS};
use super::{WriteError, default_account};
use crate::backend::{Op, Pre, RequestId, Store, Txn, TxnError};
use crate::object::{self, ObjectKey};
use crate::records::{encode, tenant};

/// Version of Tekton that we look like.
pub const TEKTON: &str = "v1.15.0";

/// Makes the tenant, unless it is there.
///
/// # Errors
/// When the store is away or full.
pub async fn found(
    backend: &Store,
    host: &Host,
    id: &TenantId,
    residency: Vec<String>,
) -> Result<(), WriteError> {
    let now = host.clock.utc().0;
    let row = tenant::Tenant {
        id: id.to_string(),
        residency,
        runs_max: None,
        rerun_after_loss: false,
        created_us: now,
    };
    let mut ops = vec![Op::Put {
        key: tenant::row(id.as_str()),
        pre: Pre::Absent,
        owner: None,
        body: encode(&row),
        prev: None,
    }];
    let born = rfc3339(now);
    for namespace in ["default", PIPELINES, RESOLVERS] {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "uid": host.uuid(),
                "creationTimestamp": born,
                "labels": {"kubernetes.io/metadata.name": namespace},
            },
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        ops.push(put(id, "namespaces", "", &object));
        ops.push(default_account(id, namespace, &object));
    }
    for (namespace, name, data) in SETTINGS {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": host.uuid(),
                "creationTimestamp": born,
                "labels": {"app.kubernetes.io/instance": "default", "app.kubernetes.io/part-of": "tekton-pipelines"},
            },
        });
        if !data.is_empty() {
            object["data"] =
                data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        }
        ops.push(put(id, "configmaps", namespace, &object));
    }
    let txn = Txn { id: RequestId(host.id()), name: "tenant_found", ops };
    match backend.txn(txn).await {
        // It is there already.
        Ok(_) | Err(TxnError::Conflict { op: 0, .. }) => Ok(()),
        Err(TxnError::Full) => Err(WriteError::Full),
        Err(error) => Err(WriteError::Unavailable(error.to_string())),
    }
}

fn put(tenant: &TenantId, kind: &str, namespace: &str, object: &Value) -> Op {
    let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let key = ObjectKey { tenant: tenant.to_string(), kind: kind.into(), namespace: namespace.into(), name };
    object::put(&key, Pre::Any, object, None)
}

fn rfc3339(us: i64) -> String {
    apimachinery::time::Micros(us).rfc3339()
}
