//! A request's way in: limits, credential, route, rule, handler; and what is noted about it.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::options::Params;
use apimachinery::status::Status;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use tenancy::access::{self, Caller, Grant, Resource, Verb};
use tracing::Instrument;

use crate::answer::{self, Outcome, Refused};
use crate::app::App;
use crate::homes::{Homes, Way};
use crate::route::{self, Objects, Route};
use crate::{admin, authn, info, metrics, objects, reviews, watch};

/// The largest body that is taken.
pub const BODY_MAX: usize = 3 * 1024 * 1024;
/// A body must arrive within this time.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// One request that is no watch and no log may take this long.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// A request, when it is known who asks.
pub struct Ask {
    /// Who asks.
    pub caller: Caller,
    /// Its query.
    pub params: Params,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What stood before the path: `/clusters/acme`, or nothing.
    pub prefix: String,
    /// HTTP method.
    pub method: Method,
}

impl Ask {
    /// A header's text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The `Accept` header.
    pub fn accept(&self) -> Option<&str> {
        self.header(header::ACCEPT)
    }

    /// Who writes, for the record.
    pub fn user_agent(&self) -> &str {
        self.header(header::USER_AGENT).unwrap_or("")
    }
}

/// The gateway as a service.
pub fn router(app: Arc<App>) -> Router {
    Router::new().fallback(enter).with_state(Door { app, homes: None })
}

/// A gateway of several Homes as a service. `front` answers what concerns no tenant.
pub fn router_of_homes(front: Arc<App>, homes: Arc<Homes>) -> Router {
    Router::new().fallback(enter).with_state(Door { app: front, homes: Some(homes) })
}

/// What stands behind the router.
#[derive(Clone)]
struct Door {
    app: Arc<App>,
    homes: Option<Arc<Homes>>,
}

async fn enter(State(door): State<Door>, request: Request<Body>) -> Response<Body> {
    let app = &door.app;
    let began = app.host.clock.mono();
    let audit = app.host.uuid();
    let path = request.uri().path().to_owned();
    let (named, rest) = route::tenant_prefix(&path);
    let route = route::parse(rest);
    let (verb, resource) = label(request.method(), &route, request.uri().query().unwrap_or(""));
    let span = tracing::debug_span!("request", verb, resource, audit);
    let outcome = serve(&door, named.map(str::to_owned), route, request).instrument(span).await;
    let mut response = outcome.unwrap_or_else(|status| answer::refusal(&status));
    let headers = response.headers_mut();
    let caching = headers.entry(header::CACHE_CONTROL);
    caching.or_insert(HeaderValue::from_static("no-cache, private"));
    if let Ok(audit) = HeaderValue::from_str(&audit) {
        headers.insert("audit-id", audit);
    }
    app.counts.request(verb, &resource, response.status().as_u16(), app.host.clock.mono().since(began));
    response
}

/// Verb and resource for metrics: words that exist, never what a client made up.
fn label(method: &Method, route: &Route, query: &str) -> (&'static str, String) {
    match route {
        Route::Objects(objects) => {
            let watching = objects.watch_path || Params::parse(query).flag("watch") == Some(true);
            (verb(method, objects, watching).map_or("other", Verb::as_str), objects.kind.id())
        }
        Route::Nowhere | Route::NoPart(..) => ("other", "none".to_owned()),
        _ => ("get", "info".to_owned()),
    }
}

/// The verb that a method means for these objects.
pub fn verb(method: &Method, objects: &Objects, watching: bool) -> Option<Verb> {
    let named = objects.name.is_some();
    Some(match (method.as_str(), named) {
        ("GET" | "HEAD", _) if objects.watch_path => Verb::Watch,
        ("GET" | "HEAD", false) if watching => Verb::Watch,
        ("GET" | "HEAD", false) => Verb::List,
        ("GET" | "HEAD", true) => Verb::Get,
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Update,
        ("PATCH", _) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return None,
    })
}

async fn serve(door: &Door, named: Option<String>, route: Route, request: Request<Body>) -> Outcome {
    let app = &door.app;
    match route {
        Route::Health => return info::health(app).await,
        Route::Metrics => {
            return Ok(answer::bytes(
                StatusCode::OK,
                metrics::CONTENT_TYPE,
                app.counts.text(&app.commits).into_bytes(),
            ));
        }
        Route::Admin(target) if named.is_none() => {
            let work = admin::serve(app, request.method(), request.headers(), &target);
            let timeout = || Box::new(Status::timeout("the request was not done in time", 1));
            return app.host.within(REQUEST_TIME_MAX, work).await.map_err(|_| timeout())?;
        }
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let caller = authn::caller(app, &parts.headers)?;
    // Somebody else's tenant does not exist.
    if named.as_deref().is_some_and(|tenant| tenant != caller.tenant.as_str()) {
        return Err(Box::new(Status::no_such_path()));
    }
    let way = match &door.homes {
        Some(homes) => homes.way(&caller.tenant, &parts.uri).await?,
        None => Way::Here(app.clone()),
    };
    let app = &match way {
        Way::Here(app) => app,
        Way::Elsewhere(outcome) => return outcome,
    };
    let body = read_body(app, body).await?;
    let params = Params::parse(parts.uri.query().unwrap_or(""));
    let prefix = named.map_or_else(String::new, |tenant| format!("/clusters/{tenant}"));
    let ask = Ask { caller, params, headers: parts.headers, body, prefix, method: parts.method };
    match route {
        Route::Objects(target) => of_objects(app, ask, target).await,
        Route::Nowhere => Ok(answer::nowhere()),
        Route::NoPart(kind, name) => Err(Box::new(Status::not_found(kind.group, kind.plural, &name))),
        other if authn::impersonates(&ask.headers) => {
            drop(other);
            Err(Box::new(Status::forbidden("", "users", "", &impersonation(&ask.caller))))
        }
        other => info::serve(app, &ask, &other).await,
    }
}

async fn read_body(app: &App, body: Body) -> Result<Bytes, Refused> {
    let read = app.host.within(BODY_TIME_MAX, Limited::new(body, BODY_MAX).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Box::new(Status::too_large(&format!("limit is {BODY_MAX}"))))
        }
        Ok(Err(_)) => Err(Box::new(Status::bad_request("the body of the request broke off"))),
        Err(_) => Err(Box::new(Status::timeout("the body of the request did not arrive in time", 1))),
    }
}

fn impersonation(caller: &Caller) -> String {
    format!("User {:?} cannot impersonate: impersonation is not supported", caller.user)
}

async fn of_objects(app: &Arc<App>, ask: Ask, target: Objects) -> Outcome {
    let (group, plural) = (target.kind.group, target.kind.plural);
    let watching = ask.params.flag("watch") == Some(true);
    let unsupported = |verb: &str| Box::new(Status::method_not_supported(group, plural, verb));
    let verb = verb(&ask.method, &target, watching).ok_or_else(|| unsupported(""))?;
    if authn::impersonates(&ask.headers) {
        let name = target.name.as_deref().unwrap_or("");
        return Err(Box::new(Status::forbidden(group, plural, name, &impersonation(&ask.caller))));
    }
    if group.ends_with(".k8s.io") && target.kind.has_verb("create") && !target.kind.has_verb("get") {
        return reviews::serve(&ask, &target, verb);
    }
    let grant = grant(&ask.caller, verb, &target)?;
    let verbs = match target.subresource.as_deref().and_then(|part| target.kind.subresource(part)) {
        Some(part) => part.verbs,
        None => target.kind.verbs,
    };
    if !verbs.contains(&verb.as_str()) {
        return Err(unsupported(verb.as_str()));
    }
    if verb == Verb::Create && target.kind.namespaced() && target.namespace.is_none() {
        return Ok(answer::nowhere());
    }
    if target.name.is_none() && matches!(verb, Verb::Update | Verb::Patch) {
        return Err(Box::new(Status::bad_request("name must be provided")));
    }
    match (verb, target.subresource.as_deref()) {
        (Verb::Get, Some("log")) => return crate::logs::serve(app, &grant, &ask, &target).await,
        (Verb::Watch, _) => return watch::serve(app, grant, &ask, &target).await,
        _ => {}
    }
    let work = objects::serve(app, &grant, &ask, &target, verb);
    let timeout = || Box::new(Status::timeout("the request was not done in time", 1));
    app.host.within(REQUEST_TIME_MAX, work).await.map_err(|_| timeout())?
}

/// Proof that the caller may do this, or 403.
///
/// # Errors
/// 403 in the words that clients look for.
pub fn grant(caller: &Caller, verb: Verb, target: &Objects) -> Result<Grant, Refused> {
    let resource = Resource {
        group: target.kind.group.to_owned(),
        plural: target.kind.plural.to_owned(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    };
    access::decide(caller, verb, resource).map_err(|denied| {
        let full = match &target.subresource {
            Some(sub) => format!("{}/{sub}", target.kind.plural),
            None => target.kind.plural.to_owned(),
        };
        let mut what = format!(
            "User {:?} cannot {} resource {full:?} in API group {:?}",
            denied.user,
            verb.as_str(),
            target.kind.group
        );
        match &target.namespace {
            Some(namespace) => what.push_str(&format!(" in the namespace {namespace:?}")),
            None => what.push_str(" at the cluster scope"),
        }
        let name = target.name.as_deref().unwrap_or("");
        Box::new(Status::forbidden(target.kind.group, target.kind.plural, name, &what))
    })
}
