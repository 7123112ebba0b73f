//! Defaulting, as the reference's mutating webhook does it on every write.

use serde_json::{Value, json};

use crate::api::config::TenantConfig;
use crate::api::decode;
use crate::api::values;

/// Text of a Go duration of whole minutes: `1h0m0s`.
fn minutes(minutes: u64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, 0) => "0s".into(),
        (0, m) => format!("{m}m0s"),
        (h, m) => format!("{h}h{m}m0s"),
    }
}

fn timeout(config: &TenantConfig) -> String {
    let configured = config.config_defaults.get("default-timeout-minutes").and_then(|m| m.parse().ok());
    minutes(configured.unwrap_or(60))
}

fn service_account(config: &TenantConfig) -> &str {
    config.config_defaults.get("default-service-account").map_or("default", String::as_str)
}

/// A reference that names nothing goes to the resolver that the settings name, if they name one.
fn default_resolver(reference: &mut Value, config: &TenantConfig) {
    let resolver = config.config_defaults.get("default-resolver-type").filter(|r| !r.is_empty());
    if let Some(resolver) = resolver.filter(|_| empty(&reference["name"]) && empty(&reference["resolver"])) {
        reference["resolver"] = json!(resolver);
    }
}

fn empty(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn map<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    value.get_mut(key).filter(|v| v.is_object())
}

fn each(value: &mut Value, key: &str, mut with: impl FnMut(&mut Value)) {
    if let Some(items) = value.get_mut(key).and_then(Value::as_array_mut) {
        items.iter_mut().filter(|item| item.is_object()).for_each(&mut with);
    }
}

/// A duration in the spelling that the reference's encoder gives it: `60s` becomes `1m0s`.
pub(super) fn spell(holder: &mut Value, key: &str) {
    let spelled = holder.get(key).and_then(Value::as_str).and_then(apimachinery::time::parse_go_duration);
    if let Some(nanos) = spelled {
        holder[key] = json!(apimachinery::time::go_duration(nanos));
    }
}

/// Fills in what the reference fills in for `kind`; other kinds stay as they are.
pub fn apply(kind: &str, object: &mut Value, config: &TenantConfig) {
    decode::canonical(object);
    values::settle(object);
    match kind {
        "Task" => {
            if let Some(spec) = map(object, "spec") {
                task_spec(spec, config);
            }
        }
        "Pipeline" => {
            if let Some(spec) = map(object, "spec") {
                pipeline_spec(spec, config);
            }
        }
        "TaskRun" => task_run(object, config),
        "PipelineRun" => pipeline_run(object, config),
        "StepAction" => {
            if let Some(spec) = map(object, "spec") {
                each(spec, "params", param_spec);
                each(spec, "results", result);
            }
        }
        "CustomRun" => {
            if let Some(spec) = map(object, "spec")
                && empty(&spec["serviceAccountName"])
            {
                spec["serviceAccountName"] = json!(service_account(config));
            }
        }
        _ => {}
    }
}

fn task_run(object: &mut Value, config: &TenantConfig) {
    if let Some(metadata) = map(object, "metadata") {
        let label = config
            .config_defaults
            .get("default-managed-by-label-value")
            .map_or("tekton-pipelines", String::as_str);
        if !metadata["labels"].is_object() {
            metadata["labels"] = json!({});
        }
        if metadata["labels"].get("app.kubernetes.io/managed-by").is_none() {
            metadata["labels"]["app.kubernetes.io/managed-by"] = json!(label);
        }
    }
    let Some(spec) = map(object, "spec") else { return };
    if let Some(reference) = map(spec, "taskRef") {
        task_ref(reference, config);
    }
    spell(spec, "timeout");
    if spec.get("timeout").is_none_or(Value::is_null) {
        spec["timeout"] = json!(timeout(config));
    }
    if empty(&spec["serviceAccountName"]) {
        spec["serviceAccountName"] = json!(service_account(config));
    }
    pod_template(spec, config);
    if let Some(inner) = map(spec, "taskSpec") {
        task_spec(inner, config);
    }
}

fn pipeline_run(object: &mut Value, config: &TenantConfig) {
    let older = object["apiVersion"] == "tekton.dev/v1beta1";
    let Some(spec) = map(object, "spec") else { return };
    if let Some(reference) = map(spec, "pipelineRef") {
        default_resolver(reference, config);
    }
    each(spec, "taskRunSpecs", |specific| spell(specific, "timeout"));
    spell(spec, "timeout");
    if older && !spec["timeouts"].is_object() {
        if spec.get("timeout").is_none_or(Value::is_null) {
            spec["timeout"] = json!(timeout(config));
        }
    } else {
        timeouts(spec, config);
    }
    if !older && !spec["taskRunTemplate"].is_object() {
        spec["taskRunTemplate"] = json!({});
    }
    // v1beta1 has at the top what v1 has in a template for the runs of tasks.
    let template = if older { &mut *spec } else { &mut spec["taskRunTemplate"] };
    if empty(&template["serviceAccountName"]) {
        template["serviceAccountName"] = json!(service_account(config));
    }
    pod_template(template, config);
    if let Some(inner) = map(spec, "pipelineSpec") {
        pipeline_spec(inner, config);
    }
}

fn timeouts(spec: &mut Value, config: &TenantConfig) {
    if !spec["timeouts"].is_object() {
        spec["timeouts"] = json!({});
    }
    let timeouts = &mut spec["timeouts"];
    if timeouts.get("pipeline").is_none_or(Value::is_null) {
        timeouts["pipeline"] = json!(timeout(config));
    }
    for which in ["pipeline", "tasks", "finally"] {
        spell(timeouts, which);
    }
}

fn pod_template(holder: &mut Value, config: &TenantConfig) {
    let Some(text) = config.config_defaults.get("default-pod-template").filter(|t| !t.is_empty()) else {
        return;
    };
    let Ok(default) = serde_yaml_ng::from_str::<Value>(text) else { return };
    let Some(default) = default.as_object() else { return };
    merge_pod_template(&mut holder["podTemplate"], default);
}

/// Adds to a pod template what it does not say and `default` does.
pub fn merge_pod_template(own: &mut Value, default: &serde_json::Map<String, Value>) {
    if !own.is_object() {
        *own = json!({});
    }
    for (field, value) in default {
        match (field.as_str(), own.get(field)) {
            // By name: the run's entries win, the default's others are added.
            ("env" | "volumes", Some(Value::Array(there))) => {
                let mut merged = there.clone();
                let others = value.as_array().into_iter().flatten();
                merged.extend(others.filter(|d| !there.iter().any(|t| t["name"] == d["name"])).cloned());
                own[field] = Value::Array(merged);
            }
            (_, None | Some(Value::Null)) => own[field] = value.clone(),
            _ => {}
        }
    }
}

fn task_ref(reference: &mut Value, config: &TenantConfig) {
    default_resolver(reference, config);
    let remote = !empty(&reference["resolver"]);
    if !remote && empty(&reference["kind"]) {
        reference["kind"] = json!("Task");
    }
}

fn task_spec(spec: &mut Value, config: &TenantConfig) {
    each(spec, "params", param_spec);
    each(spec, "results", result);
    each(spec, "steps", |step| {
        spell(step, "timeout");
        if let Some(reference) = map(step, "ref") {
            default_resolver(reference, config);
        }
    });
}

fn pipeline_spec(spec: &mut Value, config: &TenantConfig) {
    each(spec, "params", param_spec);
    for part in ["tasks", "finally"] {
        each(spec, part, |task| pipeline_task(task, config));
    }
}

fn pipeline_task(task: &mut Value, config: &TenantConfig) {
    spell(task, "timeout");
    if let Some(reference) = map(task, "taskRef") {
        task_ref(reference, config);
    }
    if let Some(inner) = map(task, "taskSpec") {
        let custom = !empty(&inner["apiVersion"]);
        if !custom {
            task_spec(inner, config);
        }
    }
}

fn param_spec(param: &mut Value) {
    if empty(&param["type"]) {
        let kind = match param.get("default") {
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
            None | Some(Value::Null) if param["properties"].is_object() => "object",
            _ if param["properties"].is_object() => "object",
            _ => "string",
        };
        param["type"] = json!(kind);
    }
    if param["type"] == "object" {
        properties(param);
    }
}

fn result(result: &mut Value) {
    if empty(&result["type"]) {
        let kind = if result["properties"].is_object() { "object" } else { "string" };
        result["type"] = json!(kind);
    }
    if result["type"] == "object" {
        properties(result);
    }
}

fn properties(holder: &mut Value) {
    if let Some(properties) = holder.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            if property.is_null() {
                *property = json!({});
            }
            if property.is_object() && empty(&property["type"]) {
                property["type"] = json!("string");
            }
        }
    }
}
