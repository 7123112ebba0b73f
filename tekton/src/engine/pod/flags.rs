//! The settings of a tenant that change its Pods.

use crate::api::config::TenantConfig;
use crate::engine::decide::Installation;

/// Minor version of Kubernetes from which on init containers may go on beside the others.
const NATIVE_SIDECARS_SINCE: u32 = 29;

/// Settings that change the Pod.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub(super) await_sidecars: bool,
    pub(super) injected_sidecars: bool,
    pub(super) no_creds_init: bool,
    pub(super) known_hosts: bool,
    pub(super) keep_pod: bool,
    pub(super) alpha: bool,
    pub(super) spire: bool,
    pub(super) compress: bool,
    pub(super) sidecar_logs: bool,
    pub(super) native_sidecars: bool,
    pub(super) secure: bool,
    pub(super) read_only_root: bool,
    pub(super) polling_interval: String,
    pub(super) container_resources: String,
    pub(super) forbidden_env: Vec<String>,
}

impl Flags {
    /// Whether sidecars are init containers that go on beside the others.
    pub fn native_sidecars(&self) -> bool {
        self.native_sidecars
    }

    /// Those of a tenant's settings.
    pub fn of(config: &TenantConfig, installation: &Installation) -> Self {
        let flag = |name: &str| config.feature_flags.get(name).map_or("", String::as_str);
        let on = |name: &str| flag(name).eq_ignore_ascii_case("true");
        let not_off = |name: &str| flag(name).is_empty() || on(name);
        let default = |name: &str| config.config_defaults.get(name).cloned().unwrap_or_default();
        let interval = default("default-sidecar-log-polling-interval");
        Self {
            await_sidecars: not_off("await-sidecar-readiness"),
            injected_sidecars: not_off("running-in-environment-with-injected-sidecars"),
            no_creds_init: on("disable-creds-init"),
            known_hosts: on("require-git-ssh-secret-known-hosts"),
            keep_pod: on("keep-pod-on-cancel"),
            alpha: flag("enable-api-fields") == "alpha",
            spire: flag("enforce-nonfalsifiability") == "spire",
            compress: on("enable-termination-message-compression"),
            sidecar_logs: flag("results-from") == "sidecar-logs",
            native_sidecars: on("enable-kubernetes-sidecar")
                && installation.kubernetes_minor >= NATIVE_SIDECARS_SINCE,
            secure: on("set-security-context"),
            read_only_root: on("set-security-context-read-only-root-filesystem"),
            polling_interval: if interval.is_empty() { "100ms".into() } else { interval },
            container_resources: default("default-container-resource-requirements"),
            forbidden_env: default("default-forbidden-env")
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }
}
