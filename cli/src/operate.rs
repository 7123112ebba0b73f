//! Commands of operators: `cella cell drain CELL`, `cella region drain REGION`. They ask a gateway's admin API, and
//! tell what is left until nothing is.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use base::host::Host;
use http::Method;
use serde_json::Value;

use crate::arguments::Draining;
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
