//! Which of the run's workspaces a task gets, and under which names.

use serde_json::{Value, json};

use super::super::Pass;
use super::super::state::{Kind, Task};
use crate::engine::doc::{list, object_mut, text};
use crate::engine::substitution::Replacements;
use crate::engine::workspaces;

impl Pass<'_> {
    /// Bindings of the workspaces that a task uses, and the run's workspace of the last of them that is a claim.
    pub(super) fn bindings(
        &self,
        entry: &Value,
        task: &Task,
        propagated: &Replacements,
    ) -> (Vec<Value>, Option<String>) {
        let mut bound = self.bound();
        workspaces::substitute(&mut bound, propagated);
        let mut wanted: Vec<Value> = list(entry, "workspaces").to_vec();
        if task.kind == Kind::Task && !entry["taskSpec"].is_null() {
            // An embedded task that refers to a workspace of the run gets it without a declaration.
            let spec = entry["taskSpec"].to_string();
            for binding in &bound {
                let name = text(binding, "name");
                let used = spec.contains(&format!("$(workspaces.{name}."));
                if used && !wanted.iter().any(|w| text(w, "name") == name) {
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
            let Some(binding) = bound.iter().find(|b| text(b, "name") == outer) else { continue };
            if !binding["persistentVolumeClaim"].is_null() || !binding["volumeClaimTemplate"].is_null() {
                shared = Some(outer.to_owned());
            }
            out.push(self.binding(binding, wish));
        }
        (out, shared)
    }

    fn binding(&self, binding: &Value, wish: &Value) -> Value {
        let mut out = binding.clone();
        out["name"] = wish["name"].clone();
        let parts = [text(binding, "subPath"), text(wish, "subPath")];
        let sub_path: Vec<_> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        if !sub_path.is_empty() {
            out["subPath"] = json!(sub_path.join("/"));
        }
        if !binding["volumeClaimTemplate"].is_null() {
            object_mut(&mut out).remove("volumeClaimTemplate");
            out["persistentVolumeClaim"] = json!({"claimName": self.claim_name(binding)});
        }
        out
    }
}
