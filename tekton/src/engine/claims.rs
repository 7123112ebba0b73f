//! Claims that are made from `volumeClaimTemplate`.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::engine::doc::{name as name_of, namespace, object_mut, uid};
use crate::engine::pod;

/// Name of the claim of a workspace: the template's (or `pvc`) and a hash of workspace and owner.
pub fn name(template: &Value, workspace: &str, owner: &Value) -> String {
    let identity = format!("{workspace}{}", uid(owner));
    let hash: String = Sha256::digest(identity).iter().take(5).map(|b| format!("{b:02x}")).collect();
    let base = match name_of(template) {
        "" => "pvc",
        name => name,
    };
    format!("{base}-{hash}")
}

/// The claim of a workspace, owned by the run.
pub fn claim(template: &Value, workspace: &str, owner: &Value) -> Value {
    let mut claim = template.clone();
    claim["apiVersion"] = json!("v1");
    claim["kind"] = json!("PersistentVolumeClaim");
    if !claim["metadata"].is_object() {
        claim["metadata"] = json!({});
    }
    claim["metadata"]["name"] = json!(name(template, workspace, owner));
    claim["metadata"]["namespace"] = json!(namespace(owner));
    claim["metadata"]["ownerReferences"] = json!([pod::owner(owner)]);
    object_mut(&mut claim["metadata"]).remove("creationTimestamp");
    object_mut(&mut claim).remove("status");
    claim
}
