//! A constructor for every refusal, with the reference's exact text. `plural` and `kind` are of the resource.

use super::{Cause, Details, Reason, Status, invalid_message, qualified, quote};
use crate::field_error::FieldError;

impl Status {
    /// `tasks.tekton.dev "x" not found`.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(plural, group), quote(name));
        Self::failure(Reason::NotFound, message).with(group, plural, name)
    }

    /// The path of a request leads nowhere.
    pub fn no_such_path() -> Self {
        let mut status = Self::failure(Reason::NotFound, "the server could not find the requested resource");
        status.details = Some(Box::new(Details::default()));
        status
    }

    /// An object of that name exists.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(plural, group), quote(name));
        Self::failure(Reason::AlreadyExists, message).with(group, plural, name)
    }

    /// As [`Status::already_exists`], when the create asked for `generateName`: the client may try again.
    pub fn generated_name_exists(group: &str, plural: &str, name: &str) -> Self {
        let mut status = Self::already_exists(group, plural, name).after(1);
        status.message.push_str(", the server was not able to generate a unique name for the object");
        status
    }

    /// As [`Status::already_exists`], when the object that has the name is on its way out.
    pub fn exists_being_deleted(group: &str, plural: &str, name: &str) -> Self {
        let mut status = Self::already_exists(group, plural, name);
        status.message.insert_str(0, "object is being deleted: ");
        status
    }

    /// 409 with a cause in words. For a stale resourceVersion see [`Status::modified`].
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {}: {why}", qualified(plural, group), quote(name));
        Self::failure(Reason::Conflict, message).with(group, plural, name)
    }

    /// 409: the object was changed since the caller read it.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// 409: the uid that a PUT names is not the stored object's.
    pub fn uid_mismatch(
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
        sent: &str,
        stored: &str,
    ) -> Self {
        let key: Vec<&str> =
            ["/o", group, plural, namespace, name].into_iter().filter(|p| !p.is_empty()).collect();
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {sent}, UID in object meta: {stored}",
            key.join("/")
        );
        Self::conflict(group, plural, name, &why)
    }

    /// 409: the uid in the preconditions of a delete is not the stored object's.
    pub fn delete_uid_mismatch(group: &str, kind: &str, name: &str, sent: &str, stored: &str) -> Self {
        let why = format!(
            "the UID in the precondition ({sent}) does not match the UID in record ({stored}). \
             The object might have been deleted and then recreated"
        );
        Self::conflict(group, kind, name, &why)
    }

    /// 409: the resourceVersion in the preconditions of a delete is not the stored object's.
    pub fn delete_version_mismatch(group: &str, kind: &str, name: &str, sent: &str, stored: &str) -> Self {
        let why = format!(
            "the ResourceVersion in the precondition ({sent}) does not match the ResourceVersion in record \
             ({stored}). The object might have been modified"
        );
        Self::conflict(group, kind, name, &why)
    }

    /// 409 of a server-side apply: one (manager description, field path) per conflict.
    pub fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let causes: Vec<Cause> = conflicts
            .iter()
            .map(|(who, field)| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {who}"),
                field: Some(field.clone()),
            })
            .collect();
        Self::failure(Reason::Conflict, apply_conflict_message(conflicts)).because(causes)
    }

    /// 422 with every fault. `kind` is the kind of the object, or of the options.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        Self::failure(Reason::Invalid, invalid_message(kind, group, name, errors))
            .with(group, kind, name)
            .because(errors.iter().map(FieldError::cause).collect())
    }

    /// 422 about the options of a request; `kind` is `CreateOptions`, `ListOptions`, …
    pub fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid("meta.k8s.io", kind, "", errors)
    }

    /// 422: a JSON patch that cannot be applied to the object.
    pub fn patch_failed() -> Self {
        let message = "the server rejected our request due to an error in our request";
        let mut status = Self::failure(Reason::Invalid, message);
        status.details = Some(Box::new(Details::default()));
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(Reason::BadRequest, message)
    }

    /// 400: the body is of the right kind but cannot be read as it.
    pub fn cannot_be_handled(version: &str, kind: &str, why: &str) -> Self {
        Self::bad_request(format!(
            "{kind} in version {} cannot be handled as a {kind}: {why}",
            quote(version)
        ))
    }

    /// 400: the body names another namespace than the path.
    pub fn namespace_mismatch() -> Self {
        Self::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )
    }

    /// 400: the body names another object than the path.
    pub fn name_mismatch(in_body: &str, in_path: &str) -> Self {
        if in_body.is_empty() {
            return Self::bad_request(format!(
                "the name of the object ({in_path} based on URL) was undeterminable: name must be provided"
            ));
        }
        Self::bad_request(format!(
            "the name of the object ({in_body}) does not match the name on the URL ({in_path})"
        ))
    }

    /// 400: the body has another apiVersion than the path.
    pub fn api_version_mismatch(in_body: &str, in_path: &str) -> Self {
        Self::bad_request(format!(
            "the API version in the data ({in_body}) does not match the expected API version ({in_path})"
        ))
    }

    /// 401. Says nothing about what was wrong with the credential.
    pub fn unauthorized() -> Self {
        Self::failure(Reason::Unauthorized, "Unauthorized")
    }

    /// 403. `what` says who may not do what, as in `User "u" cannot get resource …`.
    pub fn forbidden(group: &str, plural: &str, name: &str, what: &str) -> Self {
        let resource = qualified(plural, group);
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {what}")
        } else {
            format!("{resource} {} is forbidden: {what}", quote(name))
        };
        Self::failure(Reason::Forbidden, message).with(group, plural, name)
    }

    /// 405: the resource does not have this verb (`create`, `delete`, …).
    pub fn method_not_supported(group: &str, plural: &str, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {}", quote(&qualified(plural, group)));
        Self::failure(Reason::MethodNotAllowed, message).with(group, plural, "")
    }

    /// 405 on a path that is not a resource.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Self::failure(Reason::MethodNotAllowed, message);
        status.details = Some(Box::new(Details::default()));
        status
    }

    /// 406 with the media types that could be produced.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(Reason::NotAcceptable, message)
    }

    /// 415 with the media types that would be understood.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(Reason::UnsupportedMediaType, message)
    }

    /// 413. `what` continues the sentence, as in `limit is 3145728`.
    pub fn too_large(what: &str) -> Self {
        Self::failure(Reason::RequestEntityTooLarge, format!("Request entity too large: {what}"))
    }

    /// 410: the history that was asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(Reason::Expired, message)
    }

    /// 410 in a watch: the resourceVersion to start at is too old.
    pub fn too_old(asked: &str, oldest: &str) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504: a read asks for a resourceVersion that is still to come.
    pub fn too_large_version(asked: &str, current: &str) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: None,
        };
        Self::failure(Reason::Timeout, message).because(vec![cause]).after(1)
    }

    /// 504.
    pub fn timeout(message: &str, retry_after_s: u32) -> Self {
        Self::failure(Reason::Timeout, format!("Timeout: {message}")).after(retry_after_s)
    }

    /// 429.
    pub fn too_many_requests(message: &str, retry_after_s: u32) -> Self {
        Self::failure(Reason::TooManyRequests, message).after(retry_after_s)
    }

    /// 503.
    pub fn unavailable(message: &str, retry_after_s: u32) -> Self {
        Self::failure(Reason::ServiceUnavailable, message).after(retry_after_s)
    }

    /// 507: there is no room to store it.
    pub fn insufficient_storage(message: &str) -> Self {
        Self::failure(Reason::InsufficientStorage, message)
    }

    /// 500. `what` must be safe to show.
    pub fn internal(what: &str) -> Self {
        Self::failure(Reason::InternalError, format!("Internal error occurred: {what}"))
            .because(vec![Cause { reason: String::new(), message: what.to_owned(), field: None }])
    }
}

fn apply_conflict_message(conflicts: &[(String, String)]) -> String {
    if let [(who, field)] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {who}: {field}");
    }
    let mut groups: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for (who, field) in conflicts {
        groups.entry(who).or_default().push(field);
    }
    let mut message = format!("Apply failed with {} conflicts: ", conflicts.len());
    let parts: Vec<String> = groups
        .iter()
        .map(|(who, fields)| {
            let lines: Vec<String> = fields.iter().map(|f| format!("\n- {f}")).collect();
            format!("conflicts with {who}:{}", lines.concat())
        })
        .collect();
    message.push_str(&parts.join("\n"));
    message
}
