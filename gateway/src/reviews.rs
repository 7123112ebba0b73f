//! Questions about oneself: who am I, may I, what may I. Answered by the very rules that enforce.

use apimachinery::decode;
use apimachinery::status::Status;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tenancy::access::{self, Caller, Resource, Verb};

use crate::answer::{self, Outcome, Refused};
use crate::entry::Ask;
use crate::route::Objects;

/// Answers a review.
///
/// # Errors
/// A Status.
pub fn serve(ask: &Ask, target: &Objects, verb: Verb) -> Outcome {
    if verb != Verb::Create || target.name.is_some() {
        return Err(Box::new(Status::method_not_supported(
            target.kind.group,
            target.kind.plural,
            verb.as_str(),
        )));
    }
    let body = decode::object(target.kind, ask.header(header::CONTENT_TYPE), &ask.body)?.value;
    let spec = &body["spec"];
    let status = match target.kind.kind {
        "SelfSubjectReview" => json!({"userInfo": user_info(&ask.caller)}),
        "SelfSubjectAccessReview" => may(&ask.caller, spec),
        "SelfSubjectRulesReview" => rules(&ask.caller),
        other => {
            let what = format!("User {:?} cannot ask about others", ask.caller.user);
            let _ = other;
            return Err(Box::new(Status::forbidden(target.kind.group, target.kind.plural, "", &what)));
        }
    };
    let answer = json!({
        "apiVersion": target.kind.api_version(target.version.name),
        "kind": target.kind.kind,
        "metadata": {"creationTimestamp": null},
        "spec": spec,
        "status": status,
    });
    Ok(answer::json(StatusCode::CREATED, &answer))
}

fn user_info(caller: &Caller) -> Value {
    let mut groups = caller.groups.clone();
    groups.push("system:authenticated".into());
    json!({"username": caller.user, "groups": groups})
}

fn may(caller: &Caller, spec: &Value) -> Value {
    let text = |key: &str| spec["resourceAttributes"][key].as_str().unwrap_or("").to_owned();
    if spec["resourceAttributes"].is_null() {
        // Paths that are no resources (discovery, health) are open to whoever is known.
        let verb = spec["nonResourceAttributes"]["verb"].as_str().unwrap_or("");
        return json!({"allowed": verb == "get"});
    }
    let word = text("verb");
    let wanted: Vec<Verb> = match word.as_str() {
        "*" => Verb::ALL.to_vec(),
        word => Verb::ALL.into_iter().filter(|v| v.as_str() == word).collect(),
    };
    let some = |text: String| (!text.is_empty()).then_some(text);
    let resource = Resource {
        group: text("group"),
        plural: text("resource"),
        subresource: some(text("subresource")),
        namespace: some(text("namespace")),
        name: some(text("name")),
    };
    let allowed =
        !wanted.is_empty() && wanted.into_iter().all(|v| access::decide(caller, v, resource.clone()).is_ok());
    json!({"allowed": allowed})
}

fn rules(caller: &Caller) -> Value {
    let mut rules = Vec::new();
    for kind in apimachinery::kind::all().filter(|k| k.served()) {
        let resource = Resource {
            group: kind.group.to_owned(),
            plural: kind.plural.to_owned(),
            subresource: None,
            namespace: None,
            name: None,
        };
        let verbs: Vec<_> = Verb::ALL
            .into_iter()
            .filter(|v| kind.has_verb(v.as_str()) && access::decide(caller, *v, resource.clone()).is_ok())
            .map(Verb::as_str)
            .collect();
        if !verbs.is_empty() {
            rules.push(json!({"verbs": verbs, "apiGroups": [kind.group], "resources": [kind.plural]}));
        }
    }
    json!({
        "resourceRules": rules,
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"]}],
        "incomplete": false,
    })
}

/// A body that must be there.
pub fn body_or(ask: &Ask) -> Result<(), Refused> {
    if ask.body.is_empty() { Err(Box::new(Status::bad_request("the request has no body"))) } else { Ok(()) }
}
