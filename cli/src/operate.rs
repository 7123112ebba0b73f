//! Commands of operators: `cella cell drain CELL`, `cella region drain REGION`, which tell what is left until nothing is,
//! and `cella tenant`. They ask a gateway's admin API.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use base::host::Host;
use http::Method;
use serde_json::Value;

use crate::arguments::{Draining, OperateTenant, RunsMax};
use crate::client::{Access, Client};
use crate::up::OPERATOR;

/// How often to look at what is left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What<'a> {
    /// One cell.
    Cell(&'a str),
    /// All cells of a region.
    Region(&'a str),
}

impl What<'_> {
    fn path(self) -> String {
        match self {
            What::Cell(cell) => format!("/admin/v1/cells/{cell}/drain"),
            What::Region(region) => format!("/admin/v1/regions/{region}/drain"),
        }
    }
}

/// How to reach the installation of a data folder as its operator.
///
/// # Errors
/// When there is none.
pub fn access(data: &Path) -> Result<Access> {
    let path = data.join(OPERATOR);
    let text = std::fs::read(&path)
        .with_context(|| format!("cannot read {}; is this the data folder of `cella up`?", path.display()))?;
    let value: Value = serde_json::from_slice(&text)?;
    let member = |name: &str| {
        value[name].as_str().map(str::to_owned).with_context(|| format!("{} is damaged", path.display()))
    };
    Ok(Access {
        address: member("address")?,
        authority_pem: member("authority_pem")?,
        token: member("token")?,
    })
}

/// Drains, or takes that back.
///
/// # Errors
/// When the gateway refuses or cannot be reached.
pub async fn drain(what: What<'_>, options: &Draining, host: &Host) -> Result<ExitCode> {
    let access = access(&options.data)?;
    let client = Client::connect(&access, host).await?;
    let method = if options.undo { Method::DELETE } else { Method::PUT };
    let mut standing = client.json(method, &what.path(), None).await?;
    if options.undo {
        cells(&standing).for_each(|cell| println!("{}: takes new runs again", name(cell)));
        return Ok(ExitCode::SUCCESS);
    }
    let drained: Vec<String> = cells(&standing).map(|cell| name(cell).to_owned()).collect();
    let mut told = String::new();
    loop {
        let lines: Vec<String> = cells(&standing).map(line).collect();
        let text = lines.join("\n");
        if text != told {
            println!("{text}");
            told = text;
        }
        if options.no_wait || cells(&standing).all(is_empty) {
            return Ok(ExitCode::SUCCESS);
        }
        host.clock.sleep(LOOK_EVERY).await;
        standing = look(&drained, &access, host).await?;
    }
}

/// Shows or changes a tenant's policy; answers with it as it is now.
///
/// # Errors
/// When the gateway refuses or cannot be reached.
pub async fn tenant(operate: &OperateTenant, host: &Host) -> Result<String> {
    let (tenant, data, mut wishes) = match operate {
        OperateTenant::Show { tenant, data } => (tenant, data, Vec::new()),
        OperateTenant::Set { tenant, runs_max, rerun_after_loss, data } => {
            let max = runs_max.map(|RunsMax(max)| match max {
                Some(max) => (Method::PUT, format!("/runs-max/{max}")),
                None => (Method::DELETE, "/runs-max".to_owned()),
            });
            let rerun = rerun_after_loss.map(|rerun| {
                let method = if rerun { Method::PUT } else { Method::DELETE };
                (method, "/rerun-after-loss".to_owned())
            });
            (tenant, data, max.into_iter().chain(rerun).collect())
        }
    };
    let client = Client::connect(&access(data)?, host).await?;
    wishes.push((Method::GET, String::new()));
    let mut policy = Value::Null;
    for (method, part) in wishes {
        policy = client.json(method, &format!("/admin/v1/tenants/{tenant}{part}"), None).await?;
    }
    let max =
        policy["runs_max"].as_u64().map_or_else(|| "no limit".to_owned(), |max| format!("at most {max}"));
    let counted = policy["runs_counted"].as_i64().unwrap_or(0);
    let rerun = if policy["rerun_after_loss"] == true { "yes" } else { "no" };
    let regions: Vec<&str> =
        policy["residency"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let residency = if regions.is_empty() { "any region".to_owned() } else { regions.join(", ") };
    Ok(format!(
        "tenant {tenant}\n  residency: {residency}\n  runs at one time: {max} ({counted} counted now)\n  run again after a lost machine: {rerun}"
    ))
}

/// What is left on the cells that are drained. On a connection of its own: a drain may outlive gateways.
async fn look(drained: &[String], access: &Access, host: &Host) -> Result<Value> {
    let client = Client::connect(access, host).await?;
    let all = client.json(Method::GET, "/admin/v1/cells", None).await?;
    let ours: Vec<Value> =
        cells(&all).filter(|cell| drained.iter().any(|id| id == name(cell))).cloned().collect();
    Ok(serde_json::json!({ "cells": ours }))
}

fn cells(standing: &Value) -> impl Iterator<Item = &Value> {
    standing["cells"].as_array().into_iter().flatten()
}

fn name(cell: &Value) -> &str {
    cell["cell"].as_str().unwrap_or("")
}

fn left(cell: &Value, what: &str) -> u64 {
    cell["left"][what].as_u64().unwrap_or(0)
}

fn is_empty(cell: &Value) -> bool {
    ["runs", "waiting", "started"].iter().all(|what| left(cell, what) == 0)
}

fn line(cell: &Value) -> String {
    if is_empty(cell) {
        return format!("{}: drained, nothing is left", name(cell));
    }
    let (runs, waiting, started) = (left(cell, "runs"), left(cell, "waiting"), left(cell, "started"));
    format!("{}: {runs} runs left; {started} machines run steps, {waiting} have not started", name(cell))
}
