//! StepActions.

use serde_json::Value;

use super::Settings;
use super::{metadata, params, references, results, steps, variables};
use crate::api::fault::Faults;
use crate::api::flags::Level;
use crate::api::read::{list, names, some, text};

/// Faults of a StepAction.
pub(super) fn step_action(object: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = metadata::metadata(object);
    faults.add(spec(&object["spec"], config).under("spec"));
    faults
}

fn spec(spec: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    if text(spec, "image").is_empty() {
        faults.add(Faults::missing("Image"));
    }
    faults.add(steps::script_or_command(spec));
    let script = text(spec, "script");
    if script.trim().starts_with("#!win") {
        faults.add(config.gate("windows script support", Level::Alpha));
    }
    if references::mentions(script, "params") {
        faults.add(Faults::at("param substitution in scripts is not allowed.", &["script"]));
    }
    let declared = list(spec, "params");
    faults.add(params::types(declared).under("params"));
    faults.add(params::unique(declared));
    faults.add(params::enums(declared, config));
    faults.add(params::formats(declared));
    for param in declared.iter().filter(|p| text(p, "type") == "object") {
        if some(param, "properties").is_none() {
            faults.add(Faults::missing(&format!("{}.properties", text(param, "name"))));
        }
    }
    faults.add(variables::in_action(spec));
    let own = names(spec, "results").map(str::to_owned).collect();
    for prefix in ["step.results", "results"] {
        faults.add(references::known(script, prefix, &own).under("script"));
    }
    for (index, result) in list(spec, "results").iter().enumerate() {
        faults.add(results::step_result(result).field_index("results", index));
    }
    faults
}
