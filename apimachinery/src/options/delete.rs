//! Options of deletes; they come in the body or in the query.

use serde_json::Value;

use super::{Params, bad_number, check_dry_run};
use crate::field_error::FieldError;
use crate::meta::Propagation;
use crate::status::Status;

/// What must hold of the object that is deleted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Preconditions {
    /// Its uid.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

/// Options of a delete.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteOptions {
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// What becomes of dependents; [`None`]: not said.
    pub propagation: Option<Propagation>,
    /// What must hold.
    pub preconditions: Preconditions,
    /// Seconds until pods are killed.
    pub grace_period_s: Option<i64>,
}

impl DeleteOptions {
    /// Reads and checks them. A `body` (decoded) counts instead of the query.
    ///
    /// # Errors
    /// 400 for what cannot be read, 422 with every fault.
    pub fn parse(params: &Params, body: Option<&Value>) -> Result<Self, Status> {
        match body {
            Some(body) if !body.is_null() => Self::from_body(body),
            _ => Self::from_query(params),
        }
    }

    fn from_query(params: &Params) -> Result<Self, Status> {
        let grace = params.get("gracePeriodSeconds").filter(|t| !t.is_empty());
        let grace_period_s = grace.map(|t| t.parse().map_err(|_| bad_number(t))).transpose()?;
        let options = Self { grace_period_s, ..Self::default() };
        let orphan = params.flag("orphanDependents");
        options.checked(&params.all("dryRun"), params.get("propagationPolicy"), orphan)
    }

    fn from_body(body: &Value) -> Result<Self, Status> {
        let Some(map) = body.as_object() else {
            return Err(Status::bad_request("the body of a delete must be DeleteOptions"));
        };
        let (kind, version) = (&body["kind"], &body["apiVersion"]);
        if !kind.is_null() && kind != "DeleteOptions" {
            return Err(Status::bad_request(format!("no kind {kind} is registered for version {version}")));
        }
        let wrong = |member: &str| {
            Status::bad_request(format!("json: cannot unmarshal into Go struct field DeleteOptions.{member}"))
        };
        let text = |value: &Value, member: &str| match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(wrong(member)),
        };
        let conditions = &body["preconditions"];
        let options = Self {
            dry_run: false,
            propagation: None,
            preconditions: Preconditions {
                uid: text(&conditions["uid"], "preconditions.uid")?,
                resource_version: text(&conditions["resourceVersion"], "preconditions.resourceVersion")?,
            },
            grace_period_s: match map.get("gracePeriodSeconds") {
                None | Some(Value::Null) => None,
                Some(value) => Some(value.as_i64().ok_or_else(|| wrong("gracePeriodSeconds"))?),
            },
        };
        let dry_run: Vec<&str> = match &body["dryRun"] {
            Value::Null => Vec::new(),
            Value::Array(list) => list.iter().map(|v| v.as_str().unwrap_or("")).collect(),
            _ => return Err(wrong("dryRun")),
        };
        let orphan = match &body["orphanDependents"] {
            Value::Null => None,
            value => Some(value.as_bool().ok_or_else(|| wrong("orphanDependents"))?),
        };
        let policy = text(&body["propagationPolicy"], "propagationPolicy")?;
        options.checked(&dry_run, policy.as_deref(), orphan)
    }

    fn checked(
        mut self,
        dry_run: &[&str],
        policy: Option<&str>,
        orphan: Option<bool>,
    ) -> Result<Self, Status> {
        let mut errors = Vec::new();
        if let Some(policy) = policy {
            self.propagation = Propagation::parse(policy);
            if orphan.is_some() {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid_str("propagationPolicy", policy, detail));
            } else if self.propagation.is_none() {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported("propagationPolicy", &Value::from(policy), &known));
            }
        } else if let Some(orphan) = orphan {
            self.propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        errors.extend(check_dry_run(dry_run));
        self.dry_run = !dry_run.is_empty();
        if errors.is_empty() { Ok(self) } else { Err(Status::invalid_options("DeleteOptions", &errors)) }
    }
}
