//! The ConfigMaps of settings that a tenant is founded with: names, namespaces and defaults are those of an installation
//! of Tekton. They are ordinary objects: a tenant reads and changes them, and what is changed is checked on the way in.

/// A ConfigMap: namespace, name, data.
pub(super) type Setting = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Where settings of pipelines are.
pub(super) const PIPELINES: &str = "tekton-pipelines";
/// Where settings of resolvers are.
pub(super) const RESOLVERS: &str = "tekton-pipelines-resolvers";

const ELECTION: &[(&str, &str)] =
    &[("lease-duration", "60s"), ("renew-deadline", "40s"), ("retry-period", "10s"), ("buckets", "1")];
const OBSERVABILITY: &[(&str, &str)] = &[
    ("metrics.pipelinerun.duration-type", "histogram"),
    ("metrics.pipelinerun.level", "pipeline"),
    ("metrics.taskrun.duration-type", "histogram"),
    ("metrics.taskrun.level", "task"),
    ("metrics.count.enable-reason", "false"),
];

/// All of them.
pub(super) const SETTINGS: &[Setting] = &[
    (PIPELINES, "pipelines-info", &[("version", super::TEKTON)]),
    (
        PIPELINES,
        "feature-flags",
        &[
            ("await-sidecar-readiness", "true"),
            ("coschedule", "workspaces"),
            ("disable-creds-init", "false"),
            ("disable-inline-spec", ""),
            ("enable-api-fields", "beta"),
            ("enable-artifacts", "false"),
            ("enable-cel-in-whenexpression", "false"),
            ("enable-concise-resolver-syntax", "false"),
            ("enable-informer-cache-transforms", "true"),
            ("enable-kubernetes-sidecar", "false"),
            ("enable-param-enum", "false"),
            ("enable-provenance-in-status", "true"),
            ("enable-step-actions", "true"),
            ("enable-tekton-oci-bundles", "false"),
            ("enable-termination-message-compression", "false"),
            ("enable-wait-exponential-backoff", "false"),
            ("enforce-nonfalsifiability", "none"),
            ("keep-pod-on-cancel", "false"),
            ("max-result-size", "4096"),
            ("require-git-ssh-secret-known-hosts", "false"),
            ("results-from", "termination-message"),
            ("running-in-environment-with-injected-sidecars", "true"),
            ("send-cloudevents-for-runs", "true"),
            ("set-security-context", "false"),
            ("set-security-context-read-only-root-filesystem", "false"),
            ("trusted-resources-verification-no-match-policy", "ignore"),
        ],
    ),
    (
        PIPELINES,
        "config-defaults",
        &[
            ("default-create-container-error-timeout", "0s"),
            ("default-imagepullbackoff-timeout", "0s"),
            ("default-managed-by-label-value", "tekton-pipelines"),
            ("default-max-matrix-combinations-count", "256"),
            ("default-maximum-resolution-timeout", "1m"),
            ("default-service-account", "default"),
            ("default-sidecar-log-polling-interval", "100ms"),
            ("default-step-ref-concurrency-limit", "5"),
            ("default-timeout-minutes", "60"),
        ],
    ),
    (PIPELINES, "config-events", &[("formats", "tektonv1"), ("sink", "")]),
    (
        PIPELINES,
        "config-spire",
        &[
            ("spire-node-alias-prefix", "/tekton-node/"),
            ("spire-server-addr", "spire-server.spire.svc.cluster.local:8081"),
            ("spire-socket-path", "unix:///spiffe-workload-api/spire-agent.sock"),
            ("spire-trust-domain", "example.org"),
        ],
    ),
    (PIPELINES, "config-observability", OBSERVABILITY),
    (PIPELINES, "config-tracing", &[("credentialsSecret", ""), ("enabled", "false"), ("endpoint", "")]),
    (PIPELINES, "config-registry-cert", &[]),
    (PIPELINES, "config-logging", &[("loglevel.controller", "info"), ("loglevel.webhook", "info")]),
    (
        PIPELINES,
        "config-wait-exponential-backoff",
        &[("cap", "60s"), ("duration", "1s"), ("factor", "2.0"), ("jitter", "0.0"), ("steps", "10")],
    ),
    (PIPELINES, "config-leader-election-controller", ELECTION),
    (PIPELINES, "config-leader-election-events", ELECTION),
    (PIPELINES, "config-leader-election-webhook", ELECTION),
    (
        RESOLVERS,
        "resolvers-feature-flags",
        &[
            ("enable-bundles-resolver", "true"),
            ("enable-cluster-resolver", "true"),
            ("enable-git-resolver", "true"),
            ("enable-http-resolver", "true"),
            ("enable-hub-resolver", "true"),
        ],
    ),
    (RESOLVERS, "bundleresolver-config", &[("default-kind", "task")]),
    (
        RESOLVERS,
        "cluster-resolver-config",
        &[
            ("allowed-namespaces", ""),
            ("blocked-namespaces", ""),
            ("default-kind", "task"),
            ("default-namespace", ""),
        ],
    ),
    (
        RESOLVERS,
        "git-resolver-config",
        &[
            ("api-token-secret-key", ""),
            ("api-token-secret-name", ""),
            ("api-token-secret-namespace", "default"),
            ("default-org", ""),
            ("default-revision", "main"),
            ("default-url", "https://github.com/tektoncd/catalog.git"),
            ("fetch-timeout", "1m"),
            ("scm-type", "github"),
            ("server-url", ""),
        ],
    ),
    (RESOLVERS, "http-resolver-config", &[("fetch-timeout", "1m")]),
    (
        RESOLVERS,
        "hubresolver-config",
        &[
            ("default-artifact-hub-pipeline-catalog", "tekton-catalog-pipelines"),
            ("default-artifact-hub-task-catalog", "tekton-catalog-tasks"),
            ("default-kind", "task"),
            ("default-tekton-hub-catalog", "Tekton"),
            ("default-type", "artifact"),
        ],
    ),
    (RESOLVERS, "resolver-cache-config", &[("max-size", "1000"), ("ttl", "5m")]),
    (RESOLVERS, "config-observability", OBSERVABILITY),
    (RESOLVERS, "config-logging", &[("loglevel.controller", "info")]),
    (RESOLVERS, "config-leader-election-resolvers", ELECTION),
];
