//! When expressions.

use apimachinery::field_error::quote;
use serde_json::Value;

use super::Settings;
use crate::api::fault::Faults;
use crate::api::read::{list, text};
use crate::cel::Program;

/// Faults of the expressions of `holder`, told below `when`.
pub(super) fn when(holder: &Value, config: &Settings<'_>) -> Faults {
    let mut faults = Faults::none();
    for (index, expression) in list(holder, "when").iter().enumerate() {
        faults.add(one(expression, config).index(index));
    }
    faults.under("when")
}

fn one(expression: &Value, config: &Settings<'_>) -> Faults {
    let (cel, input) = (text(expression, "cel"), text(expression, "input"));
    let (operator, values) = (text(expression, "operator"), list(expression, "values"));
    if !cel.is_empty() {
        if !config.on("enable-cel-in-whenexpression") {
            return Faults::at(
                format!(
                    "feature flag enable-cel-in-whenexpression should be set to true to use CEL: {cel} in WhenExpression"
                ),
                &[""],
            );
        }
        if !input.is_empty() || !operator.is_empty() || !values.is_empty() {
            let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            let shown = format!("&{{{input} {operator} [{}] {cel}}}", values.join(" "));
            return Faults::at(
                format!("cel and input+operator+values cannot be set in one WhenExpression: {shown}"),
                &[],
            );
        }
        return match Program::compile(cel) {
            Ok(_) => Faults::none(),
            // The reference takes what should stand in the message for paths.
            Err(why) => {
                let (cel, why) = (as_path(cel), as_path(&why));
                Faults::at("invalid cel expression: %s with err: %s", &[&cel, &why])
            }
        };
    }
    if input.is_empty() && operator.is_empty() && values.is_empty() {
        return Faults::missing("");
    }
    if operator != "in" && operator != "notin" {
        let operator = quote(operator);
        return Faults::invalid(
            format!("operator {operator} is not recognized. valid operators: in,notin"),
            "",
        );
    }
    if values.is_empty() {
        return Faults::invalid("expecting non-empty values field", "");
    }
    Faults::none()
}

/// A text as the reference shows it where it should be a path: without parts that are empty.
fn as_path(text: &str) -> String {
    let parts: Vec<_> = text.split('.').filter(|part| !part.is_empty()).collect();
    parts.join(".")
}
