use super::*;

#[test]
fn times_fall_into_buckets_and_the_text_ends() {
    let counts = Counts::default();
    counts.request("create", "taskruns.tekton.dev", 201, Duration::from_millis(3));
    counts.request("create", "taskruns.tekton.dev", 201, Duration::from_millis(300));
    counts.watches.inc();
    let text = counts.text(&Arc::default());
    let line = |wanted: &str| {
        assert!(text.lines().any(|l| l == wanted), "{wanted} is not in\n{text}");
    };
    line(r#"gateway_requests_total{verb="create",resource="taskruns.tekton.dev",code="201"} 2"#);
    line(r#"gateway_request_seconds_bucket{le="0.0025",verb="create",resource="taskruns.tekton.dev"} 0"#);
    line(r#"gateway_request_seconds_bucket{le="0.005",verb="create",resource="taskruns.tekton.dev"} 1"#);
    line(r#"gateway_request_seconds_bucket{le="0.5",verb="create",resource="taskruns.tekton.dev"} 2"#);
    line("gateway_watches 1");
    assert!(text.ends_with("# EOF\n"));
}
