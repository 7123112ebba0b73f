//! The admin API: what operators of the installation ask and wish. An operator's credential reaches no tenant's
//! objects, and a tenant's credential nothing of this.
//!
//! ```text
//! GET    /admin/v1/cells                  all cells and what is left on them
//! GET    /admin/v1/cells/CELL             one
//! PUT    /admin/v1/cells/CELL/drain       it takes no new runs
//! DELETE /admin/v1/cells/CELL/drain       it takes them again
//! PUT, DELETE /admin/v1/regions/REGION/drain   the same for all cells of a region
//! GET    /admin/v1/tenants/TENANT         a tenant's policy
//! PUT    /admin/v1/tenants/TENANT/runs-max/N   it has at most N runs that have not ended
//! DELETE /admin/v1/tenants/TENANT/runs-max     it has as many as it likes
//! PUT, DELETE /admin/v1/tenants/TENANT/rerun-after-loss   its runs are run again after a loss, unless they say otherwise
//! ```

use std::sync::Arc;

use apimachinery::status::Status;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use store::tenant::WriteError;
use store::tenant::admin::Standing;
use tenancy::access::Operator;

use crate::answer::{self, Outcome, Refused};
use crate::app::App;
use crate::authn;

/// What a path below `/admin/v1` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// All cells.
    Cells,
    /// One cell.
    Cell(String),
    /// The drain of one cell.
    Drain(String),
    /// The drain of all cells of a region.
    RegionDrain(String),
    /// A tenant's policy.
    Tenant(String),
    /// How many runs a tenant may have; `None`: whatever it is.
    RunsMax(String, Option<u32>),
    /// Whether a tenant's runs are run again after a loss.
    Rerun(String),
}

/// What the words after `/admin/v1` mean.
pub fn target(words: &[&str]) -> Option<Target> {
    Some(match words {
        ["cells"] => Target::Cells,
        ["cells", cell] if !cell.is_empty() => Target::Cell((*cell).to_owned()),
        ["cells", cell, "drain"] if !cell.is_empty() => Target::Drain((*cell).to_owned()),
        ["regions", region, "drain"] if !region.is_empty() => Target::RegionDrain((*region).to_owned()),
        ["tenants", tenant] if !tenant.is_empty() => Target::Tenant((*tenant).to_owned()),
        ["tenants", tenant, "runs-max"] => Target::RunsMax((*tenant).to_owned(), None),
        ["tenants", tenant, "runs-max", max] => {
            Target::RunsMax((*tenant).to_owned(), Some(max.parse().ok()?))
        }
        ["tenants", tenant, "rerun-after-loss"] => Target::Rerun((*tenant).to_owned()),
        _ => return None,
    })
}

/// Answers an operator.
///
/// # Errors
/// A Status; 401 for everybody else.
pub async fn serve(app: &Arc<App>, method: &Method, headers: &HeaderMap, target: &Target) -> Outcome {
    let operator = authn::operator(app, headers)?;
    let standings = match (method.as_str(), target) {
        ("GET", Target::Cells) => standings(app, &operator, |_, _| true).await?,
        ("GET", Target::Cell(cell)) => vec![standing(app, &operator, cell).await?],
        ("PUT" | "DELETE", Target::Drain(cell)) => {
            drain(app, &operator, cell, method == Method::PUT).await?;
            vec![standing(app, &operator, cell).await?]
        }
        ("PUT" | "DELETE", Target::RegionDrain(region)) => {
            let found = standings(app, &operator, |_, of| of == region).await?;
            if found.is_empty() {
                return Err(Box::new(Status::bad_request(format!(
                    "there is no cell in region {region:?}; GET /admin/v1/cells lists them"
                ))));
            }
            for standing in &found {
                drain(app, &operator, &standing.cell.cell, method == Method::PUT).await?;
            }
            standings(app, &operator, |_, of| of == region).await?
        }
        (method, Target::Tenant(tenant) | Target::RunsMax(tenant, _) | Target::Rerun(tenant)) => {
            return of_tenant(app, &operator, method, target, tenant).await;
        }
        _ => return Err(Box::new(Status::method_not_allowed())),
    };
    let items: Vec<Value> = standings.iter().map(|standing| show(app, standing)).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "cells": items })))
}

async fn of_tenant(app: &App, by: &Operator, method: &str, target: &Target, tenant: &str) -> Outcome {
    let on = method == "PUT";
    let changed = match (method, target) {
        ("GET", Target::Tenant(_)) => Ok(true),
        ("PUT", Target::RunsMax(_, max @ Some(_))) | ("DELETE", Target::RunsMax(_, max @ None)) => {
            app.admin.tenant_change(by, tenant, |policy| policy.runs_max = *max).await
        }
        ("PUT" | "DELETE", Target::Rerun(_)) => {
            app.admin.tenant_change(by, tenant, |policy| policy.rerun_after_loss = on).await
        }
        _ => return Err(Box::new(Status::method_not_allowed())),
    };
    match changed {
        Ok(true) if method != "GET" => {
            tracing::info!(tenant, by = by.user, ?target, "an operator has decided about a tenant's policy");
        }
        Ok(true) => {}
        Ok(false) => return Err(no_such_tenant(tenant)),
        Err(WriteError::Changed) => {
            return Err(Box::new(Status::unavailable("the tenant's row changes all the time", 1)));
        }
        Err(error) => return Err(answer::write_failed(&error)),
    }
    let found = app.admin.tenant(by, tenant).await.map_err(|error| answer::read_failed(&error))?;
    let (policy, runs) = found.ok_or_else(|| no_such_tenant(tenant))?;
    let shown = json!({
        "tenant": policy.id,
        "residency": policy.residency,
        "runs_max": policy.runs_max,
        "runs_counted": runs,
        "rerun_after_loss": policy.rerun_after_loss,
    });
    Ok(answer::json(StatusCode::OK, &shown))
}

fn no_such_tenant(tenant: &str) -> Refused {
    Box::new(Status::not_found("", "tenants", tenant))
}

async fn drain(app: &App, operator: &Operator, cell: &str, draining: bool) -> Result<(), Refused> {
    match app.admin.drain(operator, cell, draining).await {
        Ok(true) => {
            tracing::info!(cell, draining, by = operator.user, "an operator has decided about new runs");
            app.wake(cell);
            Ok(())
        }
        Ok(false) => Err(no_such(cell)),
        Err(WriteError::Changed) => {
            Err(Box::new(Status::unavailable("the cell's row changes all the time", 1)))
        }
        Err(error) => Err(answer::write_failed(&error)),
    }
}

async fn standing(app: &App, operator: &Operator, cell: &str) -> Result<Standing, Refused> {
    let found = app.admin.standing(operator, cell).await.map_err(|error| answer::read_failed(&error))?;
    found.ok_or_else(|| no_such(cell))
}

async fn standings(
    app: &App,
    operator: &Operator,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Vec<Standing>, Refused> {
    let mut out = Vec::new();
    for cell in app.admin.cells(operator).await.map_err(|error| answer::read_failed(&error))? {
        if wanted(&cell.cell, &cell.region) {
            out.push(standing(app, operator, &cell.cell).await?);
        }
    }
    Ok(out)
}

fn no_such(cell: &str) -> Refused {
    Box::new(Status::not_found("", "cells", cell))
}

fn show(app: &App, standing: &Standing) -> Value {
    let Standing { cell, drain, runs, waiting, started } = standing;
    json!({
        "cell": cell.cell,
        "region": cell.region,
        "draining": cell.draining,
        "drain": drain.as_ref().map(|drain| json!({"since_us": drain.since_us, "by": drain.by})),
        "asleep": cell.asleep_until_us.is_some(),
        "heard_ms_ago": app.host.clock.utc().0.saturating_sub(cell.at_us) / 1000,
        "machines_max": cell.machines_max,
        "left": {"runs": runs, "waiting": waiting, "started": started},
    })
}
