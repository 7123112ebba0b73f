//! Which of the run's workspaces a task gets, and under which names.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::state::{Kind, Task};
use super::super::{Pass, results};
use crate::engine::doc::{list, object_mut, text};
use crate::engine::substitution::Replacements;
use crate::engine::{pod, workspaces};

impl Pass<'_> {
    /// Bindings of the workspaces that a task uses, and the run's workspace of the last of them that is a claim.
    ///
    /// # Errors
    /// The reference's text, where the run does not bind what the task needs.
    pub(super) fn bindings(
        &self,
        entry: &Value,
        task: &Task,
        propagated: &Replacements,
    ) -> Result<(Vec<Value>, Option<String>), String> {
        let mut bound = self.bound();
        workspaces::substitute(&mut bound, propagated);
        let mut wanted: Vec<Value> = list(entry, "workspaces").to_vec();
        if task.kind == Kind::Task && !entry["taskSpec"].is_null() {
            // An embedded task that refers to a workspace of the run gets it without a declaration.
            for name in used(&entry["taskSpec"]) {
                if !wanted.iter().any(|w| text(w, "name") == name) {
                    wanted.push(json!({"name": name}));
                }
            }
        }
        let (mut out, mut shared) = (Vec::new(), None);
        for wish in &wanted {
            let outer = match text(wish, "workspace") {
                "" => text(wish, "name"),
                name => name,
            };
            let Some(binding) = bound.iter().find(|b| text(b, "name") == outer) else {
                let declared = list(&task.spec, "workspaces").iter().find(|w| w["name"] == wish["name"]);
                if task.kind == Kind::Pipeline || declared.is_some_and(|w| w["optional"] == true) {
                    continue;
                }
                return Err(format!(
                    "expected workspace {outer:?} to be provided by pipelinerun for pipeline task {:?}",
                    task.name
                ));
            };
            if !binding["persistentVolumeClaim"].is_null() || !binding["volumeClaimTemplate"].is_null() {
                shared = Some(outer.to_owned());
            }
            out.push(self.binding(binding, wish));
        }
        Ok((out, shared))
    }

    fn binding(&self, binding: &Value, wish: &Value) -> Value {
        let mut out = binding.clone();
        out["name"] = wish["name"].clone();
        let parts = [text(binding, "subPath"), text(wish, "subPath")];
        let sub_path = match parts {
            ["", one] | [one, ""] => one.to_owned(),
            [outer, inner] => pod::clean(&format!("{outer}/{inner}")),
        };
        if !sub_path.is_empty() {
            let pipeline = text(&self.run()["spec"]["pipelineRef"], "name");
            out["subPath"] = json!(sub_path.replace("$(context.pipeline.name)", pipeline));
        }
        if !binding["volumeClaimTemplate"].is_null() {
            object_mut(&mut out).remove("volumeClaimTemplate");
            out["persistentVolumeClaim"] = json!({"claimName": self.claim_name(binding)});
        }
        out
    }
}

/// Names of the workspaces that a task's spec refers to, where the reference looks for them.
fn used(spec: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut look = |container: &Value| {
        let values = list(container, "env").iter().map(|env| &env["value"]);
        let given = list(container, "params").iter().map(|param| &param["value"]);
        let own = ["script", "args", "command", "workingDir"].into_iter().map(|field| &container[field]);
        for value in own.chain(values).chain(given) {
            let mut variables = Vec::new();
            results::variables(value, &mut variables);
            let names = variables.iter().filter_map(|v| v.strip_prefix("workspaces.")?.split('.').next());
            out.extend(names.map(str::to_owned));
        }
    };
    list(spec, "steps").iter().chain(list(spec, "sidecars")).for_each(&mut look);
    look(&spec["stepTemplate"]);
    out
}
