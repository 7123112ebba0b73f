use axum::Router;
use axum::extract::Query;
use axum::http::HeaderMap as Headers;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get};
use std::collections::BTreeMap;

use super::*;
use crate::fetch::basic;

/// A web server on this host; gives its address.
async fn serve(host: &Host, router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (clock, jobs) = (host.clock.clone(), host.jobs.clone());
    host.spawn("server", async move { base::serve::plain(listener, router, clock, jobs).await.unwrap() });
    address
}

fn outbound(host: &Host, allow: &[&str]) -> Outbound {
    let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
    Outbound::new(host.clone(), Egress { allow, ..Egress::default() }, &[])
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

async fn to(Query(query): Query<BTreeMap<String, String>>) -> Redirect {
    Redirect::temporary(&query["to"])
}

async fn shown(headers: Headers) -> String {
    format!("{:?}", headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()))
}

fn router() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/big", get(|| async { vec![b'x'; 100_000] }))
        .route("/to", any(to))
        .route("/shown", any(shown))
        .route("/echo", any(|body: String| async move { body }))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND.into_response() }))
        .route("/round", get(|| async { Redirect::temporary("/round") }))
}

#[tokio::test]
async fn nothing_is_reached_that_is_not_public_or_allowed() {
    let (host, _jobs) = base::real::host();
    let at = serve(&host, router()).await;
    let port = at.rsplit_once(':').unwrap().1;
    for name in [
        at.clone(),
        format!("localhost:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("2130706433:{port}"),
    ] {
        let asked = Request::get(url(&format!("http://{name}/hello")), 100);
        let refused = outbound(&host, &[]).fetch(asked.clone()).await.unwrap_err();
        let FetchError::Forbidden(why) = &refused else { panic!("{name}: {refused:?}") };
        assert!(why.contains("a loopback address (127.0.0.1)") || why.contains("(::1)"), "{why}");
        assert!(why.contains("--egress-allow"), "{why}");
        if !name.starts_with("localhost") {
            let answer = outbound(&host, &[&at]).fetch(asked).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]), "{name}");
        }
    }
    // Where nobody may go, nobody has been: not even the port's silence is told.
    let dead = Request::get(url("http://127.0.0.1:1/"), 100);
    assert!(matches!(outbound(&host, &[]).fetch(dead.clone()).await, Err(FetchError::Forbidden(_))));
    assert!(matches!(outbound(&host, &["127.0.0.1"]).fetch(dead).await, Err(FetchError::Unreachable(_))));
    let metadata = Request::get(url("http://169.254.169.254/computeMetadata/v1/"), 100);
    assert!(matches!(outbound(&host, &[]).fetch(metadata).await, Err(FetchError::Forbidden(_))));
    for scheme in ["file:///etc/passwd", "ftp://127.0.0.1/x"] {
        let refused = outbound(&host, &["127.0.0.1"]).fetch(Request::get(url(scheme), 100)).await;
        assert!(matches!(refused, Err(FetchError::Forbidden(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn redirects_are_checked_like_requests() {
    let (host, _jobs) = base::real::host();
    let (at, other) = (serve(&host, router()).await, serve(&host, router()).await);
    let get = async |allow: &[&str], path: String| {
        let asked = Request::get(url(&format!("http://{at}{path}")), 1000);
        outbound(&host, allow).fetch(asked.authorization(basic("u", "p"))).await
    };
    let answer = get(&[&at], "/to?to=/hello".into()).await.unwrap();
    assert_eq!((&answer.body[..], answer.url.path()), (&b"hello"[..], "/hello"));
    // A server that is let in may not send us where we are not let.
    for to in [format!("http://{other}/hello"), "http://169.254.169.254/".into(), "file:///etc/passwd".into()]
    {
        let refused = get(&[&at], format!("/to?to={to}")).await;
        assert!(matches!(refused, Err(FetchError::Forbidden(_))), "{to}: {refused:?}");
    }
    assert_eq!(get(&[&at], "/round".into()).await.unwrap_err(), FetchError::Redirects);
    // Credentials are for the server that they were given for.
    let own = get(&[&at, &other], "/to?to=/shown".into()).await.unwrap();
    assert!(String::from_utf8_lossy(&own.body).contains("Basic"), "{own:?}");
    let foreign = get(&[&at, &other], format!("/to?to=http://{other}/shown")).await.unwrap();
    assert_eq!(&foreign.body[..], b"None");
    let back = get(&[&at, &other], format!("/to?to=http://{other}/to?to=http://{at}/shown")).await.unwrap();
    assert!(String::from_utf8_lossy(&back.body).contains("Basic"), "{back:?}");
}

#[tokio::test]
async fn answers_are_taken_up_to_their_limit() {
    let (host, _jobs) = base::real::host();
    let at = serve(&host, router()).await;
    let get = async |path: &str, limit: usize| {
        outbound(&host, &[&at]).fetch(Request::get(url(&format!("http://{at}{path}")), limit)).await
    };
    assert_eq!(get("/big", 99_999).await.unwrap_err(), FetchError::TooLarge(99_999));
    assert_eq!(get("/big", 100_000).await.unwrap().body.len(), 100_000);
    assert_eq!(get("/gone", 10).await.unwrap().status, 404);
}

#[tokio::test]
async fn bodies_are_sent_and_credentials_of_a_url_are_basic_ones() {
    let (host, _jobs) = base::real::host();
    let at = serve(&host, router()).await;
    let mut request = Request::get(url(&format!("http://{at}/to?to=/echo")), 100);
    (request.method, request.body) = (Method::POST, Bytes::from_static(b"body"));
    assert_eq!(&outbound(&host, &[&at]).fetch(request).await.unwrap().body[..], b"body");
    let request = Request::get(url(&format!("http://u%40x:p@{at}/shown")), 100);
    assert!(request.url.username().is_empty());
    let answer = outbound(&host, &[&at]).fetch(request).await.unwrap();
    assert_eq!(&answer.body[..], b"Some(\"Basic dUB4OnA=\")");
}

#[tokio::test]
async fn servers_on_https_are_trusted_by_the_authorities_that_were_named() {
    let (host, _jobs) = base::real::host();
    let dir = tempfile::tempdir().unwrap();
    let made =
        base::tls::load_or_make(dir.path(), &["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (clock, jobs) = (host.clock.clone(), std::sync::Arc::new(base::real::RealJobs::default()));
    host.spawn("server", async move {
        base::serve::https(listener, made.server, router(), clock, jobs).await.unwrap()
    });
    let asked = Request::get(url(&format!("https://{at}/hello")), 100);
    let allow = Egress { allow: vec!["127.0.0.1".parse().unwrap()], ..Egress::default() };
    let stranger = Outbound::new(host.clone(), allow.clone(), &[]).fetch(asked.clone()).await.unwrap_err();
    assert!(stranger.to_string().contains("tls:"), "{stranger}");
    let pem = rustls::pki_types::pem::PemObject::from_pem_slice(made.authority_pem.as_bytes()).unwrap();
    let answer = Outbound::new(host.clone(), allow, &[pem]).fetch(asked).await.unwrap();
    assert_eq!(&answer.body[..], b"hello");
    // From there to the clear is no way.
    let down = Request::get(url(&format!("https://{at}/to?to=http://{at}/hello")), 100);
    let pem = rustls::pki_types::pem::PemObject::from_pem_slice(made.authority_pem.as_bytes()).unwrap();
    let allow = Egress { allow: vec!["127.0.0.1".parse().unwrap()], ..Egress::default() };
    let refused = Outbound::new(host.clone(), allow, &[pem]).fetch(down).await.unwrap_err();
    assert!(refused.to_string().contains("from https to http"), "{refused}");
}

#[tokio::test]
async fn a_name_that_is_pinned_leads_where_the_operator_says() {
    let (host, _jobs) = base::real::host();
    let at = serve(&host, router()).await;
    let port = at.rsplit_once(':').unwrap().1;
    let pins = BTreeMap::from([("git.example".to_owned(), "127.0.0.1".parse().unwrap())]);
    let outbound = Outbound::new(host, Egress { pins, ..Egress::default() }, &[]);
    let asked = Request::get(url(&format!("http://Git.Example:{port}/hello")), 100);
    assert_eq!(&outbound.fetch(asked).await.unwrap().body[..], b"hello");
    // The address itself is no more open than before.
    let straight = Request::get(url(&format!("http://{at}/hello")), 100);
    assert!(matches!(outbound.fetch(straight).await, Err(FetchError::Forbidden(_))));
}
