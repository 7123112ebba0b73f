//! Founding a tenant: its row, its first namespaces, its settings.

use base::host::Host;
use serde_json::{Value, json};
use tenancy::id::TenantId;

use super::settings::{PIPELINES, RESOLVERS, SETTINGS, Setting};
use super::{WriteError, default_account};
use crate::backend::{At, Op, Pre, Read, RequestId, Store, Txn, TxnError};
use crate::object::{self, ObjectKey};
use crate::records::{encode, tenant};

/// Version of Tekton that we look like.
pub const TEKTON: &str = "v1.15.0";

/// Makes the tenant; of one that is there, the settings that it lacks.
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
    for setting in SETTINGS {
        ops.push(put(id, "configmaps", setting.0, &config_map(host, setting)));
    }
    let txn = Txn { id: RequestId(host.id()), name: "tenant_found", ops };
    match backend.txn(txn).await {
        Ok(_) => Ok(()),
        // It is there already.
        Err(TxnError::Conflict { op: 0, .. }) => complete(backend, host, id).await,
        Err(TxnError::Full) => Err(WriteError::Full),
        Err(error) => Err(WriteError::Unavailable(error.to_string())),
    }
}

/// Makes the settings that a tenant lacks because it was founded by an older version. What is there stays as it is.
async fn complete(backend: &Store, host: &Host, id: &TenantId) -> Result<(), WriteError> {
    let reads =
        SETTINGS.iter().map(|(namespace, name, _)| Read::Get(key(id, "configmaps", namespace, name).row()));
    let spaces = [PIPELINES, RESOLVERS];
    let all = reads.chain(spaces.map(|space| Read::Get(key(id, "namespaces", "", space).row()))).collect();
    let away = |error: String| WriteError::Unavailable(error);
    let snapshot = backend.snapshot(At::Latest, all).await.map_err(|error| away(error.to_string()))?;
    let (settings, found_spaces) = snapshot.answers.split_at(SETTINGS.len());
    for (space, found) in spaces.into_iter().zip(found_spaces) {
        // A tenant that has removed the namespace wants no settings.
        let Some(row) = found.rows.first() else { continue };
        let there = SETTINGS.iter().zip(settings);
        let lacking = there.filter(|((namespace, ..), found)| *namespace == space && found.rows.is_empty());
        let mut ops: Vec<Op> = lacking
            .map(|(setting, _)| {
                let key = key(id, "configmaps", setting.0, setting.1);
                object::put(&key, Pre::Absent, &config_map(host, setting), None)
            })
            .collect();
        if ops.is_empty()
            || object::of_row(row).is_ok_and(|space| !space["metadata"]["deletionTimestamp"].is_null())
        {
            continue;
        }
        ops.push(Op::Check { key: row.key.clone(), pre: Pre::Rev(row.revision) });
        let txn = Txn { id: RequestId(host.id()), name: "tenant_complete", ops };
        match backend.txn(txn).await {
            // Whoever was faster has made the same, or is at it: the next start looks again.
            Ok(_) | Err(TxnError::Conflict { .. }) => {}
            Err(TxnError::Full) => return Err(WriteError::Full),
            Err(error) => return Err(away(error.to_string())),
        }
    }
    Ok(())
}

fn config_map(host: &Host, (namespace, name, data): &Setting) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": host.uuid(),
            "creationTimestamp": rfc3339(host.clock.utc().0),
            "labels": {"app.kubernetes.io/instance": "default", "app.kubernetes.io/part-of": "tekton-pipelines"},
        },
    });
    if !data.is_empty() {
        object["data"] = data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    }
    object
}

fn key(tenant: &TenantId, kind: &str, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        tenant: tenant.to_string(),
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn put(tenant: &TenantId, kind: &str, namespace: &str, object: &Value) -> Op {
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    object::put(&key(tenant, kind, namespace, name), Pre::Any, object, None)
}

fn rfc3339(us: i64) -> String {
    apimachinery::time::Micros(us).rfc3339()
}
