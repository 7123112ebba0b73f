//! One scenario, played step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use base::host::Host;
use futures_util::StreamExt;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use serde_json::Value;
use store::backend::Store;
use store::memory::Memory;
use store::tenant::TenantStore;
use store::vault::Vault;
use tenancy::access::{Caller, Role};
use tenancy::id::TenantId;
use tenancy::token::KeySet;
use tower::ServiceExt;

use super::bindings::Bindings;
use super::compare::Comparison;
use crate::{Admission, App, Parts};

const AUDIENCE: &str = "golden";
const EVENTS_MAX: Duration = Duration::from_secs(15);
const SETTLE: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_millis(400);

struct Player {
    router: Router,
    store: Store,
    host: Host,
    bindings: Bindings,
    exact: bool,
    tokens: BTreeMap<&'static str, String>,
}

/// Plays a scenario against a gateway of its own.
///
/// # Errors
/// Names the first step whose answer differs, and how.
pub async fn play(scenario: &Value, host: &Host) -> Result<(), String> {
    let mut player = Player::new(scenario, host).await?;
    for step in scenario["steps"].as_array().into_iter().flatten() {
        player.step(step).await.map_err(|why| format!("{}: {why}", step["id"].as_str().unwrap_or("?")))?;
    }
    Ok(())
}

impl Player {
    async fn new(scenario: &Value, host: &Host) -> Result<Self, String> {
        let store: Store = Memory::new(host.clock.clone());
        let keys = KeySet::new([7; 32]);
        let tenant = TenantId::parse("golden").map_err(|e| e.to_string())?;
        store::tenant::found(&store, host, &tenant, Vec::new()).await.map_err(|e| e.to_string())?;
        let mut tokens = BTreeMap::from([("bad", "nonsense".to_owned())]);
        for (name, role) in [("", Role::Admin), ("reader", Role::Viewer)] {
            let user = if name.is_empty() { "golden-client" } else { "golden-reader" };
            let caller = Caller { tenant: tenant.clone(), user: user.into(), groups: Vec::new(), role };
            let token = keys.issue(&caller, AUDIENCE, host.clock.utc().0, 3600);
            tokens.insert(name, token.map_err(|e| e.to_string())?);
        }
        let app = App::new(Parts {
            host: host.clone(),
            tenants: TenantStore::new(store.clone(), host.clone()),
            vault: Arc::new(Vault::new(&[1; 32])),
            keys,
            audience: AUDIENCE.to_owned(),
            peers: tenancy::peer::found([], || [5; 32])
                .ok()
                .and_then(|mut all| all.remove(&tenancy::peer::Peer::Gateway))
                .ok_or("no key")?,
            page_key: [6; 32],
            admin: store::tenant::admin::AdminStore::new(store.clone(), host.clone()),
            admission: Admission::Bare,
            commits: Arc::default(),
        });
        let mut known = BTreeMap::new();
        for placeholder in scenario["namespaces"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            known.insert(placeholder.to_owned(), format!("golden-{placeholder}"));
        }
        let vars = scenario["vars"].as_object().into_iter().flatten();
        let patterns = vars.map(|(k, v)| (k.clone(), v["pattern"].as_str().unwrap_or("").to_owned()));
        let exact = scenario["times"] == "exact";
        let bindings = Bindings::new(known.clone(), patterns.collect(), exact);
        let player = Self { router: crate::router(app), store, host: host.clone(), bindings, exact, tokens };
        for namespace in known.values() {
            let body =
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let request = serde_json::json!({"method": "POST", "path": "/api/v1/namespaces", "body": body});
            let response = player.send(&request).await?;
            if response.status() != 201 {
                return Err(format!("namespace {namespace} cannot be made: {}", response.status()));
            }
        }
        Ok(player)
    }

    async fn step(&mut self, step: &Value) -> Result<(), String> {
        if let Some(ms) = step["sleep_ms"].as_u64() {
            self.host.clock.sleep(Duration::from_millis(ms)).await;
            return Ok(());
        }
        if step["action"] == "compact" {
            return self.store.trim(self.host.clock.utc().0).await.map_err(|e| e.to_string());
        }
        if step["watch"].is_object() {
            return self.watch(&step["watch"]).await;
        }
        let response = self.send(&step["request"]).await?;
        self.check(&step["response"], response).await
    }

    async fn send(&self, request: &Value) -> Result<Response<Body>, String> {
        let fill = |value: &Value| self.bindings.fill(value.as_str().unwrap_or(""), str::to_owned);
        let path = self.bindings.fill(request["path"].as_str().unwrap_or(""), escaped);
        let mut builder = Request::builder().method(request["method"].as_str().unwrap_or("GET")).uri(path);
        let headers = request["headers"].as_object().cloned().unwrap_or_default();
        for (name, value) in &headers {
            builder = builder.header(name, fill(value));
        }
        if !headers.keys().any(|name| name.eq_ignore_ascii_case("user-agent")) {
            builder = builder.header(header::USER_AGENT, "golden-client/1.0 (test)");
        }
        let auth = request["auth"].as_str().unwrap_or("");
        if auth != "none" {
            let token = self.tokens.get(auth).ok_or("an unknown kind of credential")?;
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = builder.body(Body::from(self.body(request))).map_err(|e| e.to_string())?;
        self.router.clone().oneshot(request).await.map_err(|e| e.to_string())
    }

    fn body(&self, request: &Value) -> Vec<u8> {
        if let Some(body) = request.get("body") {
            return filled(&self.bindings, body).to_string().into_bytes();
        }
        if let Some(text) = request["body_text"].as_str() {
            return self.bindings.fill(text, str::to_owned).into_bytes();
        }
        if let Some(fill) = request["body_fill"].as_object() {
            let text = |key: &str| fill.get(key).and_then(Value::as_str).unwrap_or("");
            let count = fill.get("count").and_then(Value::as_u64).unwrap_or(0);
            let middle = text("repeat").repeat(usize::try_from(count).unwrap_or(0));
            return format!("{}{middle}{}", text("prefix"), text("suffix")).into_bytes();
        }
        let hex = request["body_hex"].as_str().unwrap_or("").as_bytes();
        hex.chunks(2).filter_map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok()).collect()
    }

    async fn check(&mut self, expected: &Value, response: Response<Body>) -> Result<(), String> {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        let code = parts.status.as_u16();
        let shown = || String::from_utf8_lossy(&body).chars().take(400).collect::<String>();
        if expected["status"] != code {
            if expected["status_alt"].as_array().is_some_and(|alt| alt.iter().any(|c| *c == code)) {
                let value: Value = serde_json::from_slice(&body).unwrap_or_default();
                return if value["kind"] == "Status" { Ok(()) } else { Err("no Status".into()) };
            }
            return Err(format!("expected {}, got {code}: {}", expected["status"], shown()));
        }
        let advisory: Vec<&str> =
            expected["advisory"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.check_headers(&expected["headers"], &parts.headers)?;
        check_warnings(&expected["warnings"], &parts.headers, advisory.contains(&"warnings"))?;
        if let Some(text) = expected["body_text"].as_str() {
            let found = String::from_utf8_lossy(&body);
            return if self.bindings.text(text, &found) { Ok(()) } else { Err(format!("body: {}", shown())) };
        }
        if expected.get("body").is_none() && expected.get("parts").is_none() {
            return Ok(());
        }
        let found = parse(&body, &parts.headers).ok_or_else(|| format!("no JSON: {}", shown()))?;
        let mut comparison = Comparison::new(&mut self.bindings, self.exact);
        if let Some(wanted) = expected.get("body") {
            comparison.document(wanted, &found, &advisory)?;
        }
        comparison.parts(expected["parts"].as_array().map_or(&[], Vec::as_slice), &found)?;
        self.bindings.check_order()
    }

    fn check_headers(&mut self, expected: &Value, found: &http::HeaderMap) -> Result<(), String> {
        for (name, wanted) in expected.as_object().into_iter().flatten() {
            let value = found.get(name).and_then(|v| v.to_str().ok());
            match (wanted.as_str(), value) {
                (None, None) => {}
                (Some(wanted), Some(value)) => {
                    let plain = |text: &str| text.replace("; ", ";");
                    if !self.bindings.text(&plain(wanted), &plain(value)) {
                        return Err(format!("header {name}: expected {wanted:?}, got {value:?}"));
                    }
                }
                (wanted, value) => return Err(format!("header {name}: expected {wanted:?}, got {value:?}")),
            }
        }
        Ok(())
    }

    async fn watch(&mut self, watch: &Value) -> Result<(), String> {
        let response = self.send(&watch["request"]).await?;
        let (expected, events) =
            (&watch["response"], watch["events"].as_array().cloned().unwrap_or_default());
        if expected["status"] != response.status().as_u16() {
            return Err(format!("expected {}, got {}", expected["status"], response.status()));
        }
        self.check_headers(&expected["headers"], response.headers())?;
        let path = watch["request"]["path"].as_str().unwrap_or("");
        let mut stream = Stream {
            body: response.into_body().into_data_stream(),
            rest: Vec::new(),
            drops: path.contains("allowWatchBookmarks=true") && watch["bookmarks"] != true,
            dropped: 0,
        };
        let initial = usize::try_from(watch["initial"].as_u64().unwrap_or(0)).unwrap_or(0);
        let within = Duration::from_secs(watch["max_s"].as_u64().unwrap_or(EVENTS_MAX.as_secs()));
        let mut first = stream.take(&self.host, initial, within).await?;
        sort_events(&mut first);
        let (wanted_first, wanted_then) = events.split_at(initial.min(events.len()));
        let mut wanted_first = wanted_first.to_vec();
        sort_events(&mut wanted_first);
        self.compare_events(&wanted_first, &first)?;
        if let Some(during) = watch["during"].as_array() {
            self.host.clock.sleep(SETTLE).await;
            for step in during {
                let answered = Box::pin(self.step(step)).await;
                answered.map_err(|why| format!("{}: {why}", step["id"].as_str().unwrap_or("?")))?;
            }
        }
        let then = stream.take(&self.host, wanted_then.len(), within).await?;
        self.compare_events(wanted_then, &then)?;
        stream.end(&self.host, watch["end"] == "eof", within).await?;
        match watch["min_bookmarks"].as_u64() {
            Some(least) if stream.dropped < least => Err(format!("only {} bookmarks", stream.dropped)),
            _ => Ok(()),
        }
    }
}

impl Player {
    fn compare_events(&mut self, wanted: &[Value], found: &[Value]) -> Result<(), String> {
        for (n, (wanted, found)) in wanted.iter().zip(found).enumerate() {
            let mut comparison = Comparison::new(&mut self.bindings, self.exact);
            comparison.document(wanted, found, &[]).map_err(|why| format!("event {n}: {why}"))?;
        }
        self.bindings.check_order()
    }
}

/// Events of a watch.
struct Stream {
    body: BodyDataStream,
    rest: Vec<u8>,
    drops: bool,
    dropped: u64,
}

impl Stream {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Result<Option<Value>, String> {
        loop {
            if let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event: Value =
                    serde_json::from_slice(&line).map_err(|e| format!("a broken line: {e}"))?;
                let object = &event["object"];
                let row = &object["rows"][0]["object"];
                let annotated = [object, row].iter().any(|o| !o["metadata"]["annotations"].is_null());
                if self.drops && event["type"] == "BOOKMARK" && !annotated {
                    self.dropped += 1;
                    continue;
                }
                return Ok(Some(event));
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.rest.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(error.to_string()),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err("the stream ends in the middle of a line".into()),
            }
        }
    }

    async fn take(&mut self, host: &Host, count: usize, within: Duration) -> Result<Vec<Value>, String> {
        let mut out = Vec::new();
        while out.len() < count {
            match host.within(within, self.next()).await {
                Ok(Ok(Some(event))) => out.push(event),
                Ok(Ok(None)) => return Err(format!("the stream ended after {} events", out.len())),
                Ok(Err(why)) => return Err(why),
                Err(_) => return Err(format!("only {} of {count} events came: {out:?}", out.len())),
            }
        }
        Ok(out)
    }

    async fn end(&mut self, host: &Host, eof: bool, within: Duration) -> Result<(), String> {
        let wait = if eof { within } else { QUIET };
        match (host.within(wait, self.next()).await, eof) {
            (Ok(Ok(None)), true) | (Err(_), false) => Ok(()),
            (Ok(Ok(None)), false) => Err("the stream has ended".into()),
            (Ok(Ok(Some(event))), _) => Err(format!("one more event: {event}")),
            (Ok(Err(why)), _) => Err(why),
            (Err(_), true) => Err("the stream has not ended".into()),
        }
    }
}

fn sort_events(events: &mut [Value]) {
    events.sort_by_key(|event| {
        let object = &event["object"];
        let row = &object["rows"][0]["object"]["metadata"];
        let meta = if row.is_null() { &object["metadata"] } else { row };
        let text = |key: &str| meta[key].as_str().unwrap_or("").to_owned();
        (event["type"] == "BOOKMARK", text("namespace"), text("name"))
    });
}

fn check_warnings(expected: &Value, headers: &http::HeaderMap, only_count: bool) -> Result<(), String> {
    let found: Vec<_> =
        headers.get_all(header::WARNING).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    let wanted = expected.as_array().cloned().unwrap_or_default();
    let same = wanted.len() == found.len()
        && (only_count || wanted.iter().zip(&found).all(|(wanted, found)| *wanted == **found));
    if same { Ok(()) } else { Err(format!("expected warnings {wanted:?}, got {found:?}")) }
}

fn parse(body: &[u8], headers: &http::HeaderMap) -> Option<Value> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if kind.contains("yaml") {
        return serde_yaml_ng::from_slice(body).ok();
    }
    serde_json::from_slice(body).ok()
}

fn filled(bindings: &Bindings, value: &Value) -> Value {
    match value {
        Value::String(text) => bindings.fill(text, str::to_owned).into(),
        Value::Array(list) => list.iter().map(|v| filled(bindings, v)).collect(),
        Value::Object(map) => {
            map.iter().map(|(k, v)| (bindings.fill(k, str::to_owned), filled(bindings, v))).collect()
        }
        other => other.clone(),
    }
}

/// As it may stand in a path.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (b as char).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
