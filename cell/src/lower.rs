//! Lowering: from the canonical Pod that clients see to the Order that an agent can run without asking anybody.
//! References become contents, the init containers of the reference become work of the agent, and what makes no
//! sense on a single-use machine is refused with a reason ([`fields`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use apimachinery::meta;
use protocol::order::{Order, Volume};
use serde_json::{Value, json};
use store::cell::session::Session;
use store::cell::{CellError, TRACEPARENT};
use store::object::ObjectKey;

use crate::Inner;
use crate::images::Auths;
use crate::secrets::decode;

mod build;
mod env;
mod fields;
mod scripts;
pub(crate) mod size;
mod volumes;

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
    /// Uids of claims.
    claims: BTreeMap<String, Option<String>>,
    /// Secrets with registry credentials, in the order in which they count.
    pull_secrets: Vec<String>,
    /// Folder of the cell on this host.
    data: PathBuf,
    machine: String,
}

type Values = BTreeMap<String, Vec<u8>>;

/// The Order of a claimed session.
pub(crate) async fn order(cell: &Inner, session: &Session) -> Result<Lowered, CellError> {
    let (Some(pod), Some((attempt, _))) = (&session.pod, &session.attempt) else { return Ok(Lowered::Gone) };
    let place =
        Place { tenant: &attempt.tenant, namespace: &attempt.namespace, machine: &session.machine.id };
    let contents = match contents(cell, place, &pod.value).await? {
        Ok(contents) => contents,
        Err(error) => return Ok(Lowered::Waits(Box::new(waiting(&pod.value, &error)))),
    };
    match build::order(&pod.value, &contents) {
        Ok(mut order) => {
            if let Err(error) = make_claims(&order) {
                let error = ConfigError::new(format!("the folder of a claim cannot be made: {error}"));
                return Ok(Lowered::Waits(Box::new(waiting(&pod.value, &error))));
            }
            order.attempt = attempt.id.clone();
            order.traceparent = meta::annotation(&pod.value, TRACEPARENT).map(str::to_owned);
            let limit_s = pod.value["spec"]["activeDeadlineSeconds"].as_i64().unwrap_or(i64::from(i32::MAX));
            let since = attempt.timings.get("placed").copied().unwrap_or_else(|| cell.host.clock.utc().0);
            order.deadline_us = since.saturating_add(limit_s.saturating_mul(1_000_000));
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
    let keys = keys.chain(names.claims.iter().map(|n| key("persistentvolumeclaims", n)));
    let objects = cell.store.objects(keys).await?;
    let mut contents = Contents {
        pull_secrets,
        data: cell.config.data.clone(),
        machine: place.machine.to_owned(),
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
            ("secrets", None) => drop(contents.secrets.insert(key.name, None)),
            (_, object) => {
                let uid = object.map(|object| meta::uid(&object).to_owned());
                contents.claims.insert(key.name, uid);
            }
        }
    }
    Ok(Ok(contents))
}

/// The folder of a claim on this host.
pub(crate) fn claim_folder(data: &Path, uid: &str) -> PathBuf {
    data.join("volumes").join(uid)
}

/// Makes the folders of claims that are used for the first time; any user of a container may write there.
fn make_claims(order: &Order) -> std::io::Result<()> {
    for volume in order.volumes.values() {
        if let Volume::Dir { path, .. } = volume
            && !Path::new(path).exists()
        {
            std::fs::create_dir_all(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
        }
    }
    Ok(())
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
    claims: BTreeSet<String>,
}

impl Names {
    fn of(pod: &Value) -> Self {
        let mut names = Self::default();
        for volume in list(&pod["spec"]["volumes"]) {
            names.source(volume);
            list(&volume["projected"]["sources"]).iter().for_each(|source| names.source(source));
            insert(&mut names.claims, &volume["persistentVolumeClaim"]["claimName"]);
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
