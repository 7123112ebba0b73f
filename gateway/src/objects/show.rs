//! The form in which objects are shown: as they are, as table rows, as metadata only.

use apimachinery::accept::{self, Accepted, Shape};
use apimachinery::status::Status;
use apimachinery::table::{self, Include, TableStyle};
use apimachinery::time::Micros;
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::At;
use crate::answer::{self, Refused};
use crate::route::Objects;

/// How one request wants objects shown.
#[derive(Clone, Copy)]
pub struct Shown {
    /// What was negotiated.
    pub accepted: Accepted,
    style: TableStyle,
}

impl Shown {
    /// Negotiates.
    ///
    /// # Errors
    /// 406 when nothing acceptable can be made, 400 for a wrong `includeObject`.
    pub fn negotiate(
        accept: Option<&str>,
        include: Option<&str>,
        target: &Objects,
        now_us: i64,
    ) -> Result<Self, Refused> {
        let accepted = accept::negotiate(accept).map_err(Box::new)?;
        let include = Include::parse(include.unwrap_or("")).map_err(Box::new)?;
        let style = TableStyle {
            kind: target.kind,
            version: target.version,
            meta_version: accepted.meta_version,
            include,
            now: Micros(now_us),
        };
        Ok(Self { accepted, style })
    }

    /// For one object, which is no list.
    pub(super) fn of(at: &At<'_>) -> Result<Self, Refused> {
        let shown = Self::of_list(at)?;
        match shown.accepted.shape {
            Shape::PartialList => Err(Box::new(Status::bad_request("content is not a list"))),
            Shape::Full | Shape::Table | Shape::Partial => Ok(shown),
        }
    }

    pub(super) fn of_list(at: &At<'_>) -> Result<Self, Refused> {
        let now = at.app.host.clock.utc().0;
        Self::negotiate(at.ask.accept(), at.ask.params.get("includeObject"), at.target, now)
    }

    /// The stored bytes can be shown as they are.
    pub fn as_stored(&self) -> bool {
        let style = &self.style;
        self.accepted.shape == Shape::Full
            && !self.accepted.yaml
            && style.version.name == style.kind.stored_version().name
    }

    /// One object.
    pub fn one(&self, object: Value, headings: bool) -> Value {
        match self.accepted.shape {
            Shape::Full => object,
            Shape::Table => self.style.single(&object, headings),
            Shape::Partial | Shape::PartialList => table::partial(&object, self.accepted.meta_version),
        }
    }

    /// A list.
    pub fn list(&self, kind: &str, api_version: &str, meta: Value, objects: &[Value]) -> Value {
        match self.accepted.shape {
            Shape::Full => {
                json!({"kind": format!("{kind}List"), "apiVersion": api_version, "metadata": meta, "items": objects})
            }
            Shape::Table => self.style.table(meta, objects, true),
            Shape::Partial | Shape::PartialList => {
                table::partial_list(meta, objects, self.accepted.meta_version)
            }
        }
    }

    /// A response.
    pub fn respond(&self, code: StatusCode, value: &Value) -> Response<Body> {
        if self.accepted.yaml {
            let text = serde_yaml_ng::to_string(value).unwrap_or_default();
            return answer::bytes(code, "application/yaml", text.into_bytes());
        }
        answer::json(code, value)
    }
}
