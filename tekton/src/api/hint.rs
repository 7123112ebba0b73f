//! What would be accepted instead of what was refused. The refusal itself stays in the reference's words; a hint stands
//! beside it.

use crate::api::fault::Faults;

/// More hints than these help nobody.
const HINTS_MAX: usize = 8;

/// A way out of a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint {
    /// The field that it is about; may be empty.
    pub field: String,
    /// What would be accepted.
    pub text: String,
}

/// Hints for faults, one for each field and text, in the order of the refusal.
pub fn of(faults: &Faults) -> Vec<Hint> {
    let mut out: Vec<Hint> = Vec::new();
    for (message, paths) in faults.each() {
        let Some(text) = text(message, &paths) else { continue };
        let field = paths.first().copied().unwrap_or("").to_owned();
        let hint = Hint { field, text };
        if out.len() < HINTS_MAX && !out.contains(&hint) {
            out.push(hint);
        }
    }
    out
}

fn text(message: &str, paths: &[&str]) -> Option<String> {
    let fields = paths.join(", ");
    if let Some(rest) = after(message, " requires \"enable-api-fields\" feature gate to be ") {
        let wanted = if rest.starts_with("\"alpha\" or \"beta\"") { "beta" } else { "alpha" };
        return Some(set("feature-flags", "enable-api-fields", wanted));
    }
    if let Some(rest) = after(message, "feature flag ") {
        let flag = rest.split([' ', '`']).find(|w| !w.is_empty())?;
        return Some(set("feature-flags", flag, "true"));
    }
    let rules: [(&str, &str); 22] = [
        ("missing field(s)", "set FIELDS"),
        ("must not set the field(s)", "leave out FIELDS"),
        ("expected exactly one, got neither", "set one of FIELDS"),
        ("expected exactly one, got multiple", "keep one of FIELDS and leave out the others"),
        ("expected exactly one, got both", "keep one: names may differ, or one of FIELDS must go"),
        ("expected at least one, got none", "set one of FIELDS"),
        (
            "non-existent variable",
            "declare the parameter or result under `params` or `results`, or correct its name",
        ),
        (
            "variable type invalid",
            "refer to a key (`$(params.NAME.KEY)`), an index (`$(params.NAME[0])`), or use a string parameter",
        ),
        ("variable is not properly isolated", "let `$(params.NAME[*])` be the whole element of the list"),
        ("script cannot be used with command", "keep `script` or `command`, and leave out the other"),
        ("invalid resource name", "use lower case letters, digits, `-` and `.`"),
        ("Invalid resource name: length", "use a name of at most 63 characters"),
        ("workspace mount path", "give each workspace a `mountPath` of its own"),
        ("volumeMount cannot be mounted under /tekton/", "mount it elsewhere, or under /tekton/home"),
        (
            "invalid value: cycle detected",
            "leave out one of the `runAfter` or result references on the circle",
        ),
        (
            "invalid value: couldn't add link",
            "let `runAfter` and result references name tasks of this pipeline",
        ),
        (
            "A matrixed pipelineTask can only be consumed in aggregate",
            "refer to `$(tasks.TASK.results.RESULT[*])`",
        ),
        ("invalid value: managedBy is immutable", "make a new run, and set `managedBy` there"),
        (
            "invalid value: Once the TaskRun is complete",
            "make a new TaskRun; labels and annotations may still be changed",
        ),
        (
            "invalid value: Once the PipelineRun is complete",
            "make a new PipelineRun; labels and annotations may still be changed",
        ),
        ("invalid value: operator", "set `operator` to `in` or `notin`"),
        ("invalid value: expecting non-empty values", "list at least one text under `values`"),
    ];
    let (_, hint) = rules.into_iter().find(|(head, _)| message.starts_with(head))?;
    match hint.contains("FIELDS") {
        true if fields.is_empty() => None,
        true => Some(hint.replace("FIELDS", &fields)),
        false => Some(hint.to_owned()),
    }
}

fn after<'a>(message: &'a str, part: &str) -> Option<&'a str> {
    message.find(part).map(|at| &message[at + part.len()..])
}

/// How a setting is changed.
fn set(config_map: &str, key: &str, value: &str) -> String {
    format!(
        "set {key}: \"{value}\" in ConfigMap tekton-pipelines/{config_map}: kubectl patch configmap {config_map} -n tekton-pipelines --type=merge -p '{{\"data\":{{\"{key}\":\"{value}\"}}}}'"
    )
}

#[cfg(test)]
mod tests;
