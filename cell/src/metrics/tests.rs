use serde_json::json;

use super::*;

#[test]
fn a_run_that_ended_is_counted_with_its_parts() {
    let metrics = Metrics::default();
    let timings = json!({"queued": 1_000_000, "placed": 1_020_000, "gate": 1_500_000, "done": 1_400_000});
    metrics.run_ended(&json!({
        "kind": "TaskRun",
        "metadata": {"annotations": {TIMINGS: timings.to_string()}},
        "status": {"conditions": [{"type": "Succeeded", "status": "True"}]},
    }));
    metrics.pass(true);
    let text = metrics.text(3, 1, 0);
    for wanted in [
        r#"cell_runs_ended_total{kind="TaskRun",outcome="succeeded"} 1"#,
        r#"cell_taskrun_part_seconds_bucket{le="0.01",until="placed"} 0"#,
        r#"cell_taskrun_part_seconds_bucket{le="0.025",until="placed"} 1"#,
        r#"cell_taskrun_part_seconds_bucket{le="0.5",until="gate"} 1"#,
        r#"cell_taskrun_part_seconds_sum{until="done"} 0.0"#,
        r#"cell_passes_total{outcome="written"} 1"#,
        "cell_machines 3",
    ] {
        assert!(text.lines().any(|l| l == wanted), "{wanted} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
