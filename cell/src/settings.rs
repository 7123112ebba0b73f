//! Tenants' settings of Tekton, as every look at a run needs them.

use std::sync::Arc;

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
        let found = self.store.objects(keys).await?;
        Ok(TenantConfig::of(found.iter().filter_map(|(key, map)| Some((key.name.as_str(), map.as_ref()?)))))
    }
}
