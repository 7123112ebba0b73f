use serde_json::json;

use super::{FieldError, join, quote};

#[test]
fn quotes_like_go() {
    assert_eq!(quote("tab\tin"), r#""tab\tin""#);
    assert_eq!(quote("é\"\\"), r#""é\"\\""#);
    assert_eq!(quote("\u{1}\u{7f}\u{200b}"), r#""\x01\x7f\u200b""#);
}

#[test]
fn texts_of_the_faults() {
    let faults = [
        FieldError::required("a", ""),
        FieldError::required("a", "name or generateName is required"),
        FieldError::invalid("a", &json!(0), "must be specified for an update"),
        FieldError::not_supported("dryRun", &json!(["all"]), &["All"]),
        FieldError::forbidden("force", "may not be specified for non-apply patch"),
        FieldError::too_long("fieldManager", 128),
    ];
    let texts: Vec<String> = faults.iter().map(FieldError::text).collect();
    assert_eq!(
        texts,
        [
            "a: Required value",
            "a: Required value: name or generateName is required",
            "a: Invalid value: 0: must be specified for an update",
            "dryRun: Unsupported value: [\"all\"]: supported values: \"All\"",
            "force: Forbidden: may not be specified for non-apply patch",
            "fieldManager: Too long: may not be more than 128 bytes",
        ]
    );
}

#[test]
fn a_repeated_text_is_said_once() {
    let one = FieldError::required("a", "");
    let two = FieldError::required("b", "");
    assert_eq!(join(&[one.clone(), one.clone()]), "a: Required value");
    assert_eq!(join(&[one.clone(), two, one]), "[a: Required value, b: Required value]");
}
