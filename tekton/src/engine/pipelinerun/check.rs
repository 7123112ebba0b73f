//! Whether the run gives what its pipeline asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Pass, Stop};
use crate::engine::doc::{list, name, namespace, text};
use crate::engine::params::{self, Misfit};

impl Pass<'_> {
    /// Params, workspaces and taskRunSpecs against the pipeline.
    ///
    /// # Errors
    /// [`Stop::Done`] when the run has failed.
    pub(super) fn run_fits(&mut self, pipeline: &Value, pipeline_name: &str) -> Result<(), Stop> {
        let run = self.seen.run.clone();
        let place = format!("PipelineRun {}/{}", namespace(&run), name(&run));
        let of = format!("Pipeline {}/{pipeline_name}", namespace(&run));
        let (specs, given) = (list(pipeline, "params"), list(&run["spec"], "params"));
        if let Err(misfit) = params::check(specs, given) {
            let (reason, message, error) = params_misfit(&misfit, &place, &of);
            return Err(self.refuse(reason, &message, &error));
        }
        if self.flag("enable-param-enum")
            && let Some(error) = not_allowed(specs, given)
        {
            let message = format!("{place} parameters have invalid value: {error}");
            return Err(self.refuse("InvalidParamValue", &message, &error));
        }
        let beyond = params::beyond_the_end(&params::values(specs, given), &texts_of(pipeline));
        if !beyond.is_empty() {
            let error = format!("non-existent param references:[{}]", beyond.join(" "));
            let message = format!(
                "{place} failed validation: failed to validate {of}'s parameter which has an invalid index while referring to an array: {error}"
            );
            return Err(self.refuse("ParamArrayIndexingInvalid", &message, &error));
        }
        let bound = list(&run["spec"], "workspaces");
        let unbound = list(pipeline, "workspaces")
            .iter()
            .find(|w| w["optional"] != true && !bound.iter().any(|b| b["name"] == w["name"]));
        if let Some(unbound) = unbound {
            let error = format!(
                "pipeline requires workspace with name {:?} be provided by pipelinerun",
                text(unbound, "name")
            );
            let message = format!("{place} doesn't bind {of}'s Workspaces correctly: {error}");
            return Err(self.refuse("InvalidWorkspaceBindings", &message, &error));
        }
        let known: BTreeSet<_> = ["tasks", "finally"]
            .iter()
            .flat_map(|part| list(pipeline, part))
            .map(|task| text(task, "name"))
            .collect();
        let specifics = list(&run["spec"], "taskRunSpecs").iter().map(|s| text(s, "pipelineTaskName"));
        if let Some(unknown) = specifics.into_iter().find(|wanted| !known.contains(wanted)) {
            let error = format!(
                "pipelineRun's taskrunSpecs defined wrong taskName: {unknown:?}, does not exist in Pipeline"
            );
            let message = format!("{place} doesn't define taskRunSpecs correctly: {error}");
            return Err(self.refuse("InvalidTaskRunSpecs", &message, &error));
        }
        Ok(())
    }
}

fn params_misfit(misfit: &Misfit, place: &str, of: &str) -> (&'static str, String, String) {
    match misfit {
        Misfit::Missing(names) => {
            let error = format!("pipelineRun missing parameters: [{}]", names.join(" "));
            (
                "ParameterMissing",
                format!("{place} is missing some parameters required by {of}: {error}"),
                error,
            )
        }
        Misfit::WrongType(names) => {
            let error = format!("parameters have inconsistent types : [{}]", names.join(" "));
            let message =
                format!("{place} parameters have mismatching types with {of}'s parameters: {error}");
            ("ParameterTypeMismatch", message, error)
        }
        Misfit::MissingKeys(keys) => {
            let keys = go_map(keys);
            let error = format!("pipelineRun missing object keys for parameters: {keys}");
            let message =
                format!("{place} parameters is missing object keys required by {of}'s parameters: {error}");
            ("ObjectParameterMissKeys", message, error)
        }
    }
}

/// A map of lists as the reference's language prints it.
fn go_map(map: &BTreeMap<String, Vec<String>>) -> String {
    let entries: Vec<_> = map.iter().map(|(name, keys)| format!("{name}:[{}]", keys.join(" "))).collect();
    format!("map[{}]", entries.join(" "))
}

/// A text value that is not among those that its declaration allows.
fn not_allowed(specs: &[Value], given: &[Value]) -> Option<String> {
    given.iter().find_map(|param| {
        let (name, value) = (text(param, "name"), param["value"].as_str().unwrap_or_default());
        let allowed = list(specs.iter().find(|spec| text(spec, "name") == name)?, "enum");
        let refused = !value.is_empty() && !allowed.is_empty() && !allowed.iter().any(|a| a == value);
        refused.then(|| format!("param `{name}` value: {value} is not in the enum list"))
    })
}

fn texts_of(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, out: &mut BTreeSet<String>) {
        match value {
            Value::String(text) if text.contains("$(") => drop(out.insert(text.clone())),
            Value::Array(items) => items.iter().for_each(|item| walk(item, out)),
            Value::Object(map) => map.values().for_each(|item| walk(item, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut out = BTreeSet::new();
    for part in ["tasks", "finally"] {
        walk(&value[part], &mut out);
    }
    out
}
