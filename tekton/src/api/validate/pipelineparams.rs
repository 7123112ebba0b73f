//! Parameters of pipelines: declarations, and uses in tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Settings;
use super::references::{expressions, is_whole, isolated, known, prohibited, whole_prohibited};
use super::{matrix, params};
use crate::api::fault::Faults;
use crate::api::read::{list, map, text, texts, value_type};

const PREFIX: &str = "params";

/// Faults of declarations, and of values given twice.
pub(super) fn declarations(tasks: &[Value], declared: &[Value], config: &Settings<'_>) -> Faults {
    let mut faults = params::types(declared).under("params");
    faults.add(params::unique(declared));
    faults.add(params::enums(declared, config));
    faults.add(unique_values(tasks));
    faults
}

fn unique_values(tasks: &[Value]) -> Faults {
    let mut faults = Faults::none();
    for (index, task) in tasks.iter().enumerate() {
        faults.add(matrix::unique(list(task, "params")).under("params").index(index));
    }
    faults
}

/// Faults of references to the run's surroundings. As in the reference, only the last task is looked at.
pub(super) fn context(tasks: &[Value]) -> Faults {
    let Some(task) = tasks.last() else { return Faults::none() };
    let matrix = &task["matrix"];
    let included = list(matrix, "include").iter().flat_map(|i| list(i, "params"));
    let mut values = Vec::new();
    for param in list(task, "params").iter().chain(list(matrix, "params")).chain(included) {
        super::graph::all_texts(&param["value"], &mut values);
    }
    let mut faults = Faults::none();
    let contexts: [(&str, &[&str]); 3] = [
        ("context.pipelineRun", &["name", "namespace", "uid"]),
        ("context.pipeline", &["name"]),
        ("context.pipelineTask", &["retries"]),
    ];
    for (prefix, names) in contexts {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        for value in &values {
            faults.add(known(value, prefix, &names).under("value"));
        }
    }
    faults
}

/// What is declared.
struct Declared {
    all: BTreeSet<String>,
    arrays: BTreeSet<String>,
    objects: BTreeMap<String, BTreeSet<String>>,
}

impl Declared {
    fn new(params: &[Value]) -> Self {
        let mut out = Self { all: BTreeSet::new(), arrays: BTreeSet::new(), objects: BTreeMap::new() };
        for param in params {
            let name = text(param, "name").to_owned();
            match text(param, "type") {
                "array" => {
                    out.arrays.insert(name.clone());
                }
                "object" => {
                    let keys = map(param, "properties").into_iter().flatten().map(|(k, _)| k.clone());
                    out.objects.entry(name.clone()).or_default().extend(keys);
                }
                _ => {}
            }
            out.all.insert(name);
        }
        out
    }

    fn common(&self, value: &str) -> Faults {
        let mut faults = known(value, PREFIX, &self.all);
        for (name, keys) in self.objects.iter().filter(|(_, keys)| !keys.is_empty()) {
            faults.add(known(value, &format!("{PREFIX}.{name}"), keys));
        }
        let objects = self.objects.iter().filter(|(_, keys)| !keys.is_empty()).map(|(n, _)| n.clone());
        faults.add(whole_prohibited(value, PREFIX, &objects.collect()));
        faults
    }

    /// In a text.
    fn in_text(&self, value: &str) -> Faults {
        let mut faults = self.common(value);
        faults.add(prohibited(value, PREFIX, &self.arrays));
        faults
    }

    /// In an element of a list.
    fn in_element(&self, value: &str) -> Faults {
        let mut faults = self.common(value);
        faults.add(isolated(value, PREFIX, &self.arrays));
        faults
    }

    fn in_param(&self, param: &Value) -> Faults {
        let (name, value) = (text(param, "name"), &param["value"]);
        let mut faults = Faults::none();
        match value_type(value) {
            "array" => {
                for (index, element) in texts(param, "value").enumerate() {
                    faults.add(self.in_element(element).field_index("value", index));
                }
            }
            "object" => {
                for (key, value) in map(param, "value").into_iter().flatten() {
                    faults.add(self.in_text(value.as_str().unwrap_or("")).field_key("properties", key));
                }
            }
            _ => {
                let value = value.as_str().unwrap_or("");
                let found = match is_whole(value, PREFIX) {
                    true => known(value, PREFIX, &self.all),
                    false => self.in_text(value),
                };
                faults.add(found);
            }
        }
        faults.field_key("params", name)
    }

    fn in_matrix(&self, task: &Value) -> Faults {
        let matrix = &task["matrix"];
        let mut faults = Faults::none();
        for include in list(matrix, "include") {
            for (index, param) in list(include, "params").iter().enumerate() {
                let found = self.in_text(text(param, "value"));
                faults.add(found.index(index).under("matrix.include.params"));
            }
        }
        for param in list(matrix, "params") {
            for (index, element) in texts(param, "value").enumerate() {
                let found = self.in_element(element).field_index("value", index);
                faults.add(found.field_key("matrix.params", text(param, "name")));
            }
        }
        faults
    }

    fn in_when(&self, task: &Value) -> Faults {
        let mut faults = Faults::none();
        for (index, expression) in list(task, "when").iter().enumerate() {
            let mut found = self.in_text(text(expression, "input")).under("input");
            for value in texts(expression, "values") {
                let array = value.strip_prefix("$(params.").and_then(|v| v.strip_suffix("[*])"));
                found.add(match array.is_some_and(|a| self.arrays.contains(a)) {
                    true => self.in_element(value).under("values"),
                    false => self.in_text(value).under("values"),
                });
            }
            faults.add(found.field_index("when", index));
        }
        faults
    }
}

/// Faults of the uses of declared parameters in tasks.
pub(super) fn uses(tasks: &[Value], params: &[Value]) -> Faults {
    let declared = Declared::new(params);
    let mut faults = Faults::none();
    for (index, task) in tasks.iter().enumerate() {
        for param in list(task, "params") {
            faults.add(declared.in_param(param).index(index));
        }
        faults.add(declared.in_matrix(task).index(index));
        faults.add(declared.in_when(task).index(index));
    }
    faults.add(unique_values(tasks));
    faults
}

/// What a reference in a pipeline may begin with.
const ROOTS: [&str; 6] = ["params", "tasks", "finally", "context", "workspaces", "results"];

fn foreign(value: &str) -> Faults {
    let mut faults = Faults::none();
    for expression in expressions(value) {
        let root = expression.split(['.', '[']).next().unwrap_or("");
        if !ROOTS.contains(&root) {
            faults.add(Faults::invalid(
                format!(
                    r#"invalid variable reference "$({expression})", must start with a valid prefix: params, tasks, finally, context, workspaces, or results; if you meant a shell variable, use ${{VAR}} instead"#
                ),
                "value",
            ));
        }
    }
    faults
}

/// Faults of references in parameters that begin with nothing a pipeline knows.
pub(super) fn roots(tasks: &[Value]) -> Faults {
    let of = |params: &[Value]| {
        let mut faults = Faults::none();
        for param in params {
            let mut values = Vec::new();
            super::graph::all_texts(&param["value"], &mut values);
            for value in values {
                faults.add(foreign(value).field_key("params", text(param, "name")));
            }
        }
        faults
    };
    let mut faults = Faults::none();
    for (index, task) in tasks.iter().enumerate() {
        let mut found = of(list(task, "params"));
        found.add(of(list(&task["matrix"], "params")).under("matrix"));
        for (at, include) in list(&task["matrix"], "include").iter().enumerate() {
            found.add(of(list(include, "params")).field_index("matrix.include", at));
        }
        faults.add(found.index(index));
    }
    faults
}
