//! One fault of one field of an object, in the words of the Kubernetes validators.

use serde_json::Value;

use crate::status::Cause;

/// What kind of fault it is; becomes the `reason` of a cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A field that must be there is not.
    Required,
    /// The value has the right type but cannot be accepted.
    Invalid,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// The value is not one of the known ones.
    NotSupported,
    /// The field may not be set here.
    Forbidden,
    /// A list that must not repeat itself does.
    Duplicate,
    /// The value is too long.
    TooLong,
    /// The list has too many elements.
    TooMany,
    /// Something that the value refers to does not exist.
    NotFound,
}

impl Fault {
    /// The `reason` of a cause in a Status.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

/// A fault of a field: where, what, and the text that a client sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// Kind of fault.
    pub fault: Fault,
    /// Path of the field, as in `spec.tasks[2].name`.
    pub field: String,
    /// What is wrong, without the path.
    pub message: String,
}

impl FieldError {
    /// A field that must be there is not. `detail` may be empty.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(Fault::Required, field, with_detail("Required value".to_owned(), detail))
    }

    /// A value that cannot be accepted.
    pub fn invalid(field: impl Into<String>, bad: &Value, detail: &str) -> Self {
        let text = with_detail(format!("Invalid value: {}", show(bad)), detail);
        Self::new(Fault::Invalid, field, text)
    }

    /// A text value that cannot be accepted.
    pub fn invalid_str(field: impl Into<String>, bad: &str, detail: &str) -> Self {
        let text = with_detail(format!("Invalid value: {}", quote(bad)), detail);
        Self::new(Fault::Invalid, field, text)
    }

    /// A value that cannot be accepted, already rendered for people.
    pub fn invalid_shown(field: impl Into<String>, shown: &str, detail: &str) -> Self {
        Self::new(Fault::Invalid, field, with_detail(format!("Invalid value: {shown}"), detail))
    }

    /// A value of the wrong JSON type; `found` is the name of the type that was found.
    pub fn type_invalid(field: impl Into<String>, found: &str, detail: &str) -> Self {
        let text = with_detail(format!("Invalid value: {}", quote(found)), detail);
        Self::new(Fault::TypeInvalid, field, text)
    }

    /// A value that is not one of `supported`, which are listed in the given order.
    pub fn not_supported(field: impl Into<String>, bad: &Value, supported: &[&str]) -> Self {
        let known: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let text = format!("Unsupported value: {}: supported values: {}", show(bad), known.join(", "));
        Self::new(Fault::NotSupported, field, text)
    }

    /// A field that may not be set here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(Fault::Forbidden, field, with_detail("Forbidden".to_owned(), detail))
    }

    /// An element that repeats an earlier one.
    pub fn duplicate(field: impl Into<String>, bad: &Value) -> Self {
        Self::new(Fault::Duplicate, field, format!("Duplicate value: {}", show(bad)))
    }

    /// A value of more than `max_bytes` bytes.
    pub fn too_long(field: impl Into<String>, max_bytes: usize) -> Self {
        Self::new(Fault::TooLong, field, format!("Too long: may not be more than {max_bytes} bytes"))
    }

    fn new(fault: Fault, field: impl Into<String>, message: String) -> Self {
        Self { fault, field: field.into(), message }
    }

    /// The fault as a cause of a Status.
    pub fn cause(&self) -> Cause {
        Cause {
            reason: self.fault.reason().to_owned(),
            message: self.message.clone(),
            field: Some(self.field.clone()),
        }
    }

    /// Path and text, as they stand in the message of a Status.
    pub fn text(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

/// The faults as one text: alone, or as a list in brackets; a text that repeats is said once.
pub fn join(errors: &[FieldError]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for error in errors {
        let text = error.text();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    if seen.len() == 1 { seen.swap_remove(0) } else { format!("[{}]", seen.join(", ")) }
}

fn with_detail(text: String, detail: &str) -> String {
    if detail.is_empty() { text } else { format!("{text}: {detail}") }
}

/// A bad value as the validators print it: text in quotes, everything else as JSON.
fn show(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        other => other.to_string(),
    }
}

/// Text in double quotes, escaped as Go does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if unprintable(c) && c as u32 <= 0xffff => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if unprintable(c) => out.push_str(&format!("\\U{:08x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Characters that leave no mark and would hide in a message: separators, format and control characters.
fn unprintable(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}')
}

#[cfg(test)]
mod tests;
