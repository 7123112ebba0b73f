//! What a gateway did, in the text format that Prometheus reads (OpenMetrics). Labels are bounded: verbs, resources
//! that exist, codes, names of transactions; never a tenant, a run or anything else that a client made up.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Type of the body of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of request times, in seconds: from a cached read to a request that clients give up.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Ended {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    resource: String,
}

/// Requests by what they were and how they ended, and how long they took.
pub struct Counts {
    registry: Registry,
    requests: Family<Ended, Counter>,
    seconds: Family<Asked, Histogram>,
    /// Watches that are open.
    pub watches: Gauge,
}

impl Default for Counts {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gateway");
        let requests = Family::<Ended, Counter>::default();
        let seconds = Family::<Asked, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        let watches = Gauge::default();
        registry.register("requests", "Requests by verb, resource and code", requests.clone());
        registry.register(
            "request_seconds",
            "Time from a request's head to the head of its answer",
            seconds.clone(),
        );
        registry.register("watches", "Watches that are open", watches.clone());
        Self { registry, requests, seconds, watches }
    }
}

impl Counts {
    /// Counts a request and the time it took.
    pub fn request(&self, verb: &'static str, resource: &str, code: u16, took: Duration) {
        let resource = resource.to_owned();
        self.requests.get_or_create(&Ended { verb, resource: resource.clone(), code }).inc();
        self.seconds.get_or_create(&Asked { verb, resource }).observe(took.as_secs_f64());
    }

    /// Everything that is counted, with the commits of the store.
    pub fn text(&self, commits: &Arc<store::counted::Counts>) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# HELP store_commits Transactions committed, by name.\n# TYPE store_commits counter"
        );
        for (name, count) in commits.all() {
            let _ = writeln!(out, "store_commits_total{{name=\"{name}\"}} {count}");
        }
        let _ = writeln!(
            out,
            "# HELP store_refusals Transactions that were not committed, by name.\n# TYPE store_refusals counter"
        );
        for (name, count) in commits.refused() {
            let _ = writeln!(out, "store_refusals_total{{name=\"{name}\"}} {count}");
        }
        if encode(&mut out, &self.registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
        out
    }
}

#[cfg(test)]
mod tests;
