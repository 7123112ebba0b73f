//! What an object must pass before it is stored: Tekton's defaulting and validation, and for root runs, placement.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::meta;
use apimachinery::schema::Required;
use apimachinery::status::{Reason, Status};
use base::telemetry::Traceparent;
use serde_json::Value;
use store::cell::{
    CELL, EPOCH, EXPLANATION, INFRA_REASON, INFRA_RETRIES, REGION, RERUN, RERUNS, TIMINGS, TRACEPARENT,
    WAITING,
};
use store::quota::COUNTED;
use store::tenant::{Namespace, Surroundings};
use tekton::api::config::{TenantConfig, data};
use tekton::api::{decode, defaults, hint, validate};
use tenancy::placement::{self, CellView, Request};
use tenancy::residency::Residency;

use crate::app::Admission;
use crate::objects::At;

/// The name under which the reference refuses objects; clients show it.
const WEBHOOK: &str = "validation.webhook.pipeline.tekton.dev";
/// The same for objects that it cannot read.
const CHANGING_WEBHOOK: &str = "webhook.pipeline.tekton.dev";
/// The same for ConfigMaps of settings.
const CONFIG_WEBHOOK: &str = "config.webhook.pipeline.tekton.dev";
/// Where a tenant's settings are.
const SETTINGS: &str = "tekton-pipelines";
/// Annotations that only we set.
const OURS: [&str; 10] =
    [CELL, REGION, EPOCH, EXPLANATION, TIMINGS, WAITING, INFRA_RETRIES, INFRA_REASON, RERUNS, COUNTED];

/// One request's admission.
pub(crate) struct Admit<'a> {
    pub at: &'a At<'a>,
    pub around: &'a Surroundings,
    /// The tenant's settings, once something has asked for them.
    settings: OnceCell<Arc<TenantConfig>>,
}

impl<'a> Admit<'a> {
    pub(crate) fn new(at: &'a At<'a>, around: &'a Surroundings) -> Self {
        Self { at, around, settings: OnceCell::new() }
    }

    fn settings(&self) -> &TenantConfig {
        self.settings.get_or_init(|| self.around.make(config))
    }

    /// How strictly the schema's required fields are taken: Tekton's own defaulting fills many of them.
    pub(crate) fn required(&self) -> Required {
        match self.at.app.admission {
            Admission::Tekton => Required::Loose,
            Admission::Bare => Required::Strict,
        }
    }

    /// Completes an object: defaults, and for a new run its placement and trace.
    ///
    /// # Errors
    /// A Status in Tekton's words.
    pub(crate) fn change(&self, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        let kind = self.at.target.kind;
        if old.is_none() && kind.namespaced() {
            self.check_namespace()?;
        }
        if self.at.app.admission == Admission::Bare {
            return Ok(());
        }
        // What we set, a client can neither set, change nor remove.
        for ours in OURS {
            match old.and_then(|old| meta::annotation(old, ours)).map(str::to_owned) {
                Some(value) => meta::set_annotation(object, ours, value),
                None => remove_annotation(object, ours),
            }
        }
        if kind.group.ends_with("tekton.dev") {
            decode::check(object)
                .map_err(|why| denied(CHANGING_WEBHOOK, "mutation", &why).hinting(&why.field, &why.hint))?;
            defaults::apply(kind.kind, object, self.settings());
        }
        // A request is resolved in a cell, as a run is run in one.
        let is_placed = matches!(kind.kind, "TaskRun" | "PipelineRun") && kind.group == "tekton.dev"
            || kind.kind == "ResolutionRequest";
        if is_placed && old.is_none() {
            place(self.at, object, self.around, None)?;
        }
        Ok(())
    }

    /// Checks a completed object; gives warnings.
    ///
    /// # Errors
    /// A Status in Tekton's words.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>) -> Result<Vec<String>, Status> {
        let kind = self.at.target.kind;
        if self.at.app.admission == Admission::Bare {
            return Ok(Vec::new());
        }
        if kind.plural == "configmaps" && self.at.target.namespace.as_deref() == Some(SETTINGS) {
            tekton::api::config::check(meta::name(object), &data(object))
                .map_err(|why| refused(CONFIG_WEBHOOK, &why))?;
        }
        if !kind.group.ends_with("tekton.dev") {
            return Ok(Vec::new());
        }
        let faults = validate::check(kind.kind, object, old, self.settings());
        if faults.is_empty() {
            return Ok(Vec::new());
        }
        let hints = hint::of(&faults);
        let refusal = refused(WEBHOOK, &faults);
        Err(hints.iter().fold(refusal, |status, hint| status.hinting(&hint.field, &hint.text)))
    }

    /// Nothing is made in a namespace that is not there, or is on its way out.
    fn check_namespace(&self) -> Result<(), Status> {
        let (kind, namespace) = (self.at.target.kind, self.at.target.namespace.as_deref().unwrap_or(""));
        match self.around.namespace {
            Namespace::Active => Ok(()),
            Namespace::Absent => Err(Status::not_found("", "namespaces", namespace)),
            Namespace::Terminating => {
                let what = format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                );
                Err(Status::forbidden(kind.group, kind.plural, "", &what))
            }
        }
    }
}

/// A refusal as the API server passes it on from a webhook.
fn refused(webhook: &str, why: &dyn std::fmt::Display) -> Status {
    denied(webhook, "validation", why)
}

fn denied(webhook: &str, step: &str, why: &dyn std::fmt::Display) -> Status {
    Status::bad_request(format!("admission webhook \"{webhook}\" denied the request: {step} failed: {why}"))
}

/// A tenant's settings.
fn config(around: &Surroundings) -> TenantConfig {
    let maps = [("feature-flags", &around.feature_flags), ("config-defaults", &around.config_defaults)];
    TenantConfig::of(maps.into_iter().filter_map(|(name, map)| Some((name, map.as_ref()?))))
}

/// Claims that a new run's workspaces name.
pub(crate) fn claims(object: &Value) -> impl Iterator<Item = &str> {
    let runs = matches!(object["kind"].as_str(), Some("TaskRun" | "PipelineRun"));
    let workspaces = object["spec"]["workspaces"].as_array().filter(|_| runs).into_iter().flatten();
    workspaces.filter_map(|workspace| workspace["persistentVolumeClaim"]["claimName"].as_str())
}

/// Places a root run, and starts its trace. `volume` is a claim of it, with the cell that has the claim's volume.
pub(crate) fn place(
    at: &At<'_>,
    object: &mut Value,
    around: &Surroundings,
    volume: Option<(String, String)>,
) -> Result<(), Status> {
    let annotations: BTreeMap<String, String> = object["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect();
    let policy = around.tenant.as_ref();
    let tenant = policy.map(|t| t.residency.clone()).unwrap_or_default();
    let refuse = |message: String| {
        let kind = at.target.kind;
        let mut status = Status::failure(Reason::BadRequest, message);
        status.details = Status::not_found(kind.group, kind.plural, meta::name(object)).details;
        status
    };
    let namespace = around.residency.as_ref().map_err(|e| refuse(format!("the run's namespace: {e}")))?;
    let mut request = Request::parse(&annotations, Residency::from(tenant).and(namespace))
        .map_err(|e| refuse(e.to_string()))?;
    request.volume = volume;
    let host = &at.app.host;
    let now = host.clock.utc().0;
    let cells: Vec<_> = around
        .cells
        .iter()
        .map(|c| CellView {
            cell: c.cell.clone(),
            region: c.region.clone(),
            // A cell that sleeps says nothing, and wakes when it is told to.
            heard_us: if c.asleep_until_us.is_some() { now } else { c.at_us },
            draining: c.draining,
            machines: c.machines,
            machines_max: c.machines_max,
        })
        .collect();
    let random = u64::try_from(host.id() & u128::from(u64::MAX)).unwrap_or(0);
    let placed = placement::place(&request, &cells, now, random).map_err(|e| refuse(e.to_string()))?;
    let explanation =
        serde_json::to_string(&placed).map_err(|_| refuse("the placement cannot be written".into()))?;
    let rerun = match annotations.get(RERUN).map(String::as_str) {
        None => policy.is_some_and(|tenant| tenant.rerun_after_loss),
        Some("true" | "false") => false,
        Some(other) => {
            return Err(refuse(format!("annotation {RERUN}: {other:?} is neither true nor false")));
        }
    };
    if rerun {
        meta::set_annotation(object, RERUN, "true");
    }
    let is_run = at.target.kind.kind != "ResolutionRequest";
    if is_run && policy.is_some_and(|tenant| tenant.runs_max.is_some()) {
        meta::set_annotation(object, COUNTED, "true");
    }
    meta::set_annotation(object, CELL, placed.cell);
    meta::set_annotation(object, REGION, placed.region);
    meta::set_annotation(object, EPOCH, "1");
    meta::set_annotation(object, EXPLANATION, explanation);
    if let Some(waits_for) = &placed.waits_for {
        let change = "it goes on by itself then";
        let waiting = format!("it waits for {waits_for}; {change}; where it may go: {}", request.limits());
        meta::set_annotation(object, WAITING, waiting);
    }
    let mut trace = Traceparent::new(host.id(), u64::try_from(host.id() >> 64).unwrap_or(1));
    if let Some(sent) = crate::trace::sent(at.ask) {
        trace = Traceparent { span: trace.span, ..sent };
    }
    meta::set_annotation(object, TRACEPARENT, trace.to_string());
    Ok(())
}

fn remove_annotation(object: &mut Value, key: &str) {
    if let Some(map) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        map.remove(key);
    }
}
