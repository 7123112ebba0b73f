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

    use super::*;

    fn contains(body: &[u8], part: &[u8]) -> bool {
        body.windows(part.len()).any(|w| w == part)
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
        span("boot", run, 1_000_000, 2_000_000, &[("run.id", "r1".into())]);
        root_span("taskrun", run, 1_000_000, 3_000_000, &[]);
        tokio::task::spawn_blocking(move || exporter.shutdown()).await.unwrap();
        let all: Vec<u8> = seen.lock().unwrap().concat();
        for part in
            [&b"boot"[..], b"taskrun", b"run.id", &run.trace.to_be_bytes(), &run.span.to_be_bytes(), b"cell"]
        {
            assert!(contains(&all, part), "the collector did not get {part:?}");
        }
    }

    #[tokio::test]
    async fn an_address_that_cannot_work_is_refused_with_an_example() {
        for to in ["", "collector:4318", "https://collector"] {
            let error = otlp::start("cell", to).err().unwrap().to_string();
            assert!(error.contains("http://127.0.0.1:4318"), "{error}");
        }
    }
}
