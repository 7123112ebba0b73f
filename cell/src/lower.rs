//! Lowering: from the canonical Pod that clients see to the Order that an agent can run without asking anybody.
//! References become contents, the init containers of the reference become work of the agent, and what makes no
//! sense on a single-use machine is refused with a reason ([`fields`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use apimachinery::meta;
use protocol::order::{Held, Order};
use serde_json::{Value, json};
use store::cell::session::Session;
use store::cell::{CellError, TRACEPARENT};
use store::object::ObjectKey;
use store::records::attempt::{Attempt, LEASE_US};

use crate::Inner;
use crate::images::Auths;
use crate::provider::volumes::Attached;
use crate::secrets::decode;

mod build;
mod env;
mod fields;
mod scripts;
pub(crate) mod size;
mod volumes;

/// Where a tenant's settings are.
const SETTINGS: &str = "tekton-pipelines";
const FLAGS: &str = "feature-flags";
/// Setting: results of steps through termination messages are limited as in the reference.
const STRICT_RESULTS: &str = "enforce-termination-message-limit";

/// What became of a Pod.
pub(crate) enum Lowered {
    /// It can run.
    Order(Box<Order>),
    /// It cannot run now; its status shall be this.
    Waits(Box<Value>),
    /// There is no such Pod any more.
    Gone,
}

/// Why a Pod cannot be lowered, in the words of a kubelet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConfigError {
    /// Container that cannot be made; `None`: any.
    container: Option<String>,
    message: String,
}

impl ConfigError {
    fn new(message: impl Into<String>) -> Self {
        Self { container: None, message: message.into() }
    }
}

/// Contents of what a Pod refers to. `None`: it is not there.
#[derive(Default)]
pub(crate) struct Contents {
    maps: BTreeMap<String, Option<Values>>,
    secrets: BTreeMap<String, Option<Values>>,
    /// Volumes of claims.
    claims: BTreeMap<String, Option<Claim>>,
    /// Results of steps are limited as in the reference.
    strict_results: bool,
    /// Secrets with registry credentials, in the order in which they count.
    pull_secrets: Vec<String>,
    machine: String,
}

/// The volume of a claim, as the attempt has it.
#[derive(Clone)]
struct Claim {
    path: PathBuf,
    held: Held,
    /// Nobody may write to it.
    read_only: bool,
}

type Values = BTreeMap<String, Vec<u8>>;

/// The Order of a claimed session.
pub(crate) async fn order(cell: &Inner, session: &Session) -> Result<Lowered, CellError> {
    let (Some(pod), Some((attempt, _))) = (&session.pod, &session.attempt) else { return Ok(Lowered::Gone) };
    let place =
        Place { tenant: &attempt.tenant, namespace: &attempt.namespace, machine: &session.machine.id };
    let mut contents = match contents(cell, place, &pod.value).await? {
        Ok(contents) => contents,
        Err(error) => return Ok(Lowered::Waits(Box::new(waiting(&pod.value, &error)))),
    };
    match volumes(cell, attempt).await? {
        Ok(volumes) => contents.claims = volumes,
        Err(error) => return Ok(Lowered::Waits(Box::new(waiting(&pod.value, &error)))),
    }
    match build::order(&pod.value, &contents) {
        Ok(mut order) => {
            order.attempt = attempt.id.clone();
            order.lease_ms = attempt.rerun.then_some(LEASE_US.unsigned_abs() / 1000);
            order.traceparent = meta::annotation(&pod.value, TRACEPARENT).map(str::to_owned);
            let limit_s = pod.value["spec"]["activeDeadlineSeconds"].as_i64().unwrap_or(i64::from(i32::MAX));
            let now_us = cell.host.clock.utc().0;
            let since = attempt.timings.get("placed").copied().unwrap_or(now_us);
            order.deadline_us = since.saturating_add(limit_s.saturating_mul(1_000_000));
            let left_us = order.deadline_us.saturating_sub(now_us);
            order.left_ms = Some(u64::try_from(left_us / 1000).unwrap_or(0));
            Ok(Lowered::Order(Box::new(order)))
        }
        Err(error) => Ok(Lowered::Waits(Box::new(waiting(&pod.value, &error)))),
    }
}

/// Where a Pod is.
#[derive(Clone, Copy)]
struct Place<'a> {
    tenant: &'a str,
    namespace: &'a str,
    machine: &'a str,
}

/// Registry credentials that a run's Pod would have.
pub(crate) async fn pull_auths(cell: &Inner, run: &ObjectKey, spec: &Value) -> Result<Auths, CellError> {
    let pod = json!({"spec": {
        "serviceAccountName": spec["serviceAccountName"],
        "imagePullSecrets": spec["podTemplate"]["imagePullSecrets"],
    }});
    let place = Place { tenant: &run.tenant, namespace: &run.namespace, machine: "" };
    let contents = contents(cell, place, &pod).await?;
    // Bad credentials are as good as none: the registry will say so.
    Ok(contents.and_then(|contents| build::registry_auth(&contents)).unwrap_or_default())
}

/// Reads everything the Pod names, at one moment.
async fn contents(
    cell: &Inner,
    place: Place<'_>,
    pod: &Value,
) -> Result<Result<Contents, ConfigError>, CellError> {
    let key = |kind: &str, name: &str| ObjectKey {
        tenant: place.tenant.to_owned(),
        kind: kind.into(),
        namespace: place.namespace.to_owned(),
        name: name.into(),
    };
    let mut names = Names::of(pod);
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    let found = cell.store.objects([key("serviceaccounts", account)]).await?;
    let account = found.into_values().next().flatten().unwrap_or_default();
    let mut pull_secrets = Vec::new();
    for list in [&pod["spec"]["imagePullSecrets"], &account["imagePullSecrets"]] {
        pull_secrets.extend(
            list.as_array().into_iter().flatten().filter_map(|r| r["name"].as_str()).map(String::from),
        );
    }
    names.secrets.extend(pull_secrets.iter().cloned());
    let keys = names.maps.iter().map(|n| key("configmaps", n));
    let keys = keys.chain(names.secrets.iter().map(|n| key("secrets", n)));
    let flags = ObjectKey { namespace: SETTINGS.into(), ..key("configmaps", FLAGS) };
    let mut objects = cell.store.objects(keys.chain([flags.clone()])).await?;
    // A Pod of the settings' own namespace may mount them as well.
    let flags = match place.namespace == SETTINGS && names.maps.contains(FLAGS) {
        true => objects.get(&flags).cloned().flatten(),
        false => objects.remove(&flags).flatten(),
    };
    let mut contents = Contents {
        pull_secrets,
        machine: place.machine.to_owned(),
        strict_results: flags.is_some_and(|flags| flags["data"][STRICT_RESULTS] == "true"),
        ..Contents::default()
    };
    for (key, object) in objects {
        match (key.kind.as_str(), object) {
            ("configmaps", object) => {
                let values = object.map(|object| map_values(&object)).transpose();
                match values {
                    Ok(values) => drop(contents.maps.insert(key.name, values)),
                    Err(why) => return Ok(Err(ConfigError::new(format!("configmap {:?}: {why}", key.name)))),
                }
            }
            ("secrets", Some(object)) => match cell.secrets.open(&key.tenant, &object).await {
                Ok(values) => drop(contents.secrets.insert(key.name, Some(values))),
                Err(why) => return Ok(Err(ConfigError::new(format!("secret {:?}: {why}", key.name)))),
            },
            (_, _) => drop(contents.secrets.insert(key.name, None)),
        }
    }
    Ok(Ok(contents))
}

/// The volumes that an attempt has, ready to be mounted.
async fn volumes(
    cell: &Inner,
    attempt: &Attempt,
) -> Result<Result<BTreeMap<String, Option<Claim>>, ConfigError>, CellError> {
    let mut out = BTreeMap::new();
    for volume in cell.store.volumes_of(attempt).await? {
        let Some(holder) = volume.holders.iter().find(|holder| holder.attempt == attempt.id) else {
            continue;
        };
        let Attached::Folder { path, fence } = match cell.volumes.attach(&volume) {
            Ok(attached) => attached,
            Err(error) => {
                let claim = &volume.claim;
                return Ok(Err(ConfigError::new(format!(
                    "the volume of claim {claim:?} cannot be had: {error}"
                ))));
            }
        };
        let (uid, generation) = (volume.uid.clone(), holder.generation);
        let held = Held { uid, generation, fence: fence.display().to_string() };
        out.insert(volume.claim.clone(), Some(Claim { path, held, read_only: holder.read_only }));
    }
    Ok(Ok(out))
}

fn map_values(object: &Value) -> Result<Values, crate::secrets::SecretError> {
    let mut values = decode(&object["binaryData"])?;
    let texts = object["data"].as_object().into_iter().flatten();
    values.extend(
        texts.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec())),
    );
    Ok(values)
}

/// Names of what a Pod refers to.
#[derive(Default)]
struct Names {
    maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Names {
    fn of(pod: &Value) -> Self {
        let mut names = Self::default();
        for volume in list(&pod["spec"]["volumes"]) {
            names.source(volume);
            list(&volume["projected"]["sources"]).iter().for_each(|source| names.source(source));
        }
        for container in containers(pod) {
            for from in list(&container["envFrom"]) {
                insert(&mut names.maps, &from["configMapRef"]["name"]);
                insert(&mut names.secrets, &from["secretRef"]["name"]);
            }
            for variable in list(&container["env"]) {
                insert(&mut names.maps, &variable["valueFrom"]["configMapKeyRef"]["name"]);
                insert(&mut names.secrets, &variable["valueFrom"]["secretKeyRef"]["name"]);
            }
        }
        names
    }

    fn source(&mut self, source: &Value) {
        insert(&mut self.maps, &source["configMap"]["name"]);
        insert(&mut self.secrets, &source["secret"]["secretName"]);
        insert(&mut self.secrets, &source["secret"]["name"]);
    }
}

fn insert(set: &mut BTreeSet<String>, name: &Value) {
    set.extend(name.as_str().filter(|name| !name.is_empty()).map(str::to_owned));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["spec"]["initContainers"]).iter().chain(list(&pod["spec"]["containers"]))
}

/// The status of a Pod whose containers cannot be made, as a kubelet gives it.
fn waiting(pod: &Value, error: &ConfigError) -> Value {
    let mut statuses = Vec::new();
    for (index, container) in list(&pod["spec"]["containers"]).iter().enumerate() {
        let hit = match &error.container {
            Some(name) => container["name"] == *name,
            None => index == 0,
        };
        let waiting = if hit {
            json!({"reason": "CreateContainerConfigError", "message": error.message})
        } else {
            json!({"reason": "PodInitializing"})
        };
        statuses.push(json!({
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": false,
            "started": false,
            "restartCount": 0,
            "state": {"waiting": waiting},
        }));
    }
    json!({"phase": "Pending", "containerStatuses": statuses})
}

#[cfg(test)]
mod tests;
