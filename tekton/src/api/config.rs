//! A tenant's settings: the data of the ConfigMaps `feature-flags`, `config-defaults` and their siblings.

use std::collections::BTreeMap;

/// A tenant's settings. Absent keys mean the reference's defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TenantConfig {
    /// Data of ConfigMap `feature-flags`.
    pub feature_flags: BTreeMap<String, String>,
    /// Data of ConfigMap `config-defaults`.
    pub config_defaults: BTreeMap<String, String>,
    /// Data of the other ConfigMaps, by name.
    pub others: BTreeMap<String, BTreeMap<String, String>>,
}
