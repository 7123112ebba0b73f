//! `cella why RUN`: how a run came to what it is, as a timeline of what was decided and stored: queue, placement,
//! machine, gate, retry, end.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use base::host::Host;
use http::Method;
use serde_json::Value;
use store::cell::{EXPLANATION, INFRA_REASON, INFRA_RETRIES, RERUNS, WAITING};
use store::records::attempt::{Again, Attempt, Phase};
use tenancy::placement::Placed;

use crate::client::{Access, Client};

/// One line of a story. What is known to the second only may have been at any time in it: it stands behind what is
/// known better, and an end behind everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Line {
    sort_us: i64,
    at_us: i64,
    run: String,
    what: String,
}

/// Where a line stands in its second.
#[derive(Clone, Copy)]
enum Within {
    /// Where it says: what begins a second stands first in it.
    Exact,
    /// Behind what is known better.
    Second,
    /// Behind that, too.
    End,
}

impl Line {
    fn new(at_us: i64, within: Within, run: &str, what: String) -> Self {
        let later = match within {
            Within::Exact => 0,
            Within::Second => SECOND_US - 2,
            Within::End => SECOND_US - 1,
        };
        let known_better = at_us % SECOND_US != 0;
        Self { sort_us: at_us + if known_better { 0 } else { later }, at_us, run: run.to_owned(), what }
    }
}

const SECOND_US: i64 = 1_000_000;

/// What the gateway stores about the run.
///
/// # Errors
/// When the gateway cannot be reached, or there is no such run.
pub async fn story(
    access: &Access,
    host: &Host,
    namespace: &str,
    run: &str,
    kind: Option<&str>,
) -> Result<Value> {
    let client = Client::connect(access, host).await?;
    let kind = kind.map_or_else(String::new, |kind| format!("?kind={kind}"));
    let path = format!("/apis/cella.dev/v1/namespaces/{namespace}/runs/{run}/why{kind}");
    client.json(Method::GET, &path, None).await
}

/// The story in words, oldest first.
///
/// # Errors
/// When it is not one that this version can read.
pub fn tell(story: &Value) -> Result<String> {
    let runs = story["runs"].as_array().context("the answer has no runs")?;
    let mut lines = Vec::new();
    let mut now = Vec::new();
    for told in runs {
        let run = &told["run"];
        let name = run["metadata"]["name"].as_str().unwrap_or_default();
        let attempts: Vec<Attempt> = told["attempts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|attempt| {
                let mut attempt = attempt.clone();
                attempt["tenant"] = Value::from("");
                serde_json::from_value(attempt).context("an attempt cannot be read")
            })
            .collect::<Result<_>>()?;
        let mut say =
            |at_us: i64, within: Within, what: String| lines.push(Line::new(at_us, within, name, what));
        of_run(run, &mut say);
        let mut exact = |at_us: i64, what: String| say(at_us, Within::Exact, what);
        of_placement(run, &mut exact);
        attempts.iter().for_each(|attempt| of_attempt(attempt, &mut exact));
        now.extend(present(run, name));
    }
    for event in story["events"].as_array().into_iter().flatten() {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let at =
            instant(&event["lastTimestamp"]).or_else(|| instant(&event["metadata"]["creationTimestamp"]));
        let count =
            event["count"].as_i64().filter(|n| *n > 1).map_or_else(String::new, |n| format!(" ({n} times)"));
        let what = format!("event {}: {}{count}", text("/reason"), first_line(text("/message")));
        lines.push(Line::new(at.unwrap_or(0), Within::Second, text("/involvedObject/name"), what));
    }
    lines.sort();
    lines.dedup();
    Ok(page(&lines, &now, story["more"] == true, runs.len() > 1))
}

fn page(lines: &[Line], now: &[String], more: bool, names: bool) -> String {
    let begin = lines.iter().map(|line| line.at_us).find(|at| *at > 0).unwrap_or(0);
    let width = lines.iter().map(|line| line.run.len()).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines {
        let since = (line.at_us - begin).max(0) as f64 / 1e6;
        let at = apimachinery::time::Micros(line.at_us).rfc3339();
        let name = if names { format!("{:width$}  ", line.run) } else { String::new() };
        let _ = writeln!(out, "{at} {since:>+9.3}s  {name}{}", line.what);
    }
    for line in now {
        let _ = writeln!(out, "{line}");
    }
    if more {
        let _ = writeln!(out, "there is more than is shown");
    }
    out
}

fn of_run(run: &Value, say: &mut impl FnMut(i64, Within, String)) {
    if let Some(at) = instant(&run["metadata"]["creationTimestamp"]) {
        say(at, Within::Exact, "accepted".into());
    }
    let status = &run["status"];
    for (n, retry) in status["retriesStatus"].as_array().into_iter().flatten().enumerate() {
        if let Some(at) = instant(&retry["completionTime"]) {
            let (_, reason, message) = condition(retry);
            say(
                at,
                Within::Second,
                format!(
                    "try {n} ended: {reason}: {}; a retry of the run's own follows",
                    first_line(&message)
                ),
            );
        }
    }
    if let Some(at) = instant(&status["startTime"]) {
        say(at, Within::Exact, "first looked at by its cell".into());
    }
    if let Some(at) = instant(&status["completionTime"]) {
        let (truth, reason, message) = condition(status);
        let how = if truth == "True" { "succeeded" } else { "failed" };
        say(at, Within::End, format!("{how}: {reason}: {}", first_line(&message)));
    }
}

fn of_placement(run: &Value, say: &mut impl FnMut(i64, String)) {
    let annotation = |name: &str| run["metadata"]["annotations"][name].as_str();
    let Some(text) = annotation(EXPLANATION) else { return };
    let Ok(placed) = serde_json::from_str::<Placed>(text) else { return };
    for earlier in &placed.earlier {
        say(earlier.at_us, format!("placed on cell {}: {}", earlier.cell, earlier.because));
    }
    let left =
        placed.earlier.last().map_or_else(String::new, |last| format!(" again, because {}", last.left));
    let waits = placed.waits_for.as_ref().map_or_else(String::new, |what| format!("; it waits for {what}"));
    let refused: Vec<String> = placed
        .refused
        .iter()
        .map(|(cell, why)| {
            format!(
                "{cell}: {}",
                serde_json::to_value(why)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default()
            )
        })
        .collect();
    let refused = if refused.is_empty() { String::new() } else { format!(" (not {})", refused.join(", ")) };
    say(placed.at_us, format!("placed on cell {}{left}: {}{refused}{waits}", placed.cell, placed.because));
}

fn of_attempt(attempt: &Attempt, say: &mut impl FnMut(i64, String)) {
    let machine = &attempt.machine;
    let which = match (attempt.retry, attempt.ordinal) {
        (0, 0) => String::new(),
        (retry, ordinal) => format!(" (try {retry}, attempt {ordinal})"),
    };
    let at = |name: &str| attempt.timings.get(name).copied();
    let again = match attempt.again {
        None => "",
        Some(Again::Infrastructure) => {
            ", because the infrastructure lost the one before (no retry of the run's)"
        }
        Some(Again::Moved) => ", because the run was placed again",
        Some(Again::Asked) => ", because its Pod was deleted, which asks for a rerun",
    };
    if let Some(placed) = at("placed") {
        say(placed, format!("machine {machine} wanted on cell {}{which}{again}", attempt.cell));
    }
    let steps = [
        ("booted", "claimed its attempt"),
        ("pulled", "has the images"),
        ("created", "created the containers"),
        ("gate", "passed the start gate"),
        ("first_step", "started the first step"),
        ("done", "gave its last report"),
    ];
    for (name, what) in steps {
        if let Some(at) = at(name) {
            say(at, format!("machine {machine} {what}"));
        }
    }
    if let Some(ended) = at("ended") {
        let why = attempt.why.as_deref().unwrap_or("nobody wanted it any more");
        let how = match attempt.phase {
            Phase::Lost => "was lost after the start gate",
            Phase::Revoked | Phase::Free | Phase::Claimed | Phase::Started | Phase::Done => {
                "was given up before the start gate"
            }
        };
        let proof = if attempt.phase == Phase::Lost && attempt.dead {
            "; it is proved that it runs nothing any more"
        } else {
            ""
        };
        say(ended, format!("machine {machine} {how}: {why}{proof}"));
    }
}

/// What is so now, of a run that has not ended; and what was counted.
fn present(run: &Value, name: &str) -> Vec<String> {
    let annotation = |key: &str| run["metadata"]["annotations"][key].as_str();
    let mut out = Vec::new();
    if let Some(n) = annotation(INFRA_RETRIES) {
        let why = annotation(INFRA_REASON).unwrap_or_default();
        out.push(format!("{name}: {n} attempts lost by the infrastructure, the last one: {why}"));
    }
    if let Some(n) = annotation(RERUNS) {
        out.push(format!("{name}: run again {n} times because its Pod was deleted"));
    }
    if let Some(why) = annotation(WAITING) {
        out.push(format!("{name}: now: {why}"));
    }
    if run["status"]["completionTime"].is_null() {
        let (_, reason, message) = condition(&run["status"]);
        let said = if reason.is_empty() {
            "its cell has not looked at it yet".to_owned()
        } else {
            format!("{reason}: {message}")
        };
        out.push(format!("{name}: now: {said}"));
    }
    out
}

fn condition(status: &Value) -> (String, String, String) {
    let all = status["conditions"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|c| c["type"] == "Succeeded");
    let text = |key: &str| found.and_then(|c| c[key].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn instant(value: &Value) -> Option<i64> {
    apimachinery::time::Micros::parse(value.as_str()?).map(|t| t.0)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
