//! What create does to an object before it is stored.

use serde_json::Value;

use super::{check, namespace, resource_version, set, text, unset};
use crate::builtin;
use crate::kind::Kind;
use crate::names::{SUFFIX_LEN, generate};
use crate::status::Status;
use crate::time::Micros;

/// What an object gets when it is created.
#[derive(Clone, Debug)]
pub struct Birth<'a> {
    /// Namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Now.
    pub now: Micros,
    /// For the suffix of a generated name.
    pub random: [u8; SUFFIX_LEN],
}

/// Completes and checks an object that is to be created: everything that the server owns is overwritten, `status`
/// dropped where it is a subresource, a name generated when asked for. The object must be normalised.
///
/// # Errors
/// 400 for a foreign namespace or a set resourceVersion, 422 with every fault of the metadata.
pub fn prepare_create(kind: &Kind, object: &mut Value, birth: &Birth<'_>) -> Result<(), Status> {
    let said = namespace(object);
    if !said.is_empty() && said != birth.namespace {
        return Err(Status::namespace_mismatch());
    }
    // What is no number counts as nothing, as in the reference.
    if resource_version(object).parse::<u64>().is_ok_and(|version| version > 0) {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if kind.has_status()
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
        if let Some(status) = builtin::first_status(kind) {
            map.insert("status".to_owned(), status);
        }
    }
    for member in
        ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"]
    {
        unset(object, member);
    }
    if kind.namespaced() {
        set(object, "namespace", birth.namespace);
    }
    set(object, "uid", birth.uid);
    set(object, "creationTimestamp", birth.now.rfc3339());
    if kind.custom {
        set(object, "generation", 1);
    }
    let prefix = text(object, "generateName").to_owned();
    if super::name(object).is_empty() && !prefix.is_empty() {
        set(object, "name", generate(&prefix, birth.random));
    }
    let errors = check::metadata(kind, object);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.group, kind.kind, super::name(object), &errors))
}
