//! A DELETE of one object.

use serde_json::Value;

use super::Effect;
use crate::kind::Kind;
use crate::meta::{self, Deletion};
use crate::options::DeleteOptions;
use crate::status::Status;
use crate::time::Micros;

/// Decides what a delete does to `old`: [`Effect::Remove`] it and answer with the given Status, [`Effect::Replace`] it
/// by the given object because finalizers hold it, or [`Effect::Nothing`] because it is marked already.
///
/// # Errors
/// 409 when a precondition doesn't hold.
pub fn delete(
    kind: &Kind,
    old: &Value,
    options: &DeleteOptions,
    now: Micros,
) -> Result<(Effect, Value), Status> {
    let (name, uid, version) = (meta::name(old), meta::uid(old), meta::resource_version(old));
    let conditions = &options.preconditions;
    if let Some(sent) = conditions.uid.as_deref().filter(|sent| *sent != uid) {
        return Err(Status::delete_uid_mismatch(kind.group, kind.kind, name, sent, uid));
    }
    if let Some(sent) = conditions.resource_version.as_deref().filter(|sent| *sent != version) {
        return Err(Status::delete_version_mismatch(kind.group, kind.kind, name, sent, version));
    }
    let mut object = old.clone();
    Ok(match meta::mark_for_deletion(kind, &mut object, options.propagation, now) {
        Deletion::Remove => (Effect::Remove, Status::deleted(kind.group, kind.plural, name, uid).to_value()),
        Deletion::Marked => (Effect::Replace, object),
        Deletion::Unchanged => (Effect::Nothing, object),
    })
}
