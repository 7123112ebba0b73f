//! Tenants' settings of Tekton, as every look at a run needs them.

use std::sync::Arc;

use serde_json::Value;
use store::cell::CellError;
use store::kept::Kept;
use store::object::ObjectKey;
use tekton::api::config::TenantConfig;

use crate::Inner;

/// Namespace of a tenant's settings.
const NAMESPACE: &str = "tekton-pipelines";
const MAPS: [&str; 5] =
    ["feature-flags", "config-defaults", "config-events", "config-spire", "config-observability"];

/// Settings that were read, by tenant. As in the reference, whose controllers hear of a change a moment later, a look
/// may take the settings from just before it.
pub(crate) type Settings = Kept<String, TenantConfig>;

impl Inner {
    /// A tenant's settings.
    pub(crate) async fn settings_of(&self, tenant: &str) -> Result<Arc<TenantConfig>, CellError> {
        let (key, now) = (tenant.to_owned(), self.host.clock.mono());
        if let Some(settings) = self.settings.get(&key, now) {
            return Ok(settings);
        }
        let bells = vec![self.store.config_maps_bell(tenant)];
        let settings = Arc::new(self.read_settings(tenant).await?);
        self.settings.put(key, settings.clone(), bells, now);
        Ok(settings)
    }

    async fn read_settings(&self, tenant: &str) -> Result<TenantConfig, CellError> {
        let keys = MAPS.map(|name| ObjectKey {
            tenant: tenant.to_owned(),
            kind: "configmaps".into(),
            namespace: NAMESPACE.into(),
            name: name.into(),
        });
        let mut settings = TenantConfig::default();
        for (key, map) in self.store.objects(keys).await? {
            let Some(map) = map else { continue };
            let data = map["data"].as_object().into_iter().flatten();
            let text = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.to_owned()));
            let data = data.filter_map(text).collect();
            match key.name.as_str() {
                "feature-flags" => settings.feature_flags = data,
                "config-defaults" => settings.config_defaults = data,
                _ => drop(settings.others.insert(key.name, data)),
            }
        }
        Ok(settings)
    }
}
