//! What a resolver is asked, and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::digest;
use serde_json::{Value, json};
use store::cell::CellError;
use store::object::ObjectKey;

use super::settings::{self, Map, Settings};
use super::{bundles, cluster, git, http, hub};
use crate::Inner;
use crate::fetch::FetchError;

/// Most bytes of one resolved object.
pub const RESOURCE_MAX: usize = 1 << 20;

/// Params of a request: texts; what is none counts as empty.
pub type Params = BTreeMap<String, String>;

/// The resolvers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Resolver {
    /// Files of git repositories.
    Git,
    /// Files of web servers.
    Http,
    /// Entries of Artifact Hub and Tekton Hub.
    Hub,
    /// Layers of OCI images.
    Bundles,
    /// Objects of the same tenant.
    Cluster,
}

impl Resolver {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Git, Self::Http, Self::Hub, Self::Bundles, Self::Cluster];

    /// The resolver of a type, as the label of a request has it.
    pub fn of(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resolver| resolver.kind() == kind)
    }

    /// Its type.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Http => "http",
            Self::Hub => "hub",
            Self::Bundles => "bundles",
            Self::Cluster => "cluster",
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Git => "Git",
            Self::Http => "Http",
            Self::Hub => "Hub",
            Self::Bundles => "bundleresolver",
            Self::Cluster => "Cluster",
        }
    }

    /// Its ConfigMap.
    pub fn config_map(self) -> &'static str {
        match self {
            Self::Git => "git-resolver-config",
            Self::Http => "http-resolver-config",
            Self::Hub => "hubresolver-config",
            Self::Bundles => "bundleresolver-config",
            Self::Cluster => "cluster-resolver-config",
        }
    }

    /// The switch that turns it on.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Git => "enable-git-resolver",
            Self::Http => "enable-http-resolver",
            Self::Hub => "enable-hub-resolver",
            Self::Bundles => "enable-bundles-resolver",
            Self::Cluster => "enable-cluster-resolver",
        }
    }

    /// Data of its ConfigMap as the reference installs it.
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Git => git::DEFAULTS,
            Self::Http => &[("fetch-timeout", "1m")],
            Self::Hub => hub::DEFAULTS,
            Self::Bundles => &[("default-service-account", "default"), ("default-kind", "task")],
            Self::Cluster => cluster::DEFAULTS,
        }
    }

    /// Checks the params.
    ///
    /// # Errors
    /// The reference's text.
    pub fn check(self, params: &Params, settings: &Settings, hubs: &hub::Hubs) -> Result<(), String> {
        if !settings.is_enabled(self) {
            return Err(format!("cannot handle resolution request, {} feature flag not true", self.flag()));
        }
        let map = settings.map(self);
        match self {
            Self::Git => git::Wanted::of(params, &map).map(drop),
            Self::Http => http::Wanted::of(params).map(drop),
            Self::Hub => hub::Wanted::of(params, &map, hubs).map(drop),
            Self::Bundles => bundles::Wanted::of(params, &map).map(drop),
            Self::Cluster => cluster::Wanted::of(params, &map).map(drop),
        }
    }

    /// How long one resolution may take, if that is set.
    ///
    /// # Errors
    /// The reference's text.
    pub fn timeout(self, params: &Params, map: &Map) -> Result<Option<Duration>, String> {
        let set = match self {
            Self::Git => git::config(params, map)?.timeout,
            Self::Bundles => map.get("fetch-timeout").cloned().unwrap_or_default(),
            // The http resolver's is a matter of its client.
            Self::Http | Self::Hub | Self::Cluster => String::new(),
        };
        if set.is_empty() {
            return Ok(None);
        }
        settings::duration(&set).map(Some).ok_or_else(|| format!("time: invalid duration {set:?}"))
    }

    /// Whether these params always mean the same bytes.
    pub fn is_immutable(self, params: &Params) -> bool {
        let get = |name: &str| params.get(name).map_or("", String::as_str);
        match self {
            Self::Git => {
                let revision = get("revision");
                matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_hexdigit())
            }
            Self::Bundles => get("bundle").contains("@sha256:"),
            Self::Http | Self::Hub | Self::Cluster => false,
        }
    }

    /// Resolves.
    pub(super) async fn resolve(self, ask: &Ask<'_>) -> Result<Found, Trouble> {
        match self {
            Self::Git => git::resolve(ask).await,
            Self::Http => http::resolve(ask).await,
            Self::Hub => hub::resolve(ask).await,
            Self::Bundles => bundles::resolve(ask).await,
            Self::Cluster => cluster::resolve(ask).await,
        }
    }
}

/// A resolver's work: for whom, what, by which settings.
pub(super) struct Ask<'a> {
    pub cell: &'a Inner,
    pub tenant: &'a str,
    pub namespace: &'a str,
    pub params: &'a Params,
    pub map: &'a Map,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The text.
    pub data: Vec<u8>,
    /// Annotations of the answer.
    pub annotations: BTreeMap<String, String>,
    /// Where it comes from.
    pub uri: String,
    /// Algorithm and digest.
    pub digest: (String, String),
    /// The file or object in there.
    pub entry_point: String,
}

impl Found {
    /// A text of a server, known by its own digest.
    pub fn of(uri: &str, data: Vec<u8>) -> Self {
        let digest = ("sha256".to_owned(), hex(digest::digest(&digest::SHA256, &data).as_ref()));
        Self { data, uri: uri.to_owned(), digest, ..Self::default() }
    }

    /// Where it comes from, as statuses have it.
    pub fn source(&self) -> Value {
        let mut source = json!({"uri": self.uri});
        source["digest"][&self.digest.0] = json!(self.digest.1);
        if !self.entry_point.is_empty() {
            source["entryPoint"] = json!(self.entry_point);
        }
        source
    }
}

/// Why nothing was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// Asking again would give the same answer.
    Answer(String),
    /// A server or the way to it was not well.
    Passing(String),
    /// Our store was not.
    Store(CellError),
}

impl Trouble {
    /// A failed request, with what it was for in front.
    pub fn fetch(context: &str, error: &FetchError) -> Self {
        let message = format!("{context}: {error}");
        match error {
            FetchError::Unreachable(_) => Self::Passing(message),
            FetchError::Forbidden(_) | FetchError::TooLarge(_) | FetchError::Redirects => {
                Self::Answer(message)
            }
        }
    }
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Self::Answer(message)
    }
}

impl From<&str> for Trouble {
    fn from(message: &str) -> Self {
        Self::Answer(message.to_owned())
    }
}

impl From<CellError> for Trouble {
    fn from(error: CellError) -> Self {
        Self::Store(error)
    }
}

impl Ask<'_> {
    /// A key of an object of the tenant.
    pub fn key(&self, kind: &str, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            tenant: self.tenant.to_owned(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// One value of a Secret of the tenant. What it is for stands in messages: nobody there needs the value.
    pub async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<Vec<u8>, Trouble> {
        let found = self.cell.store.objects([self.key("secrets", namespace, name)]).await?;
        let Some(object) = found.into_values().next().flatten() else {
            return Err(
                format!("cannot get API token, secret {name} not found in namespace {namespace}").into()
            );
        };
        let opened = self.cell.secrets.open(self.tenant, &object).await;
        let mut values = opened.map_err(|error| {
            format!("error reading API token from secret {name} in namespace {namespace}: {error}")
        })?;
        values.remove(key).ok_or_else(|| {
            format!("cannot get API token, key {key} not found in secret {name} in namespace {namespace}")
                .into()
        })
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
