use super::*;

#[test]
fn traceparents_are_read_and_written() {
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let parsed = Traceparent::parse(text).unwrap();
    assert_eq!(parsed.to_string(), text);
    assert!(parsed.sampled);
}

#[test]
fn what_is_no_traceparent_is_refused() {
    for text in [
        "",
        "00",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-ééééééééééééééééééééééééééééééé-b7ad6b7169203331-01",
    ] {
        assert_eq!(Traceparent::parse(text), None, "{text}");
    }
}

#[cfg(feature = "otlp")]
mod export {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;

    use super::*;

    /// Name, trace, own id, parent's id.
    type Known = (String, Vec<u8>, Vec<u8>, Vec<u8>);

    fn spans(body: &[u8]) -> Vec<Known> {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
        let spans = scopes.flat_map(|s| s.spans);
        spans.map(|s| (s.name, s.trace_id, s.span_id, s.parent_span_id)).collect()
    }

    /// A collector on a socket gets the spans: with their names, the run's trace id and the right parents.
    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_a_collector() {
        let seen: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let sink = seen.clone();
        let router = Router::new().route(
            "/v1/traces",
            post(move |body: Bytes| {
                sink.lock().unwrap().push(body);
                async { "" }
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (host, _jobs) = crate::real::host();
        let (clock, jobs) = (host.clock.clone(), host.jobs.clone());
        host.spawn("collector", async move {
            let _ = crate::serve::plain(listener, router, clock, jobs).await;
        });
        let exporter = otlp::start("cell", &format!("http://{address}")).unwrap();
        let run = Traceparent::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331);
        let own = run.of("2f6b0c4e-8f5a-4d7e-9a3b-1c2d3e4f5a6b");
        span("step", own, 1_500_000, 2_000_000, &[("run.id", "r1".into())]);
        known_span("run", own, Some(run.span), 1_000_000, 3_000_000, &[]);
        known_span("submit", run, None, 900_000, 1_000_000, &[]);
        let unsampled = Traceparent { sampled: false, ..run };
        span("nobody asked for this", unsampled, 1_000_000, 2_000_000, &[]);
        tokio::task::spawn_blocking(move || exporter.shutdown()).await.unwrap();
        let mut all: Vec<Known> = seen.lock().unwrap().iter().flat_map(|body| spans(body)).collect();
        all.sort();
        let names: Vec<_> = all.iter().map(|s| s.0.as_str()).collect();
        assert_eq!(names, ["run", "step", "submit"]);
        assert!(all.iter().all(|s| s.1 == run.trace.to_be_bytes()), "one trace");
        let (the_run, the_step, submit) = (&all[0], &all[1], &all[2]);
        assert_eq!((&submit.2[..], submit.3.is_empty()), (&run.span.to_be_bytes()[..], true));
        assert_eq!((&the_run.2[..], &the_run.3), (&0x9a3b_1c2d_3e4f_5a6b_u64.to_be_bytes()[..], &submit.2));
        assert_eq!(the_step.3, the_run.2);
    }

    #[tokio::test]
    async fn an_address_that_cannot_work_is_refused_with_an_example() {
        for to in ["", "collector:4318", "https://collector"] {
            let error = otlp::start("cell", to).err().unwrap().to_string();
            assert!(error.contains("http://127.0.0.1:4318"), "{error}");
        }
    }
}
