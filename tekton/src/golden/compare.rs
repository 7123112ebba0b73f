//! Normalising both sides as the README of the recorded answers says, and comparing them.

use serde_json::Value;

/// Removes what Kubernetes treats as absent (empty maps, lists, strings, nulls), except inside volumes; replaces
/// what differs from run to run.
pub fn normal(value: &Value) -> Value {
    clean(value, false).unwrap_or(Value::Null)
}

fn clean(value: &Value, in_volumes: bool) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(Value::String(rand5(text))),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|i| clean(i, in_volumes).unwrap_or(Value::Null)).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(map) => {
            let mut out = serde_json::Map::new();
            for (key, item) in map {
                if key == "lastTransitionTime" || key == "resourceVersion" || key == "creationTimestamp" {
                    continue;
                }
                if key == "pipeline.tekton.dev/release" {
                    out.insert(key.clone(), "RELEASE".into());
                } else if let Some(item) = clean(item, in_volumes || key == "volumes") {
                    out.insert(key.clone(), item);
                }
            }
            (in_volumes || !out.is_empty()).then_some(Value::Object(out))
        }
        other => Some(other.clone()),
    }
}

/// What stands before the random characters of a here-document's end.
const HEREDOC: &str = "-heredoc-randomly-generated-";

/// Replaces the random characters of script files and here-documents.
fn rand5(text: &str) -> String {
    let mut heredocs = text.split(HEREDOC);
    let mut text = heredocs.next().unwrap_or("").to_owned();
    for after in heredocs {
        text.push_str(HEREDOC);
        text.push_str("RAND5");
        text.push_str(after.get(5..).unwrap_or(""));
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("script-") {
        let after = &rest[at + 7..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let tail = &after[digits..];
        let random = tail.strip_prefix('-').filter(|t| digits > 0 && t.len() >= 5 && t.is_char_boundary(5));
        match random {
            Some(t) if t.bytes().take(5).all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => {
                out.push_str(&rest[..at + 7 + digits]);
                out.push_str("-RAND5");
                rest = &t[5..];
            }
            _ => {
                out.push_str(&rest[..at + 7]);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// First difference between two documents, with its path.
pub fn difference(expected: &Value, actual: &Value) -> Option<String> {
    at("", expected, actual)
}

fn at(path: &str, expected: &Value, actual: &Value) -> Option<String> {
    match (expected, actual) {
        (Value::String(e), Value::String(_)) if e == "WALLCLOCK" => None,
        (Value::Object(e), Value::Object(a)) => {
            let keys: std::collections::BTreeSet<_> = e.keys().chain(a.keys()).collect();
            keys.into_iter().find_map(|key| {
                let nothing = Value::Null;
                at(&format!("{path}.{key}"), e.get(key).unwrap_or(&nothing), a.get(key).unwrap_or(&nothing))
            })
        }
        (Value::Array(e), Value::Array(a)) => {
            if let Some(found) =
                e.iter().zip(a).enumerate().find_map(|(i, (e, a))| at(&format!("{path}[{i}]"), e, a))
            {
                return Some(found);
            }
            (e.len() != a.len()).then(|| format!("{path}: {} entries expected, {} there", e.len(), a.len()))
        }
        _ if expected == actual => None,
        _ => Some(format!("{path}: expected {expected}, got {actual}")),
    }
}
