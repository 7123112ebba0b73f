//! The Order of a Pod, from the Pod and the contents of what it names. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::order::{Network, Order, RegistryAuth};
use serde_json::{Map, Value, json};
use tekton::engine::taskrun::READY;

use super::{ConfigError, Contents, containers, env, fields, list, scripts, volumes};

/// The sidecar that would tell the results through its log: the agent takes them from the steps.
const REPORTER: &str = "sidecar-tekton-log-results";
/// Init containers whose work the agent does itself.
const DONE_BY_AGENT: [&str; 3] = ["prepare", "place-scripts", "working-dir-initializer"];

/// The Order, without the attempt's id, deadline and trace.
pub(super) fn order(pod: &Value, contents: &Contents) -> Result<Order, ConfigError> {
    fields::check(pod).map_err(ConfigError::new)?;
    let placed = scripts::placed(pod)?;
    let volumes = volumes::of(pod, contents, &placed)?;
    let mut spec = fields::kept(&pod["spec"]);
    let message_max = message_max(pod);
    let mut secret_env = BTreeMap::new();
    for member in ["containers", "initContainers"] {
        let mut lowered = Vec::new();
        for container in list(&pod["spec"][member]) {
            if DONE_BY_AGENT.iter().any(|name| container["name"] == *name) || container["name"] == REPORTER {
                continue;
            }
            let (mut container, secrets) = lower_container(pod, container, contents)?;
            if !secrets.is_empty() {
                secret_env.insert(container["name"].as_str().unwrap_or_default().to_owned(), secrets);
            }
            take_results(&mut container, contents.strict_results, message_max);
            lowered.push(container);
        }
        if !lowered.is_empty() {
            spec.insert(member.into(), Value::Array(lowered));
        }
    }
    let names = list(&pod["spec"]["volumes"]).iter().map(|v| json!({"name": v["name"]})).collect();
    spec.insert("volumes".into(), Value::Array(names));
    let lowered = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata(pod), "spec": spec});
    let typed = serde_json::from_value(lowered)
        .map_err(|error| ConfigError::new(format!("the pod is not one that can be run: {error}")))?;
    let done_by_agent = containers(pod).filter_map(|c| c["name"].as_str());
    Ok(Order {
        attempt: String::new(),
        pod: typed,
        volumes,
        secret_env,
        working_dirs: working_dirs(pod),
        when_ready: BTreeMap::from([(READY.0.to_owned(), READY.1.to_owned())]),
        done_by_agent: done_by_agent.filter(|n| DONE_BY_AGENT.contains(n)).map(String::from).collect(),
        registry_auth: registry_auth(contents)?,
        deadline_us: 0,
        left_ms: None,
        lease_ms: None,
        traceparent: None,
        network: Network::Nat,
        version: protocol::VERSION,
        cells: Vec::new(),
    })
}

/// Most that the messages of all steps of a Pod may have together, and each of them.
const MESSAGES_MAX: usize = 1 << 20;
const MESSAGE_MAX: usize = 256 << 10;
/// What Kubernetes takes of a container, in any case.
const MESSAGE_MIN: usize = 4096;

/// How long the message of each step of a Pod may be.
fn message_max(pod: &Value) -> usize {
    let steps = list(&pod["spec"]["containers"]);
    let steps =
        steps.iter().filter(|c| c["name"].as_str().is_some_and(|name| name.starts_with("step-"))).count();
    (MESSAGES_MAX / steps.max(1)).clamp(MESSAGE_MIN, MESSAGE_MAX)
}

/// A step tells its results to the agent, which takes more than Kubernetes does; where the reporter would tell them, in
/// any case, elsewhere unless the tenant wants the reference's limit.
fn take_results(container: &mut Value, strict: bool, max: usize) {
    let Some(args) = container.get_mut("args").and_then(Value::as_array_mut) else { return };
    let own = args.iter().position(|word| *word == "--").unwrap_or(args.len());
    let from = args[..own].iter().position(|word| *word == "-result_from").map(|at| at + 1);
    let told = from.and_then(|at| args.get(at)).is_some_and(|from| *from == "sidecar-logs");
    let any = args[..own].iter().any(|word| *word == "-results" || *word == "-step_results");
    match from {
        Some(at) if told => args[at] = json!("agent"),
        None if any && !strict => drop(args.splice(0..0, [json!("-result_from"), json!("agent")])),
        _ => return,
    }
    drop(args.splice(0..0, [json!("-message_max"), json!(max.to_string())]));
}

fn metadata(pod: &Value) -> Value {
    let kept = ["name", "namespace", "uid", "labels", "annotations", "creationTimestamp"];
    let entries = kept.into_iter().filter_map(|m| Some((m.to_owned(), pod["metadata"].get(m)?.clone())));
    Value::Object(entries.collect())
}

fn lower_container(
    pod: &Value,
    container: &Value,
    contents: &Contents,
) -> Result<(Value, BTreeMap<String, String>), ConfigError> {
    let resolved = env::resolve(pod, container, contents)
        .map_err(|error| ConfigError { container: container["name"].as_str().map(Into::into), ..error })?;
    let mut lowered: Map<String, Value> = container.as_object().cloned().unwrap_or_default();
    lowered.remove("envFrom");
    let variables = resolved.plain.iter().map(|(name, value)| json!({"name": name, "value": value}));
    lowered.insert("env".into(), variables.collect());
    for member in ["command", "args"] {
        if let Some(Value::Array(words)) = lowered.get_mut(member) {
            for word in words {
                if let Some(text) = word.as_str() {
                    *word = Value::String(resolved.expand(text));
                }
            }
        }
    }
    // Volume mounts may name a part of the volume by variables.
    for mount in lowered.get_mut("volumeMounts").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(expression) = mount["subPathExpr"].as_str().map(|text| resolved.expand(text)) {
            mount["subPath"] = Value::String(expression);
            mount.as_object_mut().map(|m| m.remove("subPathExpr"));
        }
    }
    Ok((Value::Object(lowered), resolved.secret))
}

/// What the reference's init container would have made.
fn working_dirs(pod: &Value) -> Vec<String> {
    let Some(init) = containers(pod).find(|c| c["name"] == "working-dir-initializer") else {
        return Vec::new();
    };
    let words = list(&init["command"]).iter().chain(list(&init["args"])).filter_map(Value::as_str);
    let dirs = words.skip(1).map(|dir| match dir.starts_with('/') {
        true => dir.to_owned(),
        false => format!("/workspace/{dir}"),
    });
    dirs.collect()
}

pub(super) fn registry_auth(contents: &Contents) -> Result<BTreeMap<String, RegistryAuth>, ConfigError> {
    let mut auths = BTreeMap::new();
    for name in &contents.pull_secrets {
        // As a kubelet does: a pull secret that is not there is not used.
        let Some(Some(values)) = contents.secrets.get(name) else { continue };
        let config: Value = match (values.get(".dockerconfigjson"), values.get(".dockercfg")) {
            (Some(bytes), _) => serde_json::from_slice::<Value>(bytes).map(|mut v| v["auths"].take()),
            (None, Some(bytes)) => serde_json::from_slice(bytes),
            (None, None) => continue,
        }
        .map_err(|_| ConfigError::new(format!("secret {name:?} is not a docker config")))?;
        for (registry, entry) in config.as_object().into_iter().flatten() {
            if let Some(auth) = credentials(entry) {
                auths.entry(registry_host(registry).to_owned()).or_insert(auth);
            }
        }
    }
    Ok(auths)
}

fn credentials(entry: &Value) -> Option<RegistryAuth> {
    let text = |member: &str| entry[member].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some(RegistryAuth { username, password });
    }
    let decoded = String::from_utf8(STANDARD.decode(text("auth")?).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(RegistryAuth { username: username.to_owned(), password: password.to_owned() })
}

/// `https://index.docker.io/v1/` and `docker.io` are the same registry.
fn registry_host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    if host == "index.docker.io" { "docker.io" } else { host }
}
