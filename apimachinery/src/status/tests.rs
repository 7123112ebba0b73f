use serde_json::json;

use super::{Reason, Status};
use crate::field_error::FieldError;

#[test]
fn not_found_is_what_clients_grep_for() {
    assert_eq!(
        Status::not_found("tekton.dev", "taskruns", "x").to_value(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
               "message": "taskruns.tekton.dev \"x\" not found", "reason": "NotFound",
               "details": {"name": "x", "group": "tekton.dev", "kind": "taskruns"}, "code": 404})
    );
    let core = Status::not_found("", "pods", "x").to_value();
    assert_eq!(core["message"], "pods \"x\" not found");
    assert_eq!(core["details"], json!({"name": "x", "kind": "pods"}));
}

#[test]
fn invalid_names_every_cause() {
    let errors = [FieldError::required("status.refSource", ""), FieldError::required("status.source", "")];
    let status = Status::invalid("tekton.dev", "Task", "a", &errors);
    assert_eq!(
        status.message,
        "Task.tekton.dev \"a\" is invalid: [status.refSource: Required value, status.source: Required value]"
    );
    assert_eq!(
        status.to_value()["details"]["causes"],
        json!([
            {"reason": "FieldValueRequired", "message": "Required value", "field": "status.refSource"},
            {"reason": "FieldValueRequired", "message": "Required value", "field": "status.source"},
        ])
    );
}

#[test]
fn success_of_a_delete_has_no_code() {
    assert_eq!(
        Status::deleted("tekton.dev", "tasks", "a", "u").to_value(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
               "details": {"name": "a", "group": "tekton.dev", "kind": "tasks", "uid": "u"}})
    );
}

#[test]
fn one_conflict_is_told_in_a_line_and_several_in_a_list() {
    let one = [("\"c\" using tekton.dev/v1".to_owned(), ".spec.steps".to_owned())];
    assert_eq!(
        Status::apply_conflict(&one).message,
        "Apply failed with 1 conflict: conflict with \"c\" using tekton.dev/v1: .spec.steps"
    );
    let two = [("\"c\"".to_owned(), ".spec.a".to_owned()), ("\"c\"".to_owned(), ".spec.b".to_owned())];
    assert_eq!(
        Status::apply_conflict(&two).message,
        "Apply failed with 2 conflicts: conflicts with \"c\":\n- .spec.a\n- .spec.b"
    );
}

#[test]
fn a_version_from_the_future_may_be_retried_after_a_second() {
    let status = Status::too_large_version("9", "5");
    assert_eq!((status.code, status.retry_after_s()), (504, Some(1)));
    assert_eq!(
        status.to_value()["details"],
        json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
               "retryAfterSeconds": 1})
    );
}

#[test]
fn reasons_carry_their_http_code() {
    for (reason, code) in [
        (Reason::Conflict, 409),
        (Reason::Expired, 410),
        (Reason::Invalid, 422),
        (Reason::TooManyRequests, 429),
        (Reason::InsufficientStorage, 507),
    ] {
        assert_eq!(Status::failure(reason, "x").to_value()["code"], code);
    }
}
