//! Options of lists and watches.

use serde_json::Value;

use super::{Params, bad_number};
use crate::field_error::{FieldError, quote};
use crate::status::Status;

/// How a resourceVersion is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionMatch {
    /// That state, or a newer one.
    NotOlderThan,
    /// Exactly that state.
    Exact,
}

/// Options of a list or watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListOptions {
    /// It is a watch.
    pub watch: bool,
    /// Unparsed label selector.
    pub label_selector: String,
    /// Unparsed field selector.
    pub field_selector: String,
    /// Most objects to list; 0: all.
    pub limit: u64,
    /// Token of the next page, or empty.
    pub continue_token: String,
    /// State to read; [`None`]: the latest. 0: any.
    pub resource_version: Option<u64>,
    /// How that is meant, if it was said.
    pub version_match: Option<VersionMatch>,
    /// End a watch after so many seconds.
    pub timeout_s: Option<u64>,
    /// Send bookmarks.
    pub bookmarks: bool,
    /// Begin a watch with the current state.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and checks them.
    ///
    /// # Errors
    /// 400 for what cannot be read, 422 for what doesn't go together.
    pub fn parse(params: &Params) -> Result<Self, Status> {
        let text = |name: &str| params.get(name).unwrap_or("").to_owned();
        let options = Self {
            watch: params.flag("watch").unwrap_or(false),
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: number(params, "limit")?.unwrap_or(0),
            continue_token: text("continue"),
            resource_version: None,
            version_match: None,
            timeout_s: number(params, "timeoutSeconds")?.filter(|s| *s > 0),
            bookmarks: params.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: params.flag("sendInitialEvents"),
        };
        options.with_version(params.get("resourceVersion").unwrap_or(""), &text("resourceVersionMatch"))
    }

    fn with_version(mut self, version: &str, matching: &str) -> Result<Self, Status> {
        let errors =
            if self.watch { self.watch_faults(matching) } else { self.list_faults(version, matching) };
        if !errors.is_empty() {
            return Err(Status::invalid_options("ListOptions", &errors));
        }
        self.version_match = match matching {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            _ => None,
        };
        if !self.watch && !self.continue_token.is_empty() && !matches!(version, "" | "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        self.resource_version = parse_version(version).map_err(|why| {
            Status::bad_request(if self.watch { why } else { format!("invalid resource version: {why}") })
        })?;
        Ok(self)
    }

    fn list_faults(&self, version: &str, matching: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.send_initial_events.is_some() {
            errors
                .push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if matching.is_empty() {
            return errors;
        }
        let mut forbid = |detail: &str| errors.push(FieldError::forbidden("resourceVersionMatch", detail));
        if version.is_empty() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !self.continue_token.is_empty() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == "Exact" && version == "0" {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let known = ["Exact", "NotOlderThan", ""];
            errors.push(FieldError::not_supported("resourceVersionMatch", &Value::from(matching), &known));
        }
        errors
    }

    fn watch_faults(&self, matching: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut forbid = |detail: &str| errors.push(FieldError::forbidden("resourceVersionMatch", detail));
        if self.send_initial_events.is_none() {
            if !matching.is_empty() {
                forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            return errors;
        }
        if matching == "NotOlderThan" {
            return errors;
        }
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        if !matching.is_empty() {
            let bad = Value::from(matching);
            errors.push(FieldError::not_supported("resourceVersionMatch", &bad, &["NotOlderThan"]));
        }
        errors
    }
}

/// Reads a resourceVersion; empty is none.
fn parse_version(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed.map(Some).ok_or_else(|| {
        let detail = format!("strconv.ParseUint: parsing {}: invalid syntax", quote(text));
        FieldError::invalid_str("resourceVersion", text, &detail).text()
    })
}

/// A number that may be negative, which then counts as 0.
fn number(params: &Params, name: &str) -> Result<Option<u64>, Status> {
    let Some(text) = params.get(name).filter(|t| !t.is_empty()) else { return Ok(None) };
    let value: i64 = text.parse().map_err(|_| bad_number(text))?;
    Ok(Some(u64::try_from(value).unwrap_or(0)))
}
