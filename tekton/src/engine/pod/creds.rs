//! Credentials of a ServiceAccount's Secrets, as arguments of the entrypoint and volumes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::engine::decide::{Key, Need};
use crate::engine::doc::{list, name, namespace, strings, text};
use crate::engine::names::fnv32a;

/// The account that every namespace has.
const DEFAULT_ACCOUNT: &str = "default";

/// What the steps get.
#[derive(Default)]
pub struct Credentials {
    /// Arguments of the entrypoint.
    pub args: Vec<String>,
    /// Volumes of the Pod.
    pub volumes: Vec<Value>,
    /// Mounts of each step.
    pub mounts: Vec<Value>,
    /// Secrets that the account names and that do not exist.
    pub missing: Vec<String>,
}

/// Why there are none.
pub enum Refused {
    /// Read these first.
    Need(BTreeSet<Need>),
    /// The reference's text.
    Build(String),
    /// The run is wrong; the reference's text.
    Invalid(String),
}

/// The credentials for a run of `account`. `read` are the objects that were read.
///
/// # Errors
/// [`Refused`].
pub fn of(
    run: &Value,
    account: &str,
    known_hosts: bool,
    read: &BTreeMap<Key, Option<Value>>,
) -> Result<Credentials, Refused> {
    let account = if account.is_empty() { DEFAULT_ACCOUNT } else { account };
    let key = Key::new("ServiceAccount", namespace(run), account);
    let account = match read.get(&key) {
        None => return Err(Refused::Need([Need::Object(key)].into())),
        Some(Some(account)) => account,
        // A namespace has this one from its beginning; a cluster makes it anew when it is deleted.
        Some(None) if account == DEFAULT_ACCOUNT => return Ok(Credentials::default()),
        Some(None) => return Err(Refused::Build(format!("serviceaccounts {account:?} not found"))),
    };
    let mut seen = BTreeSet::new();
    let names: Vec<_> = list(account, "secrets")
        .iter()
        .map(|entry| text(entry, "name"))
        .filter(|name| !name.is_empty() && seen.insert(*name))
        .map(|name| Key::new("Secret", namespace(run), name))
        .collect();
    let unread: BTreeSet<_> =
        names.iter().filter(|key| !read.contains_key(*key)).cloned().map(Need::Object).collect();
    if !unread.is_empty() {
        return Err(Refused::Need(unread));
    }
    let mut out = Credentials::default();
    for key in names {
        match read.get(&key).and_then(Option::as_ref) {
            Some(secret) => add(&mut out, secret, known_hosts)?,
            None => out.missing.push(key.name),
        }
    }
    Ok(out)
}

fn add(out: &mut Credentials, secret: &Value, known_hosts: bool) -> Result<(), Refused> {
    let kind = text(secret, "type");
    let has_hosts = ["data", "stringData"].iter().any(|part| secret[part].get("known_hosts").is_some());
    if known_hosts && kind == "kubernetes.io/ssh-auth" && !has_hosts {
        let message = "TaskRun validation failed. Git SSH Secret must have \"known_hosts\" included when feature flag \
                       \"require-git-ssh-secret-known-hosts\" is set to true";
        return Err(Refused::Invalid(message.into()));
    }
    let args = args(secret, kind);
    if args.is_empty() {
        return Ok(());
    }
    let volume = format!("tekton-creds-{}", fnv32a(name(secret)));
    out.mounts.push(json!({"name": volume, "mountPath": format!("/tekton/creds-secrets/{}", name(secret))}));
    out.volumes.push(json!({"name": volume, "secret": {"secretName": name(secret)}}));
    out.args.extend(args);
    Ok(())
}

/// The arguments for one Secret: by its type, and for each place that its annotations name.
fn args(secret: &Value, kind: &str) -> Vec<String> {
    let name = name(secret);
    let annotations = strings(secret, "annotations");
    let places = |prefix: &str, flag: &str| {
        let mut places: Vec<_> =
            annotations.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, place)| place).collect();
        places.sort();
        places.into_iter().map(|place| format!("-{flag}={name}={place}")).collect::<Vec<_>>()
    };
    match kind {
        "kubernetes.io/basic-auth" => {
            [places("tekton.dev/docker-", "basic-docker"), places("tekton.dev/git-", "basic-git")].concat()
        }
        "kubernetes.io/ssh-auth" => places("tekton.dev/git-", "ssh-git"),
        "kubernetes.io/dockerconfigjson" => vec![format!("-docker-config={name}")],
        "kubernetes.io/dockercfg" => vec![format!("-docker-cfg={name}")],
        _ => Vec::new(),
    }
}
