//! A tenant's settings of its resolvers: ConfigMaps of the namespace `tekton-pipelines-resolvers`. One that is not
//! there counts as the one that the reference installs; one that is there counts as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use store::object::ObjectKey;
use tekton::api::config;
use tekton::engine::time;

use super::Resolver;

/// The namespace.
pub const NAMESPACE: &str = "tekton-pipelines-resolvers";
const FLAGS: &str = "resolvers-feature-flags";
const CACHE: &str = "resolver-cache-config";
/// Where `config-defaults` is.
const PIPELINES: &str = "tekton-pipelines";
const DEFAULTS: &str = "config-defaults";

/// Longest time from the creation of a request to its answer, unless `config-defaults` says something else.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// No tenant may keep a resolver busy longer, whatever its settings say.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Entries of a tenant's cache.
pub const CACHED_MAX: usize = 1000;
/// How long one counts.
pub const CACHED_FOR: Duration = Duration::from_secs(300);

/// Data of a ConfigMap.
pub type Map = BTreeMap<String, String>;

/// The settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    maps: BTreeMap<String, Map>,
}

/// How often and when somebody else's server is asked again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    /// Before the second time.
    pub pause: Duration,
    /// Grows by this.
    pub factor: f64,
    /// Never more than this.
    pub cap: Duration,
    /// Times in all.
    pub steps: u32,
}

impl Backoff {
    /// The pause before time `step` (the first one is 1).
    pub fn before(&self, step: u32) -> Duration {
        let grown = self.pause.as_secs_f64() * self.factor.powi(i32::try_from(step).unwrap_or(1) - 2);
        Duration::try_from_secs_f64(grown).unwrap_or(self.cap).min(self.cap)
    }
}

/// The objects that settings are read from.
pub fn keys(tenant: &str) -> impl Iterator<Item = ObjectKey> {
    let own = Resolver::ALL.into_iter().map(Resolver::config_map).chain([FLAGS, CACHE]);
    let all = own.map(|name| (NAMESPACE, name)).chain([(PIPELINES, DEFAULTS)]);
    all.map(move |(namespace, name)| ObjectKey {
        tenant: tenant.to_owned(),
        kind: "configmaps".into(),
        namespace: namespace.into(),
        name: name.into(),
    })
}

impl Settings {
    /// The settings in these ConfigMaps.
    pub fn of<'a>(objects: impl IntoIterator<Item = (&'a ObjectKey, Option<&'a Value>)>) -> Self {
        let mut maps: BTreeMap<String, Map> = BTreeMap::new();
        for (key, object) in objects {
            let Some(object) = object.filter(|_| key.kind == "configmaps") else { continue };
            maps.insert(key.name.clone(), config::data(object));
        }
        Self { maps }
    }

    /// Data of a resolver's own ConfigMap.
    pub fn map(&self, resolver: Resolver) -> Map {
        let own = self.maps.get(resolver.config_map()).cloned();
        own.unwrap_or_else(|| resolver.defaults().iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    /// Whether a resolver is switched on.
    pub fn is_enabled(&self, resolver: Resolver) -> bool {
        let flag = self.maps.get(FLAGS).and_then(|flags| flags.get(resolver.flag()));
        flag.is_none_or(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// Longest time from the creation of a request to its answer.
    pub fn timeout(&self) -> Duration {
        let set = self.maps.get(DEFAULTS).and_then(|map| map.get("default-maximum-resolution-timeout"));
        set.and_then(|text| duration(text)).unwrap_or(TIMEOUT).min(TIMEOUT_MAX)
    }

    /// Entries of the cache and how long one counts, for `resolver`.
    pub fn cache(&self, resolver: Resolver) -> (usize, Duration) {
        let set = |key: &str| self.maps.get(CACHE).and_then(|map| map.get(key));
        let size = set("max-size").and_then(|text| text.parse().ok()).filter(|size| *size > 0);
        let own = self.map(resolver).get("ttl").and_then(|text| duration(text)).filter(|t| !t.is_zero());
        let general = set("ttl").and_then(|text| duration(text)).filter(|t| !t.is_zero());
        (size.unwrap_or(CACHED_MAX).min(CACHED_MAX), own.or(general).unwrap_or(CACHED_FOR))
    }
}

/// A Go duration that is not negative.
pub fn duration(text: &str) -> Option<Duration> {
    time::duration(text).and_then(|us| u64::try_from(us).ok()).map(Duration::from_micros)
}

/// How often a resolver tries; what is no number counts as not said.
pub fn backoff(map: &Map) -> Backoff {
    let number = |key: &str| map.get(key).and_then(|text| text.parse::<f64>().ok()).filter(|n| *n >= 0.0);
    let span = |key: &str| map.get(key).and_then(|text| duration(text));
    let steps = map.get("backoff-steps").and_then(|text| text.parse::<u32>().ok()).filter(|n| *n >= 1);
    Backoff {
        pause: span("backoff-duration").unwrap_or(Duration::from_secs(2)),
        factor: number("backoff-factor").unwrap_or(2.0),
        cap: span("backoff-cap").unwrap_or(Duration::from_secs(10)),
        steps: steps.unwrap_or(2).min(10),
    }
}
