//! Claims of a run's workspaces, and the assistants that keep tasks which share one on one node.
//!
//! A cell has no nodes: it leaves the assistants aside. They are part of what clients see a controller do.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Pass;
use crate::engine::condition;
use crate::engine::decide::Key;
use crate::engine::doc::{is_empty, list, name, namespace, set, strings, text};
use crate::engine::{claims, pod, workspaces};

/// Annotation of children that shall be near an assistant.
pub const ANNOTATION: &str = "pipeline.tekton.dev/affinity-assistant";

/// Annotation of a run whose claims go with its end.
const CLEAN_UP: &str = "tekton.dev/auto-cleanup-pvc";

/// What an assistant takes from pod templates.
const OF_TEMPLATES: [&str; 5] =
    ["tolerations", "nodeSelector", "imagePullSecrets", "priorityClassName", "securityContext"];

/// What shares a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coschedule {
    /// Tasks that share a workspace.
    Workspaces,
    /// All tasks of a run.
    PipelineRuns,
    /// All tasks of a run, and no other run's.
    Isolated,
    /// Nothing.
    Disabled,
}

/// Name of the assistant of a workspace; of the whole run when `workspace` is "".
pub fn assistant(workspace: &str, run: &str) -> String {
    let hash = Sha256::digest(format!("{workspace}{run}"));
    let hex: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("affinity-assistant-{hex}")
}

fn is_claim(binding: &Value) -> bool {
    !binding["persistentVolumeClaim"].is_null() || !binding["volumeClaimTemplate"].is_null()
}

impl Pass<'_> {
    /// What shares a node here.
    pub(super) fn coschedule(&self) -> Coschedule {
        match self.config.feature_flags.get("coschedule").map_or("workspaces", String::as_str) {
            "pipelineruns" => Coschedule::PipelineRuns,
            "isolate-pipelinerun" => Coschedule::Isolated,
            "disabled" => Coschedule::Disabled,
            _ => Coschedule::Workspaces,
        }
    }

    /// The run's workspaces, with its params put into them.
    pub(super) fn bound(&self) -> Vec<Value> {
        let mut bound = list(&self.run()["spec"], "workspaces").to_vec();
        workspaces::substitute(&mut bound, &super::apply::of_run(self.run()));
        bound
    }

    /// Name of the claim that a binding with a template stands for.
    pub(super) fn claim_name(&self, binding: &Value) -> String {
        let run = self.run();
        let claim = claims::name(&binding["volumeClaimTemplate"], text(binding, "name"), run);
        match self.coschedule() {
            Coschedule::Workspaces | Coschedule::Disabled => claim,
            Coschedule::PipelineRuns | Coschedule::Isolated => {
                format!("{claim}-{}-0", assistant("", name(run)))
            }
        }
    }

    /// The assistant that a child is near, whose last claim is bound to the run's `workspace`.
    pub(super) fn assistant_of(&self, workspace: Option<&str>) -> Option<String> {
        let run = name(self.run());
        match self.coschedule() {
            Coschedule::Disabled => None,
            Coschedule::Workspaces => workspace.map(|workspace| assistant(workspace, run)),
            Coschedule::PipelineRuns | Coschedule::Isolated => Some(assistant("", run)),
        }
    }

    /// Creates claims and assistants that are not there yet.
    pub(super) fn claims(&mut self) {
        let run = self.seen.run.clone();
        let all = self.bound();
        let coschedule = self.coschedule();
        if matches!(coschedule, Coschedule::Workspaces | Coschedule::Disabled) {
            for binding in all.iter().filter(|b| !b["volumeClaimTemplate"].is_null()) {
                let template = &binding["volumeClaimTemplate"];
                self.create_once(claims::claim(template, text(binding, "name"), &run));
            }
        }
        match coschedule {
            Coschedule::Disabled => {}
            Coschedule::Workspaces => {
                for binding in all.iter().filter(|b| is_claim(b)) {
                    let claim = match binding["persistentVolumeClaim"]["claimName"].as_str() {
                        Some(claim) => claim.to_owned(),
                        None => self.claim_name(binding),
                    };
                    let assistant = assistant(text(binding, "name"), name(&run));
                    self.create_once(self.stateful_set(&assistant, &[claim], &[], false));
                }
            }
            Coschedule::PipelineRuns | Coschedule::Isolated => {
                let bound = all.iter().filter_map(|b| b["persistentVolumeClaim"]["claimName"].as_str());
                let bound: Vec<_> = bound.map(str::to_owned).collect();
                let templates: Vec<_> = all
                    .iter()
                    .filter(|b| !b["volumeClaimTemplate"].is_null())
                    .map(|b| {
                        let template = &b["volumeClaimTemplate"];
                        let claim = claims::name(template, text(b, "name"), &run);
                        json!({"metadata": {"name": claim}, "spec": template["spec"], "status": {}})
                    })
                    .collect();
                let isolated = coschedule == Coschedule::Isolated;
                let set = self.stateful_set(&assistant("", name(&run)), &bound, &templates, isolated);
                self.create_once(set);
            }
        }
    }

    /// Creates an object, unless it is there or was asked for in this pass.
    pub(super) fn create_once(&mut self, object: Value) {
        let same = |o: &&Value| o["kind"] == object["kind"] && name(o) == name(&object);
        if !self.seen.owned.iter().chain(&self.decision.creates).any(|o| same(&o)) {
            self.decision.creates.push(object);
        }
    }

    /// Deletes the assistants of a run that has ended, and the claims that end with it.
    pub(super) fn clean_up(&mut self) {
        let sets = self.seen.owned.iter().filter(|o| text(o, "kind") == "StatefulSet");
        let gone = sets.chain(self.claims_to_go()).map(|o| Key::new(text(o, "kind"), namespace(o), name(o)));
        let gone: Vec<_> = gone.collect();
        self.decision.deletes.extend(gone);
    }

    /// Claims made from the run's templates that go once it and its children have ended: those that an assistant of
    /// the whole run would have made; of others, if the run asks for it.
    pub(super) fn claims_to_go(&self) -> Vec<&'_ Value> {
        let run = self.run();
        let wanted = match self.coschedule() {
            Coschedule::Disabled => false,
            Coschedule::Workspaces => run["metadata"]["annotations"][CLEAN_UP] == "true",
            Coschedule::PipelineRuns | Coschedule::Isolated => true,
        };
        let runs = self.seen.owned.iter().filter(|o| matches!(text(o, "kind"), "TaskRun" | "PipelineRun"));
        if !wanted || !runs.into_iter().all(|child| condition::is_done(&child["status"])) {
            return Vec::new();
        }
        // Only what has the name of a template's claim: nothing else of the run is ours to delete.
        let bound = self.bound();
        let templates = bound.iter().filter(|b| !b["volumeClaimTemplate"].is_null());
        let names: Vec<_> = templates.map(|binding| self.claim_name(binding)).collect();
        let claims = self.seen.owned.iter().filter(|o| text(o, "kind") == "PersistentVolumeClaim");
        claims.filter(|claim| names.iter().any(|wanted| wanted == name(claim))).collect()
    }

    fn stateful_set(&self, assistant: &str, claims: &[String], templates: &[Value], isolated: bool) -> Value {
        let run = self.run();
        let mut labels =
            self.decision.metadata.as_ref().map_or_else(|| strings(run, "labels"), |m| m.labels.clone());
        labels.insert("tekton.dev/pipelineRun".into(), name(run).into());
        labels.insert("app.kubernetes.io/component".into(), "affinity-assistant".into());
        labels.insert("app.kubernetes.io/instance".into(), assistant.into());
        let term = json!({
            "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "affinity-assistant"}},
            "topologyKey": "kubernetes.io/hostname",
        });
        let repelled = if isolated {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
        } else {
            json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]})
        };
        let size = json!({"cpu": "50m", "memory": "100Mi"});
        let mounts: Vec<_> = templates
            .iter()
            .map(|t| json!({"name": t["metadata"]["name"], "mountPath": t["metadata"]["name"]}))
            .collect();
        let volumes: Vec<_> = claims
            .iter()
            .enumerate()
            .map(|(i, claim)| {
                json!({"name": format!("workspace-{i}"), "persistentVolumeClaim": {"claimName": claim}})
            })
            .collect();
        let mut pod = json!({
            "affinity": {"podAntiAffinity": repelled},
            "containers": [{
                "name": "affinity-assistant",
                "image": self.installation.nop_image,
                "args": ["tekton_run_indefinitely"],
                "resources": {"limits": size, "requests": size},
                "securityContext": {},
            }],
        });
        if !mounts.is_empty() {
            pod["containers"][0]["volumeMounts"] = Value::Array(mounts);
        }
        if !volumes.is_empty() {
            pod["volumes"] = Value::Array(volumes);
        }
        let template = &run["spec"]["taskRunTemplate"];
        set(&mut pod, "serviceAccountName", template["serviceAccountName"].clone());
        let configured = self.config.config_defaults.get("default-affinity-assistant-pod-template");
        let configured = configured.and_then(|text| serde_yaml_ng::from_str::<Value>(text).ok());
        let configured = configured.unwrap_or_default();
        for field in OF_TEMPLATES {
            let own = [&template["podTemplate"], &configured].into_iter().find(|t| !is_empty(t, field));
            if let Some(own) = own {
                pod[field] = own[field].clone();
            }
        }
        let flags = pod::Flags::of(self.config, self.installation);
        let security = pod::security(&flags, &pod["nodeSelector"]);
        set(&mut pod["containers"][0], "securityContext", security);
        let mut spec = json!({
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "serviceName": "",
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "updateStrategy": {},
        });
        if !templates.is_empty() {
            spec["volumeClaimTemplates"] = Value::Array(templates.to_vec());
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": assistant, "labels": labels, "ownerReferences": [pod::owner(run)]},
            "spec": spec,
            "status": {"availableReplicas": 0, "replicas": 0},
        })
    }
}
