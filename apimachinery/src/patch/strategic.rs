//! Strategic merge patch: merge patch that knows which lists of core kinds are keyed, and obeys directives.

use serde_json::{Map, Value};

use crate::meta::json_type;
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Lists that are not atomic are compared element by element; longer ones are refused.
const ELEMENTS_MAX: usize = 5_000;

/// How a list of a core kind is patched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    /// The patch takes its place.
    Atomic,
    /// Values are added.
    Set,
    /// Elements are merged by this member.
    Keyed(&'static str),
}

/// Lists that are not atomic, by the name of the field. In the core kinds a name has one meaning.
const LISTS: &[(&str, List)] = &[
    ("ownerReferences", List::Keyed("uid")),
    ("finalizers", List::Set),
    ("secrets", List::Keyed("name")),
    ("imagePullSecrets", List::Keyed("name")),
    ("containers", List::Keyed("name")),
    ("initContainers", List::Keyed("name")),
    ("ephemeralContainers", List::Keyed("name")),
    ("volumes", List::Keyed("name")),
    ("env", List::Keyed("name")),
    ("ports", List::Keyed("containerPort")),
    ("volumeMounts", List::Keyed("mountPath")),
    ("volumeDevices", List::Keyed("devicePath")),
    ("hostAliases", List::Keyed("ip")),
    ("topologySpreadConstraints", List::Keyed("topologyKey")),
    ("resourceClaims", List::Keyed("name")),
    ("conditions", List::Keyed("type")),
    ("podIPs", List::Keyed("ip")),
    ("hostIPs", List::Keyed("ip")),
];

/// Applies a decoded strategic merge patch body to an object of a core kind.
///
/// # Errors
/// 400 when the patch is not an object or breaks the rules of its directives.
pub fn apply_strategic(target: &mut Value, patch: &Value) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_type(patch)
        )));
    };
    let Value::Object(object) = target else {
        return Err(Status::bad_request("the stored document is no object"));
    };
    merge_map(object, patch, "").map_err(Status::bad_request)
}

fn list_of(parent: &str, field: &str) -> List {
    // A namespace's `spec.finalizers` is atomic, unlike the finalizers of metadata.
    if field == "finalizers" && parent != "metadata" {
        return List::Atomic;
    }
    LISTS.iter().find(|(name, _)| *name == field).map_or(List::Atomic, |(_, list)| *list)
}

fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    parent: &str,
) -> Result<(), String> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = plain_map(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("unknown patch type: {other}")),
    }
    if let Some(keep) = patch.get(RETAIN_KEYS) {
        let keep: Vec<&str> =
            keep.as_array().ok_or("$retainKeys must be a list")?.iter().filter_map(Value::as_str).collect();
        target.retain(|key, _| keep.contains(&key.as_str()));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_PRIMITIVES) {
            let gone = value.as_array().ok_or_else(|| format!("{key} must be a list"))?;
            if let Some(Value::Array(list)) = target.get_mut(field) {
                list.retain(|item| !gone.contains(item));
            }
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let order = patch.get(&format!("{SET_ORDER}{key}")).and_then(Value::as_array);
        merge_member(target, key, value, order, parent)?;
    }
    for (key, order) in patch.iter().filter_map(|(k, v)| Some((k.strip_prefix(SET_ORDER)?, v.as_array()?))) {
        if !patch.contains_key(key)
            && let Some(Value::Array(list)) = target.get_mut(key)
        {
            sort(list, order, list_of(parent, key));
        }
    }
    Ok(())
}

fn merge_member(
    target: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    order: Option<&Vec<Value>>,
    parent: &str,
) -> Result<(), String> {
    let current = target.get_mut(key);
    match (current, value) {
        (_, Value::Null) => {
            target.remove(key);
        }
        (Some(Value::Object(current)), Value::Object(patch)) => merge_map(current, patch, key)?,
        (Some(Value::Array(current)), Value::Array(patch)) => {
            let list = list_of(parent, key);
            merge_list(current, patch, list, key)?;
            if let Some(order) = order {
                sort(current, order, list);
            }
        }
        _ => {
            target.insert(key.to_owned(), plain(value));
        }
    }
    Ok(())
}

fn merge_list(target: &mut Vec<Value>, patch: &[Value], list: List, field: &str) -> Result<(), String> {
    if list != List::Atomic && target.len().max(patch.len()) > ELEMENTS_MAX {
        return Err(format!("the list {field} has more than {ELEMENTS_MAX} elements"));
    }
    let replaces = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace");
    match list {
        List::Atomic => *target = patch.iter().map(plain).collect(),
        List::Set => {
            for item in patch {
                if !target.contains(item) {
                    target.push(item.clone());
                }
            }
        }
        List::Keyed(_) if patch.iter().any(replaces) => {
            *target = patch.iter().filter(|item| !replaces(item)).map(plain).collect();
        }
        List::Keyed(key) => {
            for item in patch {
                merge_element(target, item, key, field)?;
            }
        }
    }
    Ok(())
}

fn merge_element(target: &mut Vec<Value>, item: &Value, key: &str, field: &str) -> Result<(), String> {
    let Value::Object(patch) = item else {
        return Err(format!("expected objects in the list {field}, found {}", json_type(item)));
    };
    let id =
        patch.get(key).ok_or_else(|| format!("map: {item} does not contain declared merge key: {key}"))?;
    let at = target.iter().position(|element| element.get(key) == Some(id));
    if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
        target.retain(|element| element.get(key) != Some(id));
        return Ok(());
    }
    match at.and_then(|i| target[i].as_object_mut()) {
        Some(element) => merge_map(element, patch, field),
        None => {
            target.push(plain(item));
            Ok(())
        }
    }
}

/// Puts the elements that `order` names into that order; the others keep their places among them.
fn sort(list: &mut [Value], order: &[Value], kind: List) {
    let rank = |item: &Value| match kind {
        List::Keyed(key) => order.iter().position(|o| o.get(key).is_some() && o.get(key) == item.get(key)),
        List::Set | List::Atomic => order.iter().position(|o| o == item),
    };
    let places: Vec<usize> = (0..list.len()).filter(|i| rank(&list[*i]).is_some()).collect();
    let mut named: Vec<Value> = places.iter().map(|i| list[*i].clone()).collect();
    named.sort_by_key(|item| rank(item));
    for (place, item) in places.into_iter().zip(named) {
        list[place] = item;
    }
}

/// A part of a patch that meets nothing: without its directives and nulls.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(plain_map(map)),
        Value::Array(list) => {
            let deleted = |v: &&Value| v.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
            Value::Array(list.iter().filter(|v| !deleted(v)).map(plain).collect())
        }
        other => other.clone(),
    }
}

fn plain_map(map: &Map<String, Value>) -> Map<String, Value> {
    let kept = map.iter().filter(|(key, value)| !directive(key) && !value.is_null());
    kept.map(|(key, value)| (key.clone(), plain(value))).collect()
}

/// Keys such as `$patch` are never content.
fn directive(key: &str) -> bool {
    matches!(key, DIRECTIVE | RETAIN_KEYS) || key.starts_with(DELETE_PRIMITIVES) || key.starts_with(SET_ORDER)
}
