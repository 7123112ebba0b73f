//! Tenants' settings of Tekton, made of what is known of a request's surroundings: once for each time that was read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use store::tenant::Surroundings;
use tekton::api::config::TenantConfig;

/// More than this are not remembered.
const KEPT_MAX: usize = 1024;

/// What the settings were made of, and the settings.
type Made = (Weak<Surroundings>, Arc<TenantConfig>);

/// Settings by the address of the surroundings that they were made of; that is theirs while it is remembered here.
#[derive(Default)]
pub struct Settings(Mutex<BTreeMap<usize, Made>>);

impl Settings {
    /// The settings in these surroundings.
    pub(crate) fn of(&self, around: &Arc<Surroundings>) -> Arc<TenantConfig> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= KEPT_MAX {
            made.retain(|_, (around, _)| around.strong_count() > 0);
        }
        if made.len() >= KEPT_MAX {
            return Arc::new(read(around));
        }
        let make = || (Arc::downgrade(around), Arc::new(read(around)));
        made.entry(Arc::as_ptr(around).addr()).or_insert_with(make).1.clone()
    }
}

fn read(around: &Surroundings) -> TenantConfig {
    let data = |object: &Option<Value>| object.as_ref().map(data).unwrap_or_default();
    TenantConfig {
        feature_flags: data(&around.feature_flags),
        config_defaults: data(&around.config_defaults),
        others: BTreeMap::new(),
    }
}

/// The data of a ConfigMap.
pub(crate) fn data(object: &Value) -> BTreeMap<String, String> {
    let data = object["data"].as_object();
    data.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}
