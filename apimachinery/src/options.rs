//! Options of requests: what stands in the query (and in the body of a delete), read and checked as the reference does.

use serde_json::Value;

use crate::field_error::{FieldError, quote};
use crate::schema::FieldValidation;
use crate::status::Status;

mod delete;
mod list;
mod params;

pub use delete::{DeleteOptions, Preconditions};
pub use list::{ListOptions, VersionMatch};
pub use params::Params;

/// Longest name of a field manager, in bytes.
const MANAGER_MAX: usize = 128;

/// Which kind of write options are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// PATCH with server-side apply.
    Apply,
}

impl Write {
    fn options_kind(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch | Self::Apply => "PatchOptions",
        }
    }
}

/// Options of a create, update or patch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteOptions {
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// Who writes; empty: not said.
    pub field_manager: String,
    /// What to do about unknown fields.
    pub field_validation: FieldValidation,
    /// Take fields from other managers (apply only).
    pub force: bool,
}

impl WriteOptions {
    /// Reads and checks them.
    ///
    /// # Errors
    /// 422 with every fault.
    pub fn parse(write: Write, params: &Params) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let force = params.flag("force");
        let manager = params.get("fieldManager").unwrap_or("");
        match write {
            Write::Patch if force == Some(true) => {
                errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
            }
            Write::Apply if manager.is_empty() => {
                errors.push(FieldError::required("fieldManager", "is required for apply patch"));
            }
            Write::Create | Write::Update | Write::Patch | Write::Apply => {}
        }
        errors.extend(check_manager(manager));
        let dry_run = params.all("dryRun");
        errors.extend(check_dry_run(&dry_run));
        let text = params.get("fieldValidation").unwrap_or("");
        let field_validation = FieldValidation::parse(text).unwrap_or_else(|| {
            let bad = Value::from(text);
            errors.push(FieldError::not_supported("fieldValidation", &bad, FieldValidation::VALUES));
            FieldValidation::Warn
        });
        if !errors.is_empty() {
            return Err(Status::invalid_options(write.options_kind(), &errors));
        }
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            field_manager: manager.to_owned(),
            field_validation,
            force: force.unwrap_or(false),
        })
    }

    /// The name under which a write is recorded: the one that was given, or the client program's.
    pub fn manager(&self, user_agent: &str) -> String {
        if !self.field_manager.is_empty() {
            return self.field_manager.clone();
        }
        let program = user_agent.split('/').next().unwrap_or("");
        let printable: String = program.chars().filter(|c| !c.is_control()).collect();
        let mut cut = printable.len().min(MANAGER_MAX);
        while !printable.is_char_boundary(cut) {
            cut -= 1;
        }
        if cut == 0 { "unknown".to_owned() } else { printable[..cut].to_owned() }
    }
}

fn check_manager(manager: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > MANAGER_MAX {
        errors.push(FieldError::too_long("fieldManager", MANAGER_MAX));
    }
    if let Some((at, c)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(FieldError::invalid_str("fieldManager", manager, &detail));
    }
    errors
}

/// All values of `dryRun` must be `All`.
fn check_dry_run(values: &[&str]) -> Option<FieldError> {
    let bad = values.iter().any(|value| *value != "All");
    bad.then(|| FieldError::not_supported("dryRun", &Value::from(values.to_vec()), &["All"]))
}

/// 400 for a number that is none.
fn bad_number(text: &str) -> Status {
    Status::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text)))
}

#[cfg(test)]
mod tests;
