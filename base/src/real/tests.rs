use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::post;
use http::Request;

use super::*;
use crate::host::{Host, NetError};

fn echo() -> Router {
    Router::new().route("/echo", post(|body: String| async move { body }))
}

async fn ask(host: &Host, to: &str) -> Result<String, NetError> {
    let request = Request::post("/echo").body(Body::from("hello")).unwrap();
    let response = host.net.call(to, request).await?;
    Ok(String::from_utf8(to_bytes(response.into_body(), 100).await.unwrap().to_vec()).unwrap())
}

async fn until_answered(host: &Host, to: &str) -> String {
    loop {
        match ask(host, to).await {
            Ok(answer) => return answer,
            Err(_) => host.clock.sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn processes_reach_each_other_over_every_kind_of_address() {
    let (host, _jobs) = host();
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("s").display());
    // A port that was free a moment ago.
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for address in [tcp.as_str(), unix.as_str(), "local:cell"] {
        assert_eq!(ask(&host, address).await, Err(NetError::Refused), "{address}");
        let (serving, at) = (host.net.serve(address, echo()), address.to_owned());
        host.spawn("server", async move { serving.await.unwrap_or_else(|e| panic!("{at}: {e}")) });
        let answer = host.within(Duration::from_secs(5), until_answered(&host, address)).await;
        assert_eq!(answer.as_deref(), Ok("hello"), "{address}");
    }
}

#[tokio::test]
async fn shutdown_cancels_jobs_and_takes_no_new_ones() {
    let jobs = Arc::new(RealJobs::default());
    let (host, _) = host();
    let host = Host { jobs: jobs.clone(), ..host };
    host.spawn("forever", std::future::pending());
    assert_eq!(jobs.running().get("forever"), Some(&1));
    assert!(jobs.shutdown(Duration::from_secs(5)).await.is_empty());
    host.spawn("late", std::future::pending());
    assert!(jobs.running().is_empty());
}

#[tokio::test]
async fn certificates_are_made_once_and_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let first = crate::tls::load_or_make(dir.path(), &names).unwrap();
    let second = crate::tls::load_or_make(dir.path(), &names).unwrap();
    assert_eq!(first.authority_pem, second.authority_pem);
    std::fs::write(dir.path().join("server.pem"), "nonsense").unwrap();
    assert!(crate::tls::load_or_make(dir.path(), &names).is_err());
}

#[tokio::test]
async fn ids_are_uuids_and_differ() {
    let (host, _jobs) = host();
    let (one, other) = (host.uuid(), host.uuid());
    assert_ne!(one, other);
    let lengths: Vec<_> = one.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{one}");
    assert!(one.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{one}");
    assert_eq!(one.as_bytes()[14], b'4', "{one}");
    let bytes = std::array::from_fn(|i| u8::try_from(i * 17).unwrap_or(0));
    assert_eq!(crate::host::uuid_text(bytes), "00112233-4455-6677-8899-aabbccddeeff");
}
