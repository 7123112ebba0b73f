use serde_json::json;

use super::{DeleteOptions, ListOptions, Params, Write, WriteOptions};
use crate::meta::Propagation;
use crate::status::Status;

fn write(kind: Write, query: &str) -> Result<WriteOptions, Status> {
    WriteOptions::parse(kind, &Params::parse(query))
}

fn list(query: &str) -> Result<ListOptions, Status> {
    ListOptions::parse(&Params::parse(query))
}

#[test]
fn queries() {
    let params = Params::parse("&&=&a=1&a=2&b=x%2By+z%&c&watch=1&w=FALSE&%zz=%ff");
    assert_eq!((params.get("a"), params.all("a")), (Some("1"), vec!["1", "2"]));
    assert_eq!((params.get("b"), params.get("c"), params.get("none")), (Some("x+y z%"), Some(""), None));
    assert_eq!(
        (params.flag("watch"), params.flag("w"), params.flag("none")),
        (Some(true), Some(false), None)
    );
}

#[test]
fn writes() {
    let options = write(Write::Create, "dryRun=All&fieldManager=m&fieldValidation=Strict").expect("valid");
    assert!(options.dry_run && options.manager("kubectl/1.30") == "m");
    assert_eq!(write(Write::Create, "").expect("valid").manager("golden-client/1.0 (test)"), "golden-client");
    for (kind, query, message) in [
        (
            Write::Create,
            "dryRun=all",
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"all\"]: supported values: \"All\"",
        ),
        (
            Write::Update,
            "fieldValidation=what",
            "UpdateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"what\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
        ),
        (
            Write::Create,
            "fieldManager=tab%09in",
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"tab\\tin\": invalid character U+0009 (at position 3)",
        ),
        (
            Write::Patch,
            "force=true",
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        ),
        (
            Write::Apply,
            "",
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
    ] {
        let status = write(kind, query).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (422, message));
    }
    let long = format!("fieldManager={}", "m".repeat(129));
    assert!(
        write(Write::Patch, &long)
            .unwrap_err()
            .message
            .ends_with("fieldManager: Too long: may not be more than 128 bytes")
    );
    assert_eq!(write(Write::Create, "dryRun=").unwrap_err().code, 422);
    assert!(write(Write::Apply, "fieldManager=m&force=maybe").expect("valid").force);
}

#[test]
fn lists_and_watches() {
    let options =
        list("&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=7").expect("valid");
    assert_eq!(
        (options.watch, options.timeout_s, options.bookmarks, options.resource_version),
        (true, Some(290), true, Some(7))
    );
    assert_eq!(list("limit=-1&resourceVersion=").expect("valid").limit, 0);
    let invalid = "ListOptions.meta.k8s.io \"\" is invalid: ";
    for (query, code, message) in [
        ("limit=abc", 400, "strconv.ParseInt: parsing \"abc\": invalid syntax".to_owned()),
        ("resourceVersion=-5", 400, "invalid resource version: resourceVersion: Invalid value: \"-5\": strconv.ParseUint: parsing \"-5\": invalid syntax".to_owned()),
        ("resourceVersionMatch=Exact", 422, format!("{invalid}resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided")),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422, format!("{invalid}resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")),
        ("resourceVersionMatch=Newest&resourceVersion=5", 422, format!("{invalid}resourceVersionMatch: Unsupported value: \"Newest\": supported values: \"Exact\", \"NotOlderThan\", \"\"")),
        ("continue=t&resourceVersion=5", 400, "specifying resource version is not allowed when using continue".to_owned()),
        ("sendInitialEvents=true", 422, format!("{invalid}sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")),
        ("watch=true&sendInitialEvents=true", 422, format!("{invalid}resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")),
        ("watch=true&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=5", 422,
         format!("{invalid}[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]")),
        ("watch=true&resourceVersionMatch=NotOlderThan", 422, format!("{invalid}resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")),
    ] {
        let status = list(query).unwrap_err();
        assert_eq!((status.code, status.message), (code, message), "{query}");
    }
}

#[test]
fn deletes() {
    let parse = |query: &str, body: Option<serde_json::Value>| {
        DeleteOptions::parse(&Params::parse(query), body.as_ref())
    };
    let options = parse(
        "",
        Some(json!({"propagationPolicy": "Foreground", "dryRun": ["All"], "preconditions": {"uid": "u"}})),
    )
    .expect("valid");
    assert_eq!(
        (options.propagation, options.dry_run, options.preconditions.uid.as_deref()),
        (Some(Propagation::Foreground), true, Some("u"))
    );
    assert_eq!(
        parse("propagationPolicy=Orphan&gracePeriodSeconds=0", None).expect("valid").grace_period_s,
        Some(0)
    );
    assert_eq!(
        parse("", Some(json!({"orphanDependents": false}))).expect("valid").propagation,
        Some(Propagation::Background)
    );
    for (query, body, code, message) in [
        (
            "propagationPolicy=Nope",
            None,
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Nope\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        ),
        (
            "",
            Some(json!({"orphanDependents": true, "propagationPolicy": "Background"})),
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Background\": orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            "",
            Some(json!({"dryRun": ["x"]})),
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
        ),
        (
            "",
            Some(json!({"kind": "Wrong", "apiVersion": "v1"})),
            400,
            "no kind \"Wrong\" is registered for version \"v1\"",
        ),
    ] {
        let status = parse(query, body).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}
