//! ResolutionRequests: parameters were a map of texts, and are a list of parameters of any type.

use serde_json::{Map, Value, json};

use super::{ConvertError, remove};

pub(super) fn convert(request: &mut Value, version: &str) -> Result<(), ConvertError> {
    match version {
        "v1beta1" => up(request),
        _ => down(request)?,
    }
    Ok(())
}

fn up(request: &mut Value) {
    let Some(params) = request.get_mut("spec").and_then(|s| remove(s, "params")) else { return };
    let params = params.as_object().into_iter().flatten();
    let params: Vec<_> = params.map(|(name, value)| json!({"name": name, "value": value})).collect();
    if !params.is_empty() {
        request["spec"]["params"] = params.into();
    }
}

fn down(request: &mut Value) -> Result<(), ConvertError> {
    if let Some(spec) = request.get_mut("spec") {
        remove(spec, "url");
        let params = remove(spec, "params").unwrap_or_default();
        let params = params.as_array().map_or(&[][..], Vec::as_slice);
        let name = |p: &Value| p["name"].as_str().unwrap_or("").to_owned();
        let others: Vec<_> = params.iter().filter(|p| !p["value"].is_string()).map(name).collect();
        if !others.is_empty() {
            return Err(ConvertError::NotText(others.join(", ")));
        }
        if !params.is_empty() {
            let map: Map<_, _> = params.iter().map(|p| (name(p), p["value"].clone())).collect();
            spec["params"] = map.into();
        }
    }
    if let Some(status) = request.get_mut("status") {
        remove(status, "source");
    }
    Ok(())
}
