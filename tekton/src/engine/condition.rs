//! The condition `Succeeded` of a run.

use serde_json::{Value, json};

use crate::engine::doc::{list, list_mut, text};
use crate::engine::time::rfc3339;

/// Status of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl Truth {
    /// The word in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

/// The condition `Succeeded` in `status`, or null.
pub fn succeeded(status: &Value) -> &Value {
    list(status, "conditions").iter().find(|c| text(c, "type") == "Succeeded").unwrap_or(&Value::Null)
}

/// Whether the run has ended.
pub fn is_done(status: &Value) -> bool {
    matches!(text(succeeded(status), "status"), "True" | "False")
}

/// Whether the run has ended well.
pub fn is_successful(status: &Value) -> bool {
    text(succeeded(status), "status") == "True"
}

/// Sets the condition `Succeeded`; its transition time moves only when something else does.
pub fn set(status: &mut Value, truth: Truth, reason: &str, message: &str, now_us: i64) {
    set_of(status, "Succeeded", truth, reason, message, now_us);
}

/// The same of any condition.
pub fn set_of(status: &mut Value, kind: &str, truth: Truth, reason: &str, message: &str, now_us: i64) {
    let old = list(status, "conditions").iter().find(|c| text(c, "type") == kind).unwrap_or(&Value::Null);
    let same = text(old, "status") == truth.as_str()
        && text(old, "reason") == reason
        && text(old, "message") == message;
    if same {
        return;
    }
    let mut new = json!({
        "type": kind,
        "status": truth.as_str(),
        "lastTransitionTime": rfc3339(now_us),
    });
    if !reason.is_empty() {
        new["reason"] = json!(reason);
    }
    if !message.is_empty() {
        new["message"] = json!(message);
    }
    let conditions = list_mut(status, "conditions");
    match conditions.iter_mut().find(|c| text(c, "type") == kind) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
}
