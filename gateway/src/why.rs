//! `/apis/cella.dev/v1/namespaces/NS/runs/NAME/why`: what is stored about a run, for `cella why`. Read-only, under the
//! same rule as reading the run itself.

use std::sync::Arc;

use apimachinery::status::Status;
use http::StatusCode;
use serde_json::{Value, json};
use store::records::attempt::Attempt;
use tenancy::access::{self, Resource, Verb};

use crate::answer::{self, Outcome};
use crate::app::App;
use crate::entry::Ask;

/// Kinds of run, in the order in which a name is looked for.
const KINDS: [&str; 2] = ["taskruns", "pipelineruns"];

/// Answers what is stored about the run. Parameter `kind` says which kind is meant, where both have the name.
///
/// # Errors
/// A Status.
pub async fn serve(app: &Arc<App>, ask: &Ask, namespace: &str, name: &str) -> Outcome {
    let asked = ask.params.get("kind");
    for plural in KINDS.into_iter().filter(|plural| asked.is_none_or(|kind| kind == *plural)) {
        let resource = Resource {
            group: "tekton.dev".into(),
            plural: plural.into(),
            subresource: None,
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
        };
        let grant = access::decide(&ask.caller, Verb::Get, resource)
            .map_err(|denied| Box::new(Status::forbidden("tekton.dev", plural, name, &denied.to_string())))?;
        let kind = format!("{plural}.tekton.dev");
        let story = app.tenants.run_story(&grant, &kind, namespace, name).await;
        let Some(story) = story.map_err(|error| answer::read_failed(&error))? else { continue };
        let runs: Vec<Value> = story
            .runs
            .iter()
            .map(|(run, attempts)| json!({"run": run, "attempts": attempts.iter().map(shown).collect::<Vec<_>>()}))
            .collect();
        let answer = json!({
            "apiVersion": "cella.dev/v1",
            "kind": "RunStory",
            "nowUs": app.host.clock.utc().0,
            "runs": runs,
            "events": story.events,
            "more": story.more,
        });
        return Ok(answer::json(StatusCode::OK, &answer));
    }
    Err(Box::new(Status::not_found("tekton.dev", asked.unwrap_or("runs"), name)))
}

/// An attempt without what only a cell and an agent need to know.
fn shown(attempt: &Attempt) -> Value {
    let mut shown = json!(attempt);
    if let Some(map) = shown.as_object_mut() {
        map.remove("nonce");
        map.remove("seq");
        map.remove("tenant");
    }
    shown
}
