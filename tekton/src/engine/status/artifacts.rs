//! Artifacts that steps tell: what went in, and what came out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::engine::doc::{is_empty, list, text};
use crate::engine::termination::{Entry, Kind};

/// The artifacts of a run: those of its steps together.
#[derive(Default)]
pub struct Artifacts {
    inputs: BTreeMap<String, Artifact>,
    outputs: BTreeMap<String, Artifact>,
}

#[derive(Default)]
struct Artifact {
    values: Vec<Value>,
    is_build: bool,
}

impl Artifacts {
    /// Takes over what a step tells, and shows its own in its `state`.
    pub fn take(&mut self, state: &mut Value, entries: &[Entry], errors: &mut Vec<String>) {
        for entry in entries {
            if !matches!(entry.kind, Kind::StepArtifacts | Kind::TaskArtifacts) {
                continue;
            }
            let told: Value = match serde_json::from_str(&entry.value) {
                Ok(told) => told,
                Err(error) => {
                    errors.push(error.to_string());
                    continue;
                }
            };
            if entry.kind == Kind::StepArtifacts {
                for key in ["inputs", "outputs"] {
                    if !is_empty(&told, key) {
                        state[key] = told[key].clone();
                    }
                }
            }
            merge(&mut self.inputs, list(&told, "inputs"));
            merge(&mut self.outputs, list(&told, "outputs"));
        }
    }

    /// The run's artifacts.
    pub fn of_task(self) -> Value {
        let mut out = json!({});
        for (key, artifacts) in [("inputs", self.inputs), ("outputs", self.outputs)] {
            let all: Vec<_> = artifacts.into_iter().map(|(name, artifact)| artifact.shown(&name)).collect();
            if !all.is_empty() {
                out[key] = Value::Array(all);
            }
        }
        out
    }
}

impl Artifact {
    fn shown(self, name: &str) -> Value {
        let mut out = json!({"name": name, "values": self.values});
        if self.is_build {
            out["buildOutput"] = json!(true);
        }
        out
    }
}

/// Adds artifacts by name; a value counts once.
fn merge(into: &mut BTreeMap<String, Artifact>, told: &[Value]) {
    for artifact in told {
        let there = into.entry(text(artifact, "name").to_owned()).or_default();
        there.is_build |= artifact["buildOutput"] == true;
        for value in list(artifact, "values") {
            if !there.values.contains(value) {
                there.values.push(value.clone());
            }
        }
    }
}
