//! What a tenant's settings mean for admission.

use crate::api::config::TenantConfig;
use crate::api::fault::Faults;

/// From which stability level on a field may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    Beta,
    Alpha,
}

impl TenantConfig {
    /// Whether a flag that is off unless set is on.
    pub(crate) fn on(&self, flag: &str) -> bool {
        let value = self.feature_flags.get(flag).map(String::as_str);
        matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// The value of `enable-api-fields`.
    pub(crate) fn api_fields(&self) -> &str {
        let set = self.feature_flags.get("enable-api-fields").map_or("", |v| v.trim());
        if set.is_empty() { "beta" } else { set }
    }

    /// A fault unless fields of `level` may be used.
    pub(crate) fn gate(&self, feature: &str, level: Level) -> Faults {
        let set = self.api_fields().to_lowercase();
        let (enough, wanted) = match level {
            Level::Alpha => (set == "alpha", r#""alpha""#),
            Level::Beta => (set == "alpha" || set == "beta", r#""alpha" or "beta""#),
        };
        if enough {
            return Faults::none();
        }
        Faults::at(
            format!(
                r#"{feature} requires "enable-api-fields" feature gate to be {wanted} but it is "{set}""#
            ),
            &[],
        )
    }

    /// Whether specs may not be embedded in `kind` (`taskrun`, `pipelinerun`, `pipeline`).
    pub(crate) fn inline_disabled(&self, kind: &str) -> bool {
        self.feature_flags.get("disable-inline-spec").is_some_and(|v| v.split(',').any(|k| k == kind))
    }

    /// Environment variables that pod templates may not set.
    pub(crate) fn forbidden_env(&self) -> Vec<&str> {
        let set = self.config_defaults.get("default-forbidden-env").map_or("", String::as_str);
        set.split(',').map(str::trim).filter(|v| !v.is_empty()).collect()
    }

    /// How many combinations a matrix may have.
    pub(crate) fn matrix_limit(&self) -> usize {
        let set = self.config_defaults.get("default-max-matrix-combinations-count");
        set.and_then(|v| v.parse().ok()).unwrap_or(256)
    }

    /// `default-timeout-minutes` in nanoseconds.
    pub(crate) fn default_timeout(&self) -> i64 {
        let minutes = self.config_defaults.get("default-timeout-minutes").and_then(|v| v.parse::<i64>().ok());
        minutes.unwrap_or(60).saturating_mul(60_000_000_000)
    }
}
