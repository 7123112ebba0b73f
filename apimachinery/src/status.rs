//! The Kubernetes `Status` object: the one shape of every refusal and failure that a client sees.

use serde_json::{Map, Value, json};

use crate::field_error::{FieldError, join, quote};

mod constructors;

/// Reason of causes that name no fault, but a way out.
const HINT: &str = "AcceptedValue";

/// The machine-readable reason of a failure. Clients branch on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The reference gives no reason (plain 500s).
    Unknown,
    /// No valid credential.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// There is no such object or path.
    NotFound,
    /// An object of that name exists.
    AlreadyExists,
    /// The object was changed in between, or another manager owns a field.
    Conflict,
    /// Gone, and it will not come back.
    Gone,
    /// The object or options are not acceptable.
    Invalid,
    /// The request cannot be understood.
    BadRequest,
    /// The resource does not have this verb.
    MethodNotAllowed,
    /// None of the accepted media types can be produced.
    NotAcceptable,
    /// The body has a media type that is not understood.
    UnsupportedMediaType,
    /// The body is too large.
    RequestEntityTooLarge,
    /// The server did not get it done in time.
    Timeout,
    /// Try again on another server or later.
    ServerTimeout,
    /// The history that was asked for is no longer kept.
    Expired,
    /// The caller should slow down.
    TooManyRequests,
    /// A fault of ours.
    InternalError,
    /// Cannot be served at the moment.
    ServiceUnavailable,
    /// There is no room to store it.
    InsufficientStorage,
}

impl Reason {
    /// As it stands in the document; empty for [`Reason::Unknown`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::Timeout => "Timeout",
            Self::ServerTimeout => "ServerTimeout",
            Self::Expired => "Expired",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::InsufficientStorage => "InsufficientStorage",
        }
    }

    /// The HTTP status that goes with it.
    pub fn code(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::BadRequest => 400,
            Self::TooManyRequests => 429,
            Self::Unknown | Self::InternalError | Self::ServerTimeout => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
            Self::InsufficientStorage => 507,
        }
    }
}

/// One cause of a failure.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cause {
    /// Machine-readable: `FieldValueInvalid`, `FieldManagerConflict`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// Path of the field, if the cause has one.
    pub field: Option<String>,
}

/// Which resource a failure is about. `kind` is the plural name or the kind, as the reference has it there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    /// Name of the object; empty when there is none.
    pub name: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource name or kind.
    pub kind: String,
    /// Uid of the object, on success of a delete.
    pub uid: String,
    /// Every cause.
    pub causes: Vec<Cause>,
    /// Seconds to wait before trying again; 0: not said.
    pub retry_after_s: u32,
}

/// A `Status`: a failure, or the success of a delete.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Why; [`None`] for a success.
    pub reason: Option<Reason>,
    /// For people, and grepped by clients.
    pub message: String,
    /// About which resource.
    pub details: Option<Box<Details>>,
    /// A token to go on with an expired list.
    pub continue_token: Option<String>,
}

impl Status {
    /// A failure without details.
    pub fn failure(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            reason: Some(reason),
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    /// Success of a delete.
    pub fn deleted(group: &str, plural: &str, name: &str, uid: &str) -> Self {
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: plural.to_owned(),
            uid: uid.to_owned(),
            ..Details::default()
        };
        Self {
            code: 200,
            reason: None,
            message: String::new(),
            details: Some(Box::new(details)),
            continue_token: None,
        }
    }

    /// The document as clients see it.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert("kind".into(), "Status".into());
        out.insert("apiVersion".into(), "v1".into());
        let metadata = match &self.continue_token {
            Some(token) => json!({ "continue": token }),
            None => json!({}),
        };
        out.insert("metadata".into(), metadata);
        let outcome = if self.reason.is_some() { "Failure" } else { "Success" };
        out.insert("status".into(), outcome.into());
        insert_text(&mut out, "message", &self.message);
        insert_text(&mut out, "reason", self.reason.map_or("", Reason::as_str));
        if let Some(details) = &self.details {
            out.insert("details".into(), details.to_value());
        }
        // The reference gives a success no code.
        if self.reason.is_some() {
            out.insert("code".into(), self.code.into());
        }
        Value::Object(out)
    }

    /// The same failure with a cause that says what would be accepted.
    #[must_use]
    pub fn hinting(mut self, field: &str, message: &str) -> Self {
        let field = Some(field.to_owned()).filter(|f| !f.is_empty());
        let cause = Cause { reason: HINT.to_owned(), message: message.to_owned(), field };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// What would be accepted, for people.
    pub fn hints(&self) -> impl Iterator<Item = String> {
        let causes = self.details.iter().flat_map(|d| &d.causes).filter(|c| c.reason == HINT);
        causes.map(|c| match &c.field {
            Some(field) => format!("{field}: {}", c.message),
            None => c.message.clone(),
        })
    }

    /// The value of the `Retry-After` header, when there is one.
    pub fn retry_after_s(&self) -> Option<u32> {
        self.details.as_ref().map(|d| d.retry_after_s).filter(|s| *s > 0)
    }

    fn with(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        details.name = name.to_owned();
        self
    }

    fn after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_s = seconds;
        self
    }

    fn because(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        insert_text(&mut out, "name", &self.name);
        insert_text(&mut out, "group", &self.group);
        insert_text(&mut out, "kind", &self.kind);
        insert_text(&mut out, "uid", &self.uid);
        if !self.causes.is_empty() {
            out.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_s > 0 {
            out.insert("retryAfterSeconds".into(), self.retry_after_s.into());
        }
        Value::Object(out)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        insert_text(&mut out, "reason", &self.reason);
        insert_text(&mut out, "message", &self.message);
        insert_text(&mut out, "field", self.field.as_deref().unwrap_or(""));
        Value::Object(out)
    }
}

fn insert_text(out: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        out.insert(key.to_owned(), text.into());
    }
}

/// `plural.group`, or only `plural` in the core group.
pub fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

fn invalid_message(kind: &str, group: &str, name: &str, errors: &[FieldError]) -> String {
    let subject = format!("{} {} is invalid", qualified(kind, group), quote(name));
    if errors.is_empty() { subject } else { format!("{subject}: {}", join(errors)) }
}

#[cfg(test)]
mod tests;
