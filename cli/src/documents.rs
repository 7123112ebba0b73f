//! YAML files as a user writes them: several documents, each one object.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// The objects in `text`, in order.
///
/// # Errors
/// Names the document that is not an object, by its number.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    for (index, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let value =
            Value::deserialize(document).with_context(|| format!("document {} is not YAML", index + 1))?;
        match value {
            Value::Null => {}
            Value::Object(ref map) if map.contains_key("kind") && map.contains_key("apiVersion") => {
                out.push(value)
            }
            _ => bail!("document {} is no Kubernetes object: it has no apiVersion or kind", index + 1),
        }
    }
    if out.is_empty() {
        bail!("there is no object in it");
    }
    Ok(out)
}

/// Whether `object` is a TaskRun or PipelineRun.
pub fn is_run(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("TaskRun" | "PipelineRun"))
}

/// Collection path of `object` in `namespace`.
///
/// # Errors
/// When the kind is not one that Cella serves.
pub fn collection(object: &Value, namespace: &str) -> Result<String> {
    let (version, kind) =
        (object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
    let plural = match kind {
        "Task" => "tasks",
        "TaskRun" => "taskruns",
        "Pipeline" => "pipelines",
        "PipelineRun" => "pipelineruns",
        "StepAction" => "stepactions",
        "CustomRun" => "customruns",
        "ConfigMap" => "configmaps",
        "Secret" => "secrets",
        "ServiceAccount" => "serviceaccounts",
        "PersistentVolumeClaim" => "persistentvolumeclaims",
        "LimitRange" => "limitranges",
        "Namespace" => return Ok("/api/v1/namespaces".into()),
        _ => bail!("kind {kind:?} of {version:?} is not served; see docs/compatibility.md"),
    };
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    Ok(format!("{root}/namespaces/{namespace}/{plural}"))
}

#[cfg(test)]
mod tests;
