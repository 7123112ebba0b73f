//! Compute resources: those of a whole TaskRun shared out to its steps, an installation's defaults, LimitRanges.

use serde_json::{Map, Value, json};

use crate::engine::doc::{is_empty, list, list_mut, object_mut, text};
use crate::engine::quantity::Quantity;

/// The resources that a LimitRange speaks of here.
const LIMITED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Requests above their limits are refused: the reference's text.
pub fn check(spec: &Value) -> Result<(), String> {
    for step in list(spec, "steps") {
        let own = &step["computeResources"];
        let inherited = &spec["stepTemplate"]["computeResources"]["limits"];
        for (name, request) in own["requests"].as_object().into_iter().flatten() {
            let limit = own["limits"].get(name).or_else(|| inherited.get(name));
            let (Some(request), Some(limit)) = (Quantity::of(request), limit.and_then(Quantity::of)) else {
                continue;
            };
            if request.exceeds(limit) {
                return Err(format!(
                    "invalid request resource value: {request} must be less or equal to limit {limit}"
                ));
            }
        }
    }
    Ok(())
}

/// Shares the resources of the whole run out to `steps`: each may use all of the limits, and requests its part.
pub fn share_out(steps: &mut [Value], whole: &Value) {
    let (requests, limits) = (&whole["requests"], &whole["limits"]);
    if is_empty(whole, "requests") && is_empty(whole, "limits") {
        return;
    }
    let count = steps.len();
    for step in steps {
        let own = object_mut(&mut step["computeResources"]);
        let unasked = own.get("requests").is_none_or(Value::is_null) && requests.is_null();
        // Without any request the limits would count as one, for each step.
        let part = share(if unasked { limits } else { requests }, count);
        for (field, value) in [("requests", part), ("limits", limits.clone())] {
            if value.is_null() {
                own.remove(field);
            } else {
                own.insert(field.into(), value);
            }
        }
    }
}

fn share(total: &Value, count: usize) -> Value {
    let count = count.max(1) as i128;
    let Some(total) = total.as_object().filter(|t| !t.is_empty()) else { return Value::Null };
    let part = |name: &str, amount: Quantity| divided(name, amount, count).to_string();
    total
        .iter()
        .filter_map(|(name, amount)| Some((name.clone(), json!(part(name, Quantity::of(amount)?)))))
        .collect()
}

fn divided(name: &str, amount: Quantity, count: i128) -> Quantity {
    if name == "cpu" || !LIMITED.contains(&name) {
        Quantity::thousandths(amount.milli() / count, amount)
    } else {
        Quantity::units(amount.value() / count, amount)
    }
}

/// Gives containers without resources those that the installation has for their name, for the beginning of their
/// name (`prefix-X`), or for all (`default`). `configured` is the setting's YAML.
pub fn defaults(pod_spec: &mut Value, configured: &str) {
    let Ok(configured) = serde_yaml_ng::from_str::<Value>(configured) else { return };
    let Some(configured) = configured.as_object() else { return };
    for part in ["initContainers", "containers"] {
        if is_empty(pod_spec, part) {
            continue;
        }
        for container in list_mut(pod_spec, part) {
            if is_empty(container, "resources")
                && let Some(resources) = default_of(configured, text(container, "name"))
            {
                container["resources"] = resources.clone();
            }
        }
    }
}

fn default_of<'a>(configured: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let said = |key: &str| configured.get(key).filter(|v| v.as_object().is_some_and(|o| !o.is_empty()));
    let own = (name != "default" && !name.starts_with("prefix-")).then(|| said(name)).flatten();
    let beginning = || {
        let mut prefixes = configured.keys().filter_map(|key| key.strip_prefix("prefix-"));
        let fits = prefixes.find(|prefix| name.strip_prefix(*prefix).is_some_and(|r| r.starts_with('-')))?;
        said(&format!("prefix-{fits}"))
    };
    own.or_else(beginning).or_else(|| said("default"))
}

/// Gives steps the requests that the namespace's LimitRanges demand: the default's part, at least the minimum.
pub fn limit(containers: &mut [Value], ranges: &[Value]) {
    let steps = containers.iter().filter(|c| text(c, "name").starts_with("step-")).count();
    let wanted = step_requests(ranges, steps);
    if wanted.is_empty() {
        return;
    }
    for container in containers.iter_mut().filter(|c| text(c, "name").starts_with("step-")) {
        let requests = object_mut(&mut object_mut(container)["resources"])
            .entry("requests")
            .or_insert_with(|| json!({}));
        for (name, amount) in &wanted {
            let there = requests.get(name).and_then(Quantity::of).unwrap_or(Quantity::ZERO);
            if there.is_zero() {
                requests[name.as_str()] = amount.clone();
            }
        }
    }
}

fn step_requests(ranges: &[Value], steps: usize) -> Map<String, Value> {
    let mut out = Map::new();
    for name in LIMITED {
        let mut wanted = Quantity::ZERO;
        for (default, minimum) in limits_of(ranges, name) {
            let part = divided(name, default, steps.max(1) as i128);
            wanted = wanted.larger(part).larger(minimum);
        }
        if !wanted.is_zero() {
            out.insert(name.into(), json!(wanted.to_string()));
        }
    }
    out
}

/// Default request and minimum of a resource. Several LimitRanges act as one: the largest minimum, and the last
/// default that is not above the one before it.
fn limits_of(ranges: &[Value], name: &str) -> Vec<(Quantity, Quantity)> {
    let mut each = Vec::new();
    for range in ranges {
        for item in list(&range["spec"], "limits").iter().filter(|i| text(i, "type") == "Container") {
            let amount = |field: &str| item[field].get(name).and_then(Quantity::of).unwrap_or(Quantity::ZERO);
            each.push((amount("defaultRequest"), amount("min")));
        }
    }
    if ranges.len() < 2 {
        return each;
    }
    let merged = each.iter().fold((Quantity::ZERO, Quantity::ZERO), |(default, minimum), (next, least)| {
        let default = if default.is_zero() || default.exceeds(*next) { *next } else { default };
        (default, minimum.larger(*least))
    });
    vec![merged]
}

/// Spells all amounts of a Pod's containers canonically, as the reference does whenever it writes them.
pub fn spell(pod_spec: &mut Value) {
    for part in ["initContainers", "containers"] {
        for container in pod_spec.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
            for field in ["requests", "limits"] {
                let amounts = container.pointer_mut(&format!("/resources/{field}"));
                for amount in amounts.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                    if let Some(quantity) = Quantity::of(amount) {
                        *amount = json!(quantity.to_string());
                    }
                }
            }
        }
    }
}
