//! References to results and artifacts of earlier steps, known only now: `$(steps.S.results.R)`.

use std::fs;

use serde_json::Value;

/// Where the folders of the steps are linked.
const STEPS: &str = "/tekton/steps";

/// `text` with every reference replaced.
///
/// # Errors
/// Names the reference that cannot be read.
pub fn replace(text: &str) -> Result<String, String> {
    replace_some(text, |_| true)
}

/// `text` with the references to artifacts replaced: all that is replaced in a script.
///
/// # Errors
/// As [`replace`].
pub fn replace_artifacts(text: &str) -> Result<String, String> {
    replace_some(text, |reference| !reference.contains(".results."))
}

fn replace_some(text: &str, wanted: fn(&str) -> bool) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("$(steps.") {
        let Some(length) = rest[start..].find(')') else { break };
        out.push_str(&rest[..start]);
        let reference = &rest[start + 2..start + length];
        let value = if wanted(reference) { read(reference)? } else { None };
        match value {
            Some(Value::String(value)) => out.push_str(&value),
            Some(value) => out.push_str(&value.to_string()),
            None => out.push_str(&rest[start..=start + length]),
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// What one argument becomes: several, when it is exactly a reference to a whole list.
///
/// # Errors
/// As [`replace`].
pub fn expand(argument: &str) -> Result<Vec<String>, String> {
    let whole = argument.strip_prefix("$(").and_then(|a| a.strip_suffix(")"));
    if let Some(reference) = whole.filter(|w| w.starts_with("steps.") && w.ends_with("[*]"))
        && let Some(Value::Array(items)) = read(reference)?
    {
        return Ok(items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect());
    }
    Ok(vec![replace(argument)?])
}

/// Value of `steps.S.results.R`, with `[i]`, `[*]` or `.key`; of `steps.S.outputs.A` and `inputs`.
fn read(reference: &str) -> Result<Option<Value>, String> {
    let Some(path) = reference.strip_prefix("steps.") else { return Ok(None) };
    if let Some((step, result)) = path.split_once(".results.") {
        let (name, part) = split(result);
        let file = format!("{STEPS}/step-{step}/results/{name}");
        let text =
            fs::read_to_string(&file).map_err(|e| format!("$({reference}): cannot read {file}: {e}"))?;
        let missing = || format!("$({reference}): the result {name:?} of step {step:?} has no such part");
        return match part {
            Part::Whole => Ok(Some(Value::String(text))),
            Part::All => serde_json::from_str(&text).map(Some).map_err(|_| missing()),
            Part::Index(index) => {
                let list: Value = serde_json::from_str(&text).map_err(|_| missing())?;
                list.get(index).cloned().map(Some).ok_or_else(missing)
            }
            Part::Key(key) => {
                let map: Value = serde_json::from_str(&text).map_err(|_| missing())?;
                map.get(key).cloned().map(Some).ok_or_else(missing)
            }
        };
    }
    for side in ["outputs", "inputs"] {
        let Some((step, artifact)) = path.split_once(&format!(".{side}")) else { continue };
        let file = format!("{STEPS}/step-{step}/artifacts/provenance.json");
        let text =
            fs::read_to_string(&file).map_err(|e| format!("$({reference}): cannot read {file}: {e}"))?;
        let all: Value = serde_json::from_str(&text).map_err(|e| format!("$({reference}): {file}: {e}"))?;
        let wanted = artifact.trim_start_matches('.');
        let list = all[side].as_array().cloned().unwrap_or_default();
        let found = list.into_iter().find(|a| wanted.is_empty() || a["name"] == wanted);
        return found
            .map(|a| Some(a["values"].clone()))
            .ok_or_else(|| format!("$({reference}): not in {file}"));
    }
    Ok(None)
}

enum Part<'a> {
    Whole,
    All,
    Index(usize),
    Key(&'a str),
}

fn split(result: &str) -> (&str, Part<'_>) {
    if let Some((name, index)) = result.strip_suffix(']').and_then(|r| r.split_once('[')) {
        return match index.parse() {
            Ok(index) => (name, Part::Index(index)),
            Err(_) => (name, Part::All),
        };
    }
    match result.split_once('.') {
        Some((name, key)) => (name, Part::Key(key)),
        None => (result, Part::Whole),
    }
}
