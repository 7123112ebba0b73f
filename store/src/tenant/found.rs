//! Founding a tenant: its row, its first namespaces, its settings.

use base::host::Host;
use serde_json::{Value, json};
use tenancy::id::TenantId;

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
    for namespace in ["default", "tekton-pipelines"] {
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
    for (name, data) in [
        ("pipelines-info", json!({"version": TEKTON})),
        ("feature-flags", json!({"enable-api-fields": "beta"})),
        ("config-defaults", json!({"default-timeout-minutes": "60"})),
    ] {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "tekton-pipelines", "uid": host.uuid(), "creationTimestamp": born},
            "data": data,
        });
        ops.push(put(id, "configmaps", "tekton-pipelines", &object));
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
