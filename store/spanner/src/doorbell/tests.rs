use serde_json::json;

use super::*;

fn change(writer: &str, rang: &[&str]) -> Value {
    let new = json!({"Writer": writer, "Rang": rang}).to_string();
    json!([{"data_change_record": [{"mods": [{"keys": "{\"Slot\":3}", "new_values": new, "old_values": "{}"}]}],
            "heartbeat_record": [], "child_partitions_record": []}])
}

#[test]
fn others_ring_and_we_do_not() {
    let record = change("them", &["2:cell/0", "1:acme/taskruns.tekton.dev", "99:unknown", "nonsense"]);
    let wanted = [(Table::Due, "cell/0".to_owned()), (Table::Object, "acme/taskruns.tekton.dev".to_owned())];
    assert_eq!(rung(&record, "us"), wanted);
    assert_eq!(rung(&record, "them"), []);
}

#[test]
fn values_may_come_as_json_and_not_as_text() {
    let record =
        json!([{"data_change_record": [{"mods": [{"new_values": {"Writer": "a", "Rang": ["5:cells"]}}]}]}]);
    assert_eq!(rung(&record, "us"), [(Table::Cell, "cells".to_owned())]);
}

#[test]
fn children_follow_from_their_own_moment() {
    let record = json!([{"child_partitions_record": [{"start_timestamp": "2026-01-01T00:00:00Z", "record_sequence": "1",
        "child_partitions": [{"token": "a", "parent_partition_tokens": []}, {"token": "b", "parent_partition_tokens": ["x"]}]}]}]);
    let child = |token: &str| Partition { token: Some(token.into()), from: "2026-01-01T00:00:00Z".into() };
    assert_eq!(follows(&record), [child("a"), child("b")]);
    assert_eq!(follows(&change("a", &["5:cells"])), []);
}

#[test]
fn a_heartbeat_is_neither() {
    let record = json!([{"heartbeat_record": [{"timestamp": "2026-01-01T00:00:00Z"}]}]);
    assert!(rung(&record, "us").is_empty() && follows(&record).is_empty());
}
