use serde_json::json;

use super::*;

#[test]
fn a_story_is_told_in_order_with_every_reason() {
    let placed = json!({
        "cell": "there", "region": "there", "because": "any region; 0 of 5 machines busy there", "at_us": 5_000_000,
        "refused": {"full": "full"},
        "earlier": [{"cell": "here", "at_us": 1_000_000, "because": "here is the preferred region", "left": "cell here has not been heard of"}],
    });
    let attempt = |ordinal: u32| {
        json!({
            "id": format!("a{ordinal}"), "cell": "there", "namespace": "default", "run": "one", "run_uid": "u", "retry": 0,
            "ordinal": ordinal, "pod": "one-pod", "machine": format!("m-{ordinal}"), "phase": "done", "epoch": 2,
            "timings": {"placed": 6_000_000 + 1_000_000 * i64::from(ordinal)},
        })
    };
    let mut first = attempt(0);
    first["phase"] = json!("revoked");
    first["cause"] = json!("machine");
    first["why"] = json!("it was preempted");
    first["timings"]["ended"] = json!(6_500_000);
    let mut second = attempt(1);
    second["again"] = json!("infrastructure");
    second["timings"]["gate"] = json!(8_000_000);
    let run = json!({
        "metadata": {"name": "one", "creationTimestamp": "1970-01-01T00:00:01Z", "annotations": {
            EXPLANATION: placed.to_string(), INFRA_RETRIES: "1", INFRA_REASON: "it was preempted"}},
        "status": {"startTime": "1970-01-01T00:00:05Z", "completionTime": "1970-01-01T00:00:09Z",
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "All Steps have completed executing"}]},
    });
    let event = json!({"reason": "Started", "message": "", "lastTimestamp": "1970-01-01T00:00:05Z", "involvedObject": {"name": "one"}});
    let story =
        json!({"runs": [{"run": run, "attempts": [first, second]}], "events": [event], "more": false});
    let told = tell(&story).unwrap();
    let order = [
        "accepted",
        "placed on cell here: here is the preferred region",
        "placed on cell there again, because cell here has not been heard of",
        "machine m-0 wanted",
        "machine m-0 was given up before the start gate: it was preempted",
        "attempt 1), because the infrastructure lost the one before",
        "machine m-1 passed the start gate",
        "succeeded: Succeeded",
        "1 attempts lost by the infrastructure",
    ];
    let mut rest = told.as_str();
    for wanted in order {
        let at =
            rest.find(wanted).unwrap_or_else(|| panic!("{wanted:?} does not come in its turn in:\n{told}"));
        rest = &rest[at + wanted.len()..];
    }
    assert!(told.contains("full: full") && told.contains("event Started"), "{told}");
}

#[test]
fn an_end_stands_behind_what_was_in_the_same_second() {
    let attempt = json!({
        "id": "a", "cell": "here", "namespace": "default", "run": "one", "run_uid": "u", "retry": 0, "ordinal": 0,
        "pod": "one-pod", "machine": "m", "phase": "done", "epoch": 1,
        "timings": {"placed": 1_200_000, "gate": 1_400_000, "done": 1_900_000},
    });
    let run = json!({
        "metadata": {"name": "one", "creationTimestamp": "1970-01-01T00:00:01Z"},
        "status": {"startTime": "1970-01-01T00:00:01Z", "completionTime": "1970-01-01T00:00:01Z",
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "done"}]},
    });
    let event = json!({"reason": "Started", "message": "", "lastTimestamp": "1970-01-01T00:00:01Z", "involvedObject": {"name": "one"}});
    let told = tell(&json!({"runs": [{"run": run, "attempts": [attempt]}], "events": [event]})).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("accepted") && lines[2].contains("wanted on cell here"), "{told}");
    assert!(lines[lines.len() - 2].contains("event Started"), "{told}");
    assert!(lines[lines.len() - 1].contains("succeeded: Succeeded: done"), "{told}");
}
