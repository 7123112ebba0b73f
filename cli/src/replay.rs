//! `cella replay RUN`: what the engine decides about a run, on a snapshot of everything that it looks at. The snapshot
//! is a file, so that a decision can be looked into elsewhere, offline, and again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use base::host::Host;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::cell::machines::{MACHINE_LOST, MACHINES_EXHAUSTED, end_of};
use store::records::attempt::{Attempt, Cause, Phase};
use tekton::api::config::TenantConfig;
use tekton::engine::decide::{Decision, ImageConfig, Key, Need, Observed, Outcome};

use crate::client::{Access, Client, Refused};
use crate::server::cell::installation;

/// The form of a snapshot that this version writes and reads.
const FORMAT: u32 = 1;
/// How often the engine may ask for more.
const NEEDS_MAX: usize = 64;
/// Kinds that a run may own.
const OWNED: [&str; 6] =
    ["Pod", "TaskRun", "PipelineRun", "CustomRun", "PersistentVolumeClaim", "ResolutionRequest"];
/// Namespace of a tenant's settings.
const SETTINGS: &str = "tekton-pipelines";
const OTHER_SETTINGS: [&str; 3] = ["config-events", "config-spire", "config-observability"];

/// Everything that one decision about a run depends on.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    format: u32,
    now_us: i64,
    run: Value,
    owned: Vec<Value>,
    objects: Vec<Named>,
    limit_ranges: Option<Vec<Value>>,
    #[serde(default)]
    policies: Option<Vec<Value>>,
    /// Secrets that the engine asked for: their values are in no snapshot.
    #[serde(default)]
    secrets: Vec<(String, String)>,
    /// Images that the engine asked about: their registries were not asked.
    images: Vec<String>,
    /// Pods that the infrastructure has lost for good: uid, reason and message.
    lost: Vec<(String, String, String)>,
    feature_flags: BTreeMap<String, String>,
    config_defaults: BTreeMap<String, String>,
    other_settings: BTreeMap<String, BTreeMap<String, String>>,
}

/// An object that the engine asked for; `object` is null when it is not there.
#[derive(Serialize, Deserialize)]
struct Named {
    kind: String,
    namespace: String,
    name: String,
    object: Option<Value>,
}

/// Takes a snapshot of a run through the gateway.
///
/// # Errors
/// When the gateway cannot be reached, or something may not be read.
pub async fn take(
    access: &Access,
    host: &Host,
    namespace: &str,
    run: &str,
    kind: Option<&str>,
) -> Result<Snapshot> {
    let story = crate::why::story(access, host, namespace, run, kind).await?;
    let told = &story["runs"][0];
    let client = Client::connect(access, host).await?;
    let uid = told["run"]["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let mut snapshot = Snapshot {
        format: FORMAT,
        now_us: story["nowUs"].as_i64().context("the answer says no time")?,
        run: told["run"].clone(),
        owned: Vec::new(),
        objects: Vec::new(),
        limit_ranges: None,
        policies: None,
        secrets: Vec::new(),
        images: Vec::new(),
        lost: lost(&told["attempts"])?,
        feature_flags: settings(&client, "feature-flags").await?,
        config_defaults: settings(&client, "config-defaults").await?,
        other_settings: BTreeMap::new(),
    };
    for name in OTHER_SETTINGS {
        snapshot.other_settings.insert(name.into(), settings(&client, name).await?);
    }
    for kind in OWNED {
        for object in list(&client, kind, namespace).await? {
            let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            if owners.into_iter().any(|owner| owner["controller"] == true && owner["uid"] == uid.as_str()) {
                snapshot.owned.push(object);
            }
        }
    }
    for _ in 0..NEEDS_MAX {
        let Outcome::Need(needs) = decide(&snapshot) else { return Ok(snapshot) };
        for need in needs {
            match need {
                Need::Object(key) => {
                    let object = object(&client, &key).await?;
                    let Key { kind, namespace, name } = key;
                    snapshot.objects.push(Named { kind, namespace, name, object });
                }
                Need::LimitRanges => {
                    snapshot.limit_ranges = Some(list(&client, "LimitRange", namespace).await?)
                }
                Need::Image(reference) => snapshot.images.push(reference),
                Need::VerificationPolicies => {
                    snapshot.policies = Some(list(&client, "VerificationPolicy", namespace).await?);
                }
                Need::Secret(key) => snapshot.secrets.push((key.namespace, key.name)),
            }
        }
    }
    bail!("the engine never has enough")
}

/// What the engine decides on a snapshot, as JSON.
///
/// # Errors
/// When the snapshot is of another form, or does not hold what the engine asks for.
pub fn run(snapshot: &Snapshot) -> Result<Value> {
    if snapshot.format != FORMAT {
        bail!("the snapshot is of form {}, this version reads {FORMAT}", snapshot.format);
    }
    match decide(snapshot) {
        Outcome::Decision(decision) => Ok(shown(&decision, snapshot)),
        Outcome::Need(needs) => {
            let needs: BTreeSet<String> = needs.iter().map(|need| format!("{need:?}")).collect();
            bail!("the snapshot does not hold {}", needs.into_iter().collect::<Vec<_>>().join(", "))
        }
    }
}

fn decide(snapshot: &Snapshot) -> Outcome {
    let objects = snapshot
        .objects
        .iter()
        .map(|named| (Key::new(&named.kind, &named.namespace, &named.name), named.object.clone()));
    let unasked = |reference: &String| {
        (reference.clone(), ImageConfig::Missing(format!("{reference} was not looked up for the snapshot")))
    };
    let reasons = [MACHINE_LOST, MACHINES_EXHAUSTED];
    let lost = snapshot.lost.iter().filter_map(|(uid, reason, message)| {
        let reason = reasons.into_iter().find(|known| known == reason)?;
        Some((uid.clone(), (reason, message.clone())))
    });
    let observed = Observed {
        run: snapshot.run.clone(),
        owned: snapshot.owned.clone(),
        objects: objects.collect(),
        limit_ranges: snapshot.limit_ranges.clone(),
        images: snapshot.images.iter().map(unasked).collect(),
        policies: snapshot.policies.clone(),
        secrets: snapshot.secrets.iter().map(|(ns, name)| (Key::new("Secret", ns, name), None)).collect(),
        pod_refused: None,
        lost: lost.collect(),
    };
    let config = TenantConfig {
        feature_flags: snapshot.feature_flags.clone(),
        config_defaults: snapshot.config_defaults.clone(),
        others: snapshot.other_settings.clone(),
    };
    let decide = match snapshot.run["kind"].as_str() {
        Some("PipelineRun") => tekton::engine::pipelinerun::decide,
        _ => tekton::engine::taskrun::decide,
    };
    decide(&observed, &config, &installation(), snapshot.now_us)
}

fn shown(decision: &Decision, snapshot: &Snapshot) -> Value {
    let events =
        decision.events.iter().map(|e| json!({"type": e.kind, "reason": e.reason, "message": e.message}));
    let patches =
        decision.patches.iter().map(|patch| json!({"object": named(&patch.key), "patch": patch.body}));
    let metadata =
        decision.metadata.as_ref().map(|m| json!({"labels": m.labels, "annotations": m.annotations}));
    json!({
        "status": decision.status,
        "metadata": metadata,
        "creates": decision.creates,
        "patches": patches.collect::<Vec<_>>(),
        "deletes": decision.deletes.iter().map(named).collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "errors": decision.errors,
        "waitsFor": decision.waits_for,
        "requeueAfterUs": decision.requeue_after_us,
        "alsoAfterUs": decision.also_after_us,
        "imagesNotLookedUp": snapshot.images,
        "secretsNotOpened": snapshot.secrets,
    })
}

fn named(key: &Key) -> Value {
    json!({"kind": key.kind, "namespace": key.namespace, "name": key.name})
}

/// As a cell sees them; see `store::cell::view::View::lost`.
fn lost(attempts: &Value) -> Result<Vec<(String, String, String)>> {
    let mut out = Vec::new();
    for attempt in attempts.as_array().into_iter().flatten() {
        let mut attempt = attempt.clone();
        attempt["tenant"] = json!("");
        let attempt: Attempt = serde_json::from_value(attempt).context("an attempt cannot be read")?;
        if attempt.phase == Phase::Lost || attempt.cause == Some(Cause::Exhausted) {
            let (reason, message) = end_of(&attempt);
            out.push((attempt.id, reason.to_owned(), message));
        }
    }
    Ok(out)
}

fn path(kind: &str, namespace: &str) -> Result<String> {
    let known = apimachinery::kind::all().find(|known| known.kind == kind);
    let known = known.with_context(|| format!("kind {kind} is not known"))?;
    let version = known.versions.iter().find(|version| version.served).or_else(|| known.versions.first());
    let version = version.with_context(|| format!("kind {kind} is not served"))?.name;
    let root = if known.group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{}/{version}", known.group)
    };
    Ok(match known.namespaced() {
        true => format!("{root}/namespaces/{namespace}/{}", known.plural),
        false => format!("{root}/{}", known.plural),
    })
}

/// What is not served is not there.
fn absent<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == 404) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn object(client: &Client, key: &Key) -> Result<Option<Value>> {
    let path = format!("{}/{}", path(&key.kind, &key.namespace)?, key.name);
    absent(client.json(Method::GET, &path, None).await)
}

async fn list(client: &Client, kind: &str, namespace: &str) -> Result<Vec<Value>> {
    let list = absent(client.json(Method::GET, &path(kind, namespace)?, None).await)?.unwrap_or_default();
    let api_version = list["apiVersion"].clone();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .into_iter()
        .map(|mut item| {
            // Items of a list do not say what they are.
            for (member, value) in [("apiVersion", api_version.clone()), ("kind", json!(kind))] {
                if item[member].is_null() {
                    item[member] = value;
                }
            }
            item
        })
        .collect())
}

async fn settings(client: &Client, name: &str) -> Result<BTreeMap<String, String>> {
    let map = object(client, &Key::new("ConfigMap", SETTINGS, name)).await?.unwrap_or_default();
    let data = map["data"].as_object().into_iter().flatten();
    Ok(data.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
}

#[cfg(test)]
mod tests;
