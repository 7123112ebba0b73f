//! Every route has a rule: the whole table, route by role, beside this file.

use axum::body::Body;
use http::{Method, Request};
use tenancy::access::Role;

use super::Rig;

/// Routes that are about no object.
const PLAIN: [&str; 24] = [
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
    "/statusz",
    "/version",
    "/api",
    "/apis",
    "/api/v1",
    "/apis/tekton.dev",
    "/apis/tekton.dev/v1",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/apis/tekton.dev/v1",
    "/admin/v1/cells",
    "/admin/v1/cells/us-central1",
    "/admin/v1/cells/us-central1/drain",
    "/admin/v1/regions/us-central1/drain",
    "/admin/v1/tenants/acme",
    "/admin/v1/tenants/acme/runs-max",
    "/admin/v1/tenants/acme/runs-max/1",
    "/admin/v1/tenants/acme/rerun-after-loss",
    "/nowhere",
    "/",
];
const OPEN: [&str; 4] = ["/livez", "/readyz", "/healthz", "/metrics"];
const ASKS: [(&str, &str); 6] = [
    ("GET", ""),
    ("GET", "?watch=true&timeoutSeconds=1"),
    ("POST", ""),
    ("PUT", ""),
    ("PATCH", ""),
    ("DELETE", ""),
];
const WHO: [&str; 6] = ["nobody", "viewer", "editor", "admin", "foreign", "operator"];

/// All paths: of every kind that is served, every form, every part.
fn paths() -> Vec<String> {
    let mut out: Vec<String> = PLAIN.iter().map(|p| (*p).to_owned()).collect();
    for kind in apimachinery::kind::all() {
        for version in kind.versions.iter().filter(|v| v.served) {
            let root = match kind.group {
                "" => format!("/api/{}", version.name),
                group => format!("/apis/{group}/{}", version.name),
            };
            out.push(format!("{root}/{}", kind.plural));
            let within = if kind.namespaced() { format!("{root}/namespaces/default") } else { root };
            if kind.namespaced() {
                out.push(format!("{within}/{}", kind.plural));
            }
            out.push(format!("{within}/{}/x", kind.plural));
            out.extend(
                kind.subresources.iter().map(|part| format!("{within}/{}/x/{}", kind.plural, part.name)),
            );
        }
    }
    out
}

/// What the rule says: `401`, `403`, `404` for a tenant that does not exist, or `.` when it lets through.
async fn rule(rig: &Rig, token: &str, method: &str, path: &str, query: &str, foreign: bool) -> String {
    let prefix = if foreign { "/clusters/acme" } else { "" };
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
    request = request.uri(format!("{prefix}{path}{query}"));
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let status = rig.raw(request.body(Body::empty()).unwrap()).await.status().as_u16();
    match status {
        401 | 403 => status.to_string(),
        404 if foreign => status.to_string(),
        _ => ".".to_owned(),
    }
}

async fn table() -> String {
    let rig = Rig::new().await;
    let tokens = [
        String::new(),
        rig.token("acme", Role::Viewer),
        rig.token("acme", Role::Editor),
        rig.token("acme", Role::Admin),
        rig.token("globex", Role::Admin),
        rig.operator(),
    ];
    let mut out = format!("# {}\n", WHO.join(" "));
    for path in paths() {
        for (method, query) in ASKS {
            let mut line = Vec::new();
            for (who, token) in WHO.iter().zip(&tokens) {
                line.push(rule(&rig, token, method, &path, query, *who == "foreign").await);
            }
            let asked = if query.is_empty() { method } else { "WATCH" };
            out.push_str(&format!("{:<24} {asked:<6} {path}\n", line.join(" ")));
        }
    }
    out
}

#[tokio::test]
async fn every_route_has_the_rule_that_is_written_down() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/rules.txt");
    let table = table().await;
    #[allow(clippy::disallowed_methods, reason = "a developer's wish to write the table anew")]
    if std::env::var_os("CELLA_WRITE").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = table.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(
        table == written,
        "the rules differ from tests/http/rules.txt ({differs:?}); if that is meant, CELLA_WRITE=1 writes them anew"
    );
}

#[tokio::test]
async fn the_rules_are_what_was_promised() {
    for line in table().await.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [nobody, viewer, editor, admin, foreign, operator, verb, path] = words[..] else {
            panic!("{line}")
        };
        let open = OPEN.contains(&path);
        if path.starts_with("/admin/") {
            assert_eq!(words[..6], ["401", "401", "401", "401", "404", "."], "for operators alone: {line}");
            continue;
        }
        assert_eq!(operator == "401", !open, "an operator outside the admin API: {line}");
        assert_eq!(nobody == "401", !open, "without a credential: {line}");
        assert_eq!(foreign == "404", !open, "another tenant: {line}");
        assert_eq!(admin, ".", "an admin inside the tenant: {line}");
        let objects =
            path.matches('/').count() > 2 && !path.starts_with("/openapi") && path != "/apis/tekton.dev/v1";
        let reviews = path.contains("k8s.io");
        let reads = verb == "GET" || verb == "WATCH";
        if objects && !reviews {
            let secret = path.contains("/secrets");
            assert_eq!(viewer == ".", reads && !secret, "a viewer: {line}");
        }
        assert!(editor == "." || path.contains("/namespaces"), "an editor: {line}");
    }
}
