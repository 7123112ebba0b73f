//! What a tenant's settings mean for admission.

use serde_json::{Map, Value, json};

use crate::api::config::TenantConfig;
use crate::api::fault::Faults;

/// Switches as a run's status shows them, the name there first; whether they are on unless they are set.
const SHOWN_SWITCHES: [(&str, &str, bool); 16] = [
    ("awaitSidecarReadiness", "await-sidecar-readiness", true),
    ("disableCredsInit", "disable-creds-init", false),
    ("enableArtifacts", "enable-artifacts", false),
    ("enableCELInWhenExpression", "enable-cel-in-whenexpression", false),
    ("enableConciseResolverSyntax", "enable-concise-resolver-syntax", false),
    ("enableKeepPodOnCancel", "keep-pod-on-cancel", false),
    ("enableKubernetesSidecar", "enable-kubernetes-sidecar", false),
    ("enableParamEnum", "enable-param-enum", false),
    ("enableProvenanceInStatus", PROVENANCE, true),
    ("enableTerminationMessageCompression", "enable-termination-message-compression", false),
    ("enableWaitExponentialBackoff", "enable-wait-exponential-backoff", false),
    ("requireGitSSHSecretKnownHosts", "require-git-ssh-secret-known-hosts", false),
    ("runningInEnvWithInjectedSidecars", "running-in-environment-with-injected-sidecars", true),
    ("sendCloudEventsForRuns", "send-cloudevents-for-runs", true),
    ("setSecurityContext", "set-security-context", false),
    ("setSecurityContextReadOnlyRootFilesystem", "set-security-context-read-only-root-filesystem", false),
];
/// Words among the flags, the name in a run's status first, and what they are unless they are set.
const SHOWN_WORDS: [(&str, &str, &str); 6] = [
    ("coschedule", "coschedule", "workspaces"),
    ("disableInlineSpec", "disable-inline-spec", ""),
    ("enableAPIFields", "enable-api-fields", "beta"),
    ("enforceNonfalsifiability", "enforce-nonfalsifiability", "none"),
    ("resultExtractionMethod", "results-from", "termination-message"),
    ("verificationNoMatchPolicy", "trusted-resources-verification-no-match-policy", "ignore"),
];
const PROVENANCE: &str = "enable-provenance-in-status";
/// Largest result unless a setting says otherwise, bytes.
const RESULT_MAX: i64 = 4096;

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

    /// Whether a flag is on that is on or off unless it is set.
    fn on_or(&self, flag: &str, default: bool) -> bool {
        if self.feature_flags.contains_key(flag) { self.on(flag) } else { default }
    }

    /// Whether runs tell where what they run comes from.
    pub fn tells_provenance(&self) -> bool {
        self.on_or(PROVENANCE, true)
    }

    /// The flags as the status of a run shows them: what is off or empty is left out.
    pub fn shown(&self) -> Value {
        let mut out = Map::new();
        for (name, flag, default) in SHOWN_SWITCHES {
            if self.on_or(flag, default) {
                out.insert(name.into(), json!(true));
            }
        }
        for (name, flag, default) in SHOWN_WORDS {
            let word = self.feature_flags.get(flag).map_or(default, |set| set.trim());
            if !word.is_empty() {
                let lower = flag == "disable-inline-spec";
                out.insert(name.into(), if lower { json!(word) } else { json!(word.to_lowercase()) });
            }
        }
        let size = self.feature_flags.get("max-result-size").and_then(|size| size.parse().ok());
        out.insert("maxResultSize".into(), json!(size.unwrap_or(RESULT_MAX)));
        Value::Object(out)
    }

    /// Writes into the status of a run under which flags it is run.
    pub fn put_provenance(&self, status: &mut Value) {
        if self.tells_provenance() {
            status["provenance"]["featureFlags"] = self.shown();
        }
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
