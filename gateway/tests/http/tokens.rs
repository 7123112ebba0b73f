//! Credentials that are not believed, and tenants that do not exist for others.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tenancy::access::Role;
use tenancy::token::KeySet;

use super::{AUDIENCE, RUNS, Rig, SEED, taskrun};

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A token signed with the gateway's own key.
fn signed(header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let key = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes())))
}

fn with(mut value: Value, member: &str, new: Value) -> Value {
    value[member] = new;
    value
}

#[tokio::test]
async fn a_bad_credential_is_401_and_no_more_is_said() {
    let rig = Rig::new().await;
    let good = rig.token("acme", Role::Admin);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    assert_eq!(
        rig.get(&signed(&header, &claims), RUNS).await.0,
        StatusCode::OK,
        "what is signed here is believed"
    );
    let now = rig.host.clock.utc().0;
    let caller = Rig::caller("acme", Role::Admin);
    let seconds = now / 1_000_000;
    let public = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let hs256 = {
        let text = format!("{}.{}", part(&with(header.clone(), "alg", json!("HS256"))), parts[1]);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.public_key().as_ref());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes())))
    };
    let bad: Vec<(&str, String)> = vec![
        ("none at all", String::new()),
        ("garbage", "garbage".into()),
        ("three empty parts", "..".into()),
        ("another key", KeySet::new([8; 32]).issue(&caller, AUDIENCE, now, 3600).unwrap()),
        ("expired", rig.keys.issue(&caller, AUDIENCE, now - 7_200_000_000, 3600).unwrap()),
        ("not yet valid", signed(&header, &with(claims.clone(), "nbf", json!(seconds + 3600)))),
        ("another audience", rig.keys.issue(&caller, "another", now, 3600).unwrap()),
        ("no audience", signed(&header, &with(claims.clone(), "aud", Value::Null))),
        ("another issuer", signed(&header, &with(claims.clone(), "iss", json!("somebody else")))),
        ("no expiry", signed(&header, &with(claims.clone(), "exp", Value::Null))),
        ("unknown key id", signed(&with(header.clone(), "kid", json!("unknown")), &claims)),
        ("no key id", signed(&with(header.clone(), "kid", Value::Null), &claims)),
        ("a tenant that is no name", signed(&header, &with(claims.clone(), "tenant", json!("../globex")))),
        ("a role that is none", signed(&header, &with(claims.clone(), "role", json!("root")))),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{}.{}.", part(&with(header.clone(), "alg", json!("none"))), parts[1])),
        ("the public key as a shared secret", hs256),
        (
            "a changed claim",
            format!("{}.{}.{}", parts[0], part(&with(claims.clone(), "tenant", json!("globex"))), parts[2]),
        ),
        ("very long", "a".repeat(100_000)),
    ];
    let mut said = None;
    for (what, token) in bad {
        let (status, body) = rig.get(&token, RUNS).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!((&body["kind"], &body["reason"]), (&json!("Status"), &json!("Unauthorized")), "{what}");
        // Word for word the same: nothing tells one from another.
        assert_eq!(said.get_or_insert(body.clone()), &body, "{what}");
    }
    let basic = http::Request::get(RUNS)
        .header("authorization", format!("Basic {good}"))
        .body(Body::empty())
        .unwrap();
    assert_eq!(rig.raw(basic).await.status(), StatusCode::UNAUTHORIZED, "another scheme");
}

#[tokio::test]
async fn another_tenants_objects_are_not_there() {
    let rig = Rig::new().await;
    let (acme, globex) = (rig.token("acme", Role::Admin), rig.token("globex", Role::Admin));
    let (status, made) = rig.create(&acme, RUNS, &taskrun("mine")).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let json = "application/json";
    for path in [format!("{RUNS}/mine"), format!("/clusters/acme{RUNS}/mine")] {
        for (method, kind, body) in [
            (Method::GET, "", String::new()),
            (Method::PUT, json, made.to_string()),
            (
                Method::PATCH,
                "application/merge-patch+json",
                "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}".into(),
            ),
            (Method::DELETE, "", String::new()),
        ] {
            let (status, body) = rig.ask(&globex, method.clone(), &path, kind, body).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {body}");
            assert!(!body.to_string().contains("acme"), "{method} {path} names the tenant: {body}");
        }
    }
    let list = rig.get(&globex, "/apis/tekton.dev/v1/taskruns").await.1;
    assert_eq!(list["items"], json!([]));
    let (_, still) = rig.get(&acme, &format!("/clusters/acme{RUNS}/mine")).await;
    assert_eq!(still["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    // Its own tenant may be named.
    assert_eq!(rig.get(&globex, &format!("/clusters/globex{RUNS}")).await.0, StatusCode::OK);
}
