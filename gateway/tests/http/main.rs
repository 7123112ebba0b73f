//! The gateway's API over HTTP: its router called as a service, on a store of its own.

mod bad;
mod cells;
mod full;
mod policy;
mod rules;
mod tokens;
mod versions;

use std::sync::Arc;

use axum::body::Body;
use base::host::Host;
use gateway::{Admission, App, Parts};
use http::{Method, Request, Response, StatusCode};
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

const AUDIENCE: &str = "gateway";
const SEED: [u8; 32] = [7; 32];
const RUNS: &str = "/apis/tekton.dev/v1/namespaces/default/taskruns";

/// A gateway with two tenants.
struct Rig {
    app: Arc<App>,
    store: Store,
    router: axum::Router,
    host: Host,
    keys: KeySet,
}

impl Rig {
    async fn new() -> Self {
        let (host, _jobs) = base::real::host();
        let store = Memory::new(host.clock.clone());
        Self::on(store, host).await
    }

    async fn admitting(admission: Admission) -> Self {
        let (host, _jobs) = base::real::host();
        let store = Memory::new(host.clock.clone());
        Self::with(store, host, admission).await
    }

    async fn on(store: Store, host: Host) -> Self {
        Self::with(store, host, Admission::Bare).await
    }

    async fn with(store: Store, host: Host, admission: Admission) -> Self {
        for tenant in ["acme", "globex"] {
            let id = TenantId::parse(tenant).unwrap();
            store::tenant::found(&store, &host, &id, Vec::new()).await.unwrap();
        }
        let keys = KeySet::new(SEED);
        let app = App::new(Parts {
            host: host.clone(),
            tenants: TenantStore::new(store.clone(), host.clone()),
            vault: Arc::new(Vault::new(&[1; 32])),
            keys: keys.clone(),
            audience: AUDIENCE.to_owned(),
            peers: cells::peers("gateway"),
            page_key: [6; 32],
            admin: store::tenant::admin::AdminStore::new(store.clone(), host.clone()),
            admission,
            commits: Arc::default(),
        });
        Self { router: gateway::router(app.clone()), app, store, host, keys }
    }

    fn caller(tenant: &str, role: Role) -> Caller {
        Caller { tenant: TenantId::parse(tenant).unwrap(), user: "somebody".into(), groups: Vec::new(), role }
    }

    fn token(&self, tenant: &str, role: Role) -> String {
        self.keys.issue(&Self::caller(tenant, role), AUDIENCE, self.host.clock.utc().0, 3600).unwrap()
    }

    fn operator(&self) -> String {
        let operator = tenancy::access::Operator { user: "olga".into() };
        let now = self.host.clock.utc().0;
        self.keys.issue_operator(&operator, gateway::authn::OPERATORS, now, 3600).unwrap()
    }

    async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Status and document of an answer; the document is null when it is none.
    async fn ask(
        &self,
        token: &str,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let response = self.raw(request.body(body.into()).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn create(&self, token: &str, path: &str, object: &Value) -> (StatusCode, Value) {
        self.ask(token, Method::POST, path, "application/json", object.to_string()).await
    }

    async fn get(&self, token: &str, path: &str) -> (StatusCode, Value) {
        self.ask(token, Method::GET, path, "", Body::empty()).await
    }
}

fn taskrun(name: &str) -> Value {
    serde_json::json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name},
        "spec": {"taskSpec": {"steps": [{"name": "a", "image": "busybox", "script": "true"}]}},
    })
}
