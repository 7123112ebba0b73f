use serde_json::json;

use super::*;

fn said(timeout: &str) -> String {
    let object = json!({"spec": {"tasks": [{"taskSpec": {"steps": [{"timeout": timeout}]}}]}});
    check(&object).map_or_else(|e| e.to_string(), |()| String::new())
}

#[test]
fn durations_are_read_as_go_reads_them() {
    let head = "cannot decode incoming new object: time: ";
    assert_eq!(said("1h30m"), "");
    assert_eq!(said("soon"), format!(r#"{head}invalid duration "soon""#));
    assert_eq!(said("5"), format!(r#"{head}missing unit in duration "5""#));
    assert_eq!(said("2d"), format!(r#"{head}unknown unit "d" in duration "2d""#));
}
